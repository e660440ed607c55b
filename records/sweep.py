"""Sweeps on disk: `runs/_sweeps/<id>.json` lists a sweep's runs, `runs/_sweeps/<id>/` holds submissions and logs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.typed import ConfigError, did_you_mean
from records import files, layout
from records.files import exclusive, write_json

Parents = Mapping[str, Mapping[str, str]]
"""Tracking URI -> part of the sweep -> the MLflow run that the part's runs are children of."""


@dataclass(frozen=True, eq=False)
class Member:
    """One run of a sweep.

    Attributes:
      run_dir: the run's directory.
      env_steps: the budget that the sweep asked for.
      varied: the swept keys and their values.
      part: the part of the sweep that the run belongs to; empty where the sweep has one part.
    """

    run_dir: Path
    env_steps: int
    varied: dict[str, str]
    part: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep's record.

    Attributes:
      path: the record's file.
      members: the sweep's runs.
      parents: tracking URI -> part -> the MLflow run that the part's runs are children of.
      closed: the URIs where those MLflow runs are marked as over.
      owner: the number of the user who launched the sweep.
    """

    path: Path
    members: list[Member]
    parents: Parents
    closed: list[str]
    owner: int

    @property
    def id(self) -> str:
        """The sweep's name."""
        return self.path.stem

    @property
    def folder(self) -> Path:
        """The folder of the submissions to SLURM and of the jobs' logs."""
        return self.path.with_suffix("")

    @property
    def parts(self) -> list[str]:
        """The names of the sweep's parts, in the order of its runs."""
        return list(dict.fromkeys(member.part for member in self.members))


def write_sweep(path: Path, members: Sequence[Member], parents: Parents, **details: Any) -> None:
    """Write a sweep's record; runs are named from the record's folder, so that all may be moved together.

    Args:
      path: the record's file.
      members: the sweep's runs.
      parents: tracking URI -> part -> MLflow run.
      details: further values of the record, such as the command that made the sweep.
    """
    listed = [
        {"run_dir": os.path.relpath(one.run_dir, path.parent), "env_steps": one.env_steps, "varied": one.varied}
        | ({"part": one.part} if one.part else {})
        for one in members
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nested = {uri: dict(runs) for uri, runs in parents.items()}
    write_json(path, {"id": path.stem} | details | {"members": listed, "parents": nested})


def add_parent(parents: Parents, uri: str, part: str, run_id: str) -> Parents:
    """`parents` with one MLflow run more."""
    return {**parents, uri: {**parents.get(uri, {}), part: run_id}}


def sweep_lock(path: Path) -> contextlib.AbstractContextManager[None]:
    """The right to change a sweep's record, which several processes write."""
    return exclusive(path.with_suffix("") / "record.lock")


def launch_lock(path: Path) -> contextlib.AbstractContextManager[None]:
    """The right to look which of a sweep's runs are to be launched, and to submit them."""
    return exclusive(path.with_suffix("") / "launch.lock")


def join_sweep(run_dir: Path, sweep: str) -> None:
    """Write into a run's directory that a sweep contains the run."""
    run_dir.mkdir(parents=True, exist_ok=True)
    known = (files.read_json(run_dir / layout.SWEPT) or {"sweeps": []})["sweeps"]
    if sweep not in known:
        write_json(run_dir / layout.SWEPT, {"sweeps": [*known, sweep]})


def read_sweep(path: Path) -> Sweep:
    """The sweep that a record describes.

    Raises:
      ConfigError: there is no record, or it cannot be read.
    """
    body = files.read_json(path)
    try:
        assert body is not None
        members = [
            Member(
                Path(os.path.normpath(path.parent / one["run_dir"])),
                int(one["env_steps"]),
                one["varied"],
                one.get("part", ""),
            )
            for one in body["members"]
        ]
        return Sweep(path, members, body["parents"], body.get("closed", []), path.stat().st_uid)
    except (AssertionError, KeyError, TypeError, ValueError):
        raise ConfigError(f"{path}: no sweep's record; repeat the sweep's command to write it again") from None


def sweep_records(runs: Path) -> list[Path]:
    """The record of every sweep below `runs`, the newest first."""
    return sorted((runs.absolute() / layout.SWEEPS).glob("*.json"), key=lambda path: -path.stat().st_mtime_ns)


def all_runs(runs: Path) -> Sweep:
    """All runs below `runs` as if they were one sweep."""
    members = []
    for path in sorted(runs.absolute().glob(f"*/*/{layout.CONFIG}")):
        config = files.read_whole(path, "train")
        if config is not None:
            members.append(Member(path.parent, config["train"]["env_steps"], {"benchmark": path.parents[1].name}))
    return Sweep(runs, members, {}, [], os.getuid())


def find_sweep(runs: Path, name: str | None) -> Sweep:
    """The sweep of that name, or the only one whose name begins or ends so; without a name the newest.

    Raises:
      ConfigError: there is none, or there are several.
    """
    known = sweep_records(runs)
    if not known:
        raise ConfigError(f"{runs}: no sweeps here ({layout.SWEEPS} is missing or empty); see --runs")
    if name is None:
        return read_sweep(known[0])
    exact = [path for path in known if path.stem == name]
    matches = exact or [path for path in known if path.stem.startswith(name) or path.stem.endswith(name)]
    if len(matches) == 1:
        return read_sweep(matches[0])
    names = [path.stem for path in matches or known]
    problem = "several sweeps are called so" if matches else f"no such sweep; {did_you_mean(name, names)}"
    raise ConfigError(f"{name}: {problem.strip()} allowed: {', '.join(names[:20])}")
