"""Sweeps on disk: `runs/_sweeps/<id>.json` lists a sweep's runs, `runs/_sweeps/<id>/` holds submissions and logs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

from conf.schema import DecideConfig
from conf.typed import ConfigError, Range, Since, did_you_mean
from records import layout
from records.decode import DamagedRecordError, read_as, read_object
from records.files import write_json
from records.lock import exclusive
from records.run_dir import RunDir, warn_once

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
      overrides, folder_of_launch: a search's command line and the folder of its launch; empty for other sweeps.
      decide: the rules by which seeds are added until the variants are told apart; None for other sweeps.
      command: the command that launched the sweep last.
      notify: the user's shell command that is run when the sweep has ended; None where there is none.
      notified: whether that command has been run.
    """

    path: Path
    members: list[Member]
    parents: Parents
    closed: list[str]
    owner: int
    overrides: tuple[str, ...] = ()
    folder_of_launch: str = ""
    decide: DecideConfig | None = None
    command: str = ""
    notify: str | None = None
    notified: bool = False

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

    @cached_property
    def _by_folder(self) -> dict[Path, Member]:
        return {member.run_dir: member for member in self.members}

    def member(self, run_dir: Path) -> Member | None:
        """The run in a folder; None where it is not the sweep's."""
        return self._by_folder.get(run_dir)


def write_sweep(path: Path, members: Sequence[Member], parents: Parents, **details: Any) -> None:
    """Write a sweep's record; runs are named from the record's folder, so that all may be moved together.

    Args:
      path: the record's file.
      members: the sweep's runs.
      parents: tracking URI -> part -> MLflow run.
      details: further values of the record, such as the command that made the sweep.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    nested = {uri: dict(runs) for uri, runs in parents.items()}
    write_json(path, {"id": path.stem} | details | {"members": listed(members, path), "parents": nested})


def listed(members: Sequence[Member], path: Path) -> list[dict[str, Any]]:
    """The runs as a record at `path` lists them, named from its folder."""
    return [
        {"run_dir": os.path.relpath(one.run_dir, path.parent), "env_steps": one.env_steps, "varied": one.varied}
        | ({"part": one.part} if one.part else {})
        for one in members
    ]


def add_parent(parents: Parents, uri: str, part: str, run_id: str) -> Parents:
    """Return `parents` with one MLflow run more.

    Args:
      parents: what there is.
      uri: the tracking server.
      part: the part of the sweep, which has a parent of its own.
      run_id: the parent's MLflow run.
    """
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
    known = RunDir(run_dir).sweeps()
    if sweep not in known:
        write_json(run_dir / layout.SWEPT, {"sweeps": [*known, sweep]})


def read_sweep(path: Path) -> Sweep:
    """The sweep that a record describes.

    Raises:
      ConfigError: there is no record, or it cannot be read.
    """
    try:
        found = read_as(_Record, path)
    except DamagedRecordError as error:
        raise ConfigError(f"{error}; repeat the sweep's command to write the record again") from None
    if found is None:
        raise ConfigError(f"{path}: no such sweep's record")
    members = [
        Member(Path(os.path.normpath(path.parent / one.run_dir)), one.env_steps, one.varied, one.part)
        for one in found.members
    ]
    owner = path.stat().st_uid
    details = (found.overrides, found.folder, found.decide, found.command, found.notify, found.notified)
    return Sweep(path, members, found.parents, list(found.closed), owner, *details)


def known_parents(path: Path) -> Parents:
    """The MLflow runs that a sweep's record names; none where there is no record, or a damaged one."""
    found = _known(path)
    return found.parents if found else {}


def known_end(path: Path) -> dict[str, Any]:
    """What a sweep's record keeps of its end: the servers that know of it, and whether the user's command was run."""
    found = _known(path)
    return {"closed": list(found.closed), "notified": found.notified} if found else {}


def _known(path: Path) -> _Record | None:
    try:
        return read_as(_Record, path)
    except DamagedRecordError as error:
        warn_once(str(error))
        return None


def parent_of(run_dir: Path, sweep: str, uri: str) -> str | None:
    """The MLflow run at a tracking URI that a sweep's record names as the parent of one of the sweep's runs."""
    found = _sweep_of(run_dir, sweep)
    member = member_of(run_dir, sweep)
    return found.parents.get(uri, {}).get(member.part if member else "") if found else None


def member_of(run_dir: Path, sweep: str) -> Member | None:
    """One of a sweep's runs, as the sweep's record lists the run."""
    found = _sweep_of(run_dir, sweep)
    return found.member(run_dir) if found else None


def _sweep_of(run_dir: Path, sweep: str) -> Sweep | None:
    """The sweep of that name beside a run; None where it has no record, or a damaged one."""
    path = run_dir.parents[1] / layout.SWEEPS / f"{sweep}.json"
    try:
        return _unchanged(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except (DamagedRecordError, ConfigError) as error:
        warn_once(str(error))
        return None


@lru_cache(maxsize=64)
def _unchanged(path: Path, changed_ns: int) -> Sweep:
    """A sweep, read once until its record changes: a thousand runs ask for the same record in turn."""
    return read_sweep(path)


def axes_of(members: Sequence[Member]) -> dict[str, str]:
    """The keys that vary among runs, each with its values, in the order of the runs."""
    values: dict[str, dict[str, None]] = {}
    for member in members:
        for key, value in member.varied.items():
            values.setdefault(key, {})[value] = None
    return {key: ", ".join(known) for key, known in values.items()}


def change_sweep(path: Path, **values: Any) -> None:
    """Replace values of a sweep's record and keep the others. The caller holds `sweep_lock`.

    Raises:
      DamagedRecordError: the record cannot be read.
    """
    write_json(path, (read_object(path) or {}) | values)


@dataclass(frozen=True)
class _Listed:
    run_dir: str
    env_steps: Annotated[int, Range(ge=1)]
    varied: dict[str, str]
    part: Annotated[str, Since("")]


@dataclass(frozen=True)
class _Record:
    members: tuple[_Listed, ...]
    parents: dict[str, dict[str, str]]
    closed: Annotated[tuple[str, ...], Since(())]
    overrides: Annotated[tuple[str, ...], Since(())]
    folder: Annotated[str, Since("")]
    decide: Annotated[DecideConfig | None, Since(None)]
    command: Annotated[str, Since("")]
    notify: Annotated[str | None, Since(None)]
    notified: Annotated[bool, Since(False)]


def sweep_records(runs: Path) -> list[Path]:
    """The record of every sweep below `runs`, the newest first."""
    return sorted((runs.absolute() / layout.SWEEPS).glob("*.json"), key=lambda path: -path.stat().st_mtime_ns)


def all_runs(runs: Path) -> Sweep:
    """All runs below `runs` as if they were one sweep."""
    members = []
    for path in sorted(runs.absolute().glob(f"*/*/{layout.CONFIG}")):
        budget = RunDir(path.parent).budget()
        if budget is not None:
            members.append(Member(path.parent, budget, {"benchmark": path.parents[1].name}))
    return Sweep(runs.absolute() / layout.SWEEPS, members, {}, [], os.getuid())


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
    problem = "several sweeps are called so;" if matches else f"no such sweep; {did_you_mean(name, names)}"
    raise ConfigError(f"{name}: {problem.strip()} allowed: {', '.join(names[:20])}")
