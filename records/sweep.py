"""Sweeps on disk: `runs/_sweeps/<id>.json` lists a sweep's runs, `runs/_sweeps/<id>/` holds submissions and logs."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.typed import ConfigError, did_you_mean
from records import files, layout
from records.files import exclusive, write_json


@dataclass(frozen=True, eq=False)
class Member:
    """One run of a sweep.

    Attributes:
      run_dir: where it is.
      env_steps: the budget that the sweep asked for.
      varied: the swept keys and their values.
    """

    run_dir: Path
    env_steps: int
    varied: dict[str, str]


@dataclass(frozen=True)
class Sweep:
    """A sweep's manifest.

    Attributes:
      path: the manifest.
      members: its runs.
      parents: tracking URI -> MLflow run that the runs are children of.
      closed: the URIs where that run is marked as over.
      owner: the user, by number, who launched it.
    """

    path: Path
    members: list[Member]
    parents: dict[str, str]
    closed: list[str]
    owner: int

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def folder(self) -> Path:
        """Submissions to SLURM and the jobs' logs."""
        return self.path.with_suffix("")


def write(path: Path, members: list[Member], parents: dict[str, str], **details: Any) -> None:
    """Write a manifest; runs are named from its folder, so that all may be moved together."""
    listed = [
        {"run_dir": os.path.relpath(one.run_dir, path.parent), "env_steps": one.env_steps, "varied": one.varied}
        for one in members
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"id": path.stem} | details | {"members": listed, "parents": parents})


def locked(path: Path) -> contextlib.AbstractContextManager[None]:
    """The right to change a manifest that several processes write."""
    return exclusive(path.with_suffix("") / "manifest.lock")


def launching(path: Path) -> contextlib.AbstractContextManager[None]:
    """The right to look which of a sweep's runs are to be launched, and to submit them."""
    return exclusive(path.with_suffix("") / "launch.lock")


def join(run_dir: Path, sweep: str) -> None:
    """Write into a run's directory that a sweep contains it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    known = (files.read_json(run_dir / layout.SWEPT) or {"sweeps": []})["sweeps"]
    if sweep not in known:
        write_json(run_dir / layout.SWEPT, {"sweeps": [*known, sweep]})


def read(path: Path) -> Sweep:
    """Raises ConfigError where there is no manifest, or one that cannot be read."""
    body = files.read_json(path)
    try:
        assert body is not None
        members = [
            Member(Path(os.path.normpath(path.parent / one["run_dir"])), int(one["env_steps"]), one["varied"])
            for one in body["members"]
        ]
        return Sweep(path, members, body["parents"], body.get("closed", []), path.stat().st_uid)
    except (AssertionError, KeyError, TypeError, ValueError):
        raise ConfigError(f"{path}: no sweep's manifest; repeat the sweep's command to write it again") from None


def find_all(runs: Path) -> list[Path]:
    """Every sweep's manifest below `runs`, the newest first."""
    return sorted((runs.absolute() / layout.SWEEPS).glob("*.json"), key=lambda path: -path.stat().st_mtime_ns)


def everything(runs: Path) -> Sweep:
    """All runs below `runs` as if they were one sweep."""
    members = []
    for path in sorted(runs.absolute().glob(f"*/*/{layout.CONFIG}")):
        config = files.read_whole(path, "train")
        if config is not None:
            members.append(Member(path.parent, config["train"]["env_steps"], {"benchmark": path.parents[1].name}))
    return Sweep(runs, members, {}, [], os.getuid())


def find(runs: Path, name: str | None) -> Sweep:
    """The sweep of that name, or whose name alone begins or ends so; None: the newest.

    Raises:
      ConfigError: there is none, or there are several.
    """
    known = find_all(runs)
    if not known:
        raise ConfigError(f"{runs}: no sweeps here ({layout.SWEEPS} is missing or empty); see --runs")
    if name is None:
        return read(known[0])
    exact = [path for path in known if path.stem == name]
    matches = exact or [path for path in known if path.stem.startswith(name) or path.stem.endswith(name)]
    if len(matches) == 1:
        return read(matches[0])
    names = [path.stem for path in matches or known]
    problem = "several sweeps are called so" if matches else f"no such sweep; {did_you_mean(name, names)}"
    raise ConfigError(f"{name}: {problem.strip()} allowed: {', '.join(names[:20])}")
