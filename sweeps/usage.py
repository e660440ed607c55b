"""What runs, sweeps and snapshots take on disk, and which runs are in use."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from conf.typed import ConfigError
from records import layout
from records.decode import DamagedRecordError, read_object
from records.lock import is_held
from records.run_dir import RunDir, warn_once
from records.sweep import Sweep, all_runs, read_sweep, sweep_records
from sweeps.cancel import WORKERS
from sweeps.slurm import cluster
from sweeps.slurm.submission import job_of, submissions
from sweeps.status import RunState, states_of


@dataclass(frozen=True)
class Space:
    """A number of files, and their bytes; of a file that several names share, each name counts its part."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Space) -> Space:
        return Space(self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class RunUsage:
    """What one run takes.

    Attributes:
      run_dir: the run's directory.
      state: where the run stands.
      space: all of it.
      checkpoints: its checkpoints without replay.
      replay: its replay.
      sweeps: the sweeps that contain it.
      in_use: why nothing of it may be removed; empty where that may be.
      code: the snapshots that it has run, or is going to run.
    """

    run_dir: Path
    state: RunState
    space: Space
    checkpoints: Space
    replay: Space
    sweeps: tuple[str, ...]
    in_use: str
    code: frozenset[str]


@dataclass(frozen=True)
class SweepUsage:
    """What one sweep takes: how many runs it has, those, and its own folder of submissions, logs and plots."""

    id: str
    runs: int
    space: Space
    own: Space


@dataclass(frozen=True)
class Usage:
    """What a folder of runs takes.

    Attributes:
      runs: the runs.
      sweeps: the sweeps; a run counts in each sweep that contains it.
      snapshots: the folder of each snapshot.
      queued: the names of the snapshots that jobs have or are going to have, whatever runs they execute.
    """

    folder: Path
    runs: tuple[RunUsage, ...]
    sweeps: tuple[SweepUsage, ...]
    snapshots: dict[Path, Space]
    queued: frozenset[str]


def space_of(*paths: Path) -> Space:
    """Return what files and folders take, links not followed; what vanishes meanwhile is not counted."""
    total = Space()
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                total = sum((space_of(Path(entry)) for entry in os.scandir(path)), total)
            else:
                status = path.lstat()
                total += Space(1, status.st_size // status.st_nlink)
        except FileNotFoundError:
            continue
    return total


def usage(folder: Path) -> Usage:
    """Work out what all runs, sweeps and snapshots below a folder of runs take.

    Raises:
      ConfigError: there is no such folder.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of runs")
    everything = all_runs(folder)
    sweeps = [sweep for path in sweep_records(folder) if (sweep := _readable(path)) is not None]
    states = {member.run_dir: state for member, state in states_of(everything).items()}
    reasons = _reasons(states, sweeps)
    runs = tuple(_run_usage(run_dir, state, reasons.get(run_dir, "")) for run_dir, state in states.items())
    space = {one.run_dir: one.space for one in runs}
    taken = [
        SweepUsage(
            sweep.id,
            len(sweep.members),
            sum((space.get(member.run_dir, Space()) for member in sweep.members), Space()),
            space_of(sweep.path, sweep.folder),
        )
        for sweep in sweeps
    ]
    snapshots = {path: space_of(path) for path in sorted(folder.glob(f"{layout.CODE}/*"))}
    queue = cache(cluster.queue)  # one answer for all sweeps of a user
    queued = frozenset().union(*(_queued_code(sweep, queue) for sweep in sweeps))
    return Usage(folder, runs, tuple(taken), snapshots, queued)


def _readable(path: Path) -> Sweep | None:
    try:
        return read_sweep(path)
    except ConfigError as error:
        warn_once(str(error))
        return None


def _run_usage(run_dir: Path, state: RunState, in_use: str) -> RunUsage:
    record, checkpoints = RunDir(run_dir), run_dir / layout.CHECKPOINTS
    replay = space_of(checkpoints / layout.REPLAY)
    both = space_of(checkpoints)
    manifest, job = record.manifest(), job_of(run_dir)
    code = {start.code for start in manifest.starts} if manifest else set()
    return RunUsage(
        run_dir,
        state,
        space_of(run_dir),
        Space(both.files - replay.files, both.bytes - replay.bytes),
        replay,
        record.sweeps(),
        in_use,
        frozenset(code | ({job.code} if job else set())),
    )


def _reasons(states: dict[Path, RunState], sweeps: Iterable[Sweep]) -> dict[Path, str]:
    """Return why runs are in use: a process or a job has them, their sweep is being run, or a run began with theirs."""
    found: dict[Path, str] = {}
    by_identity: dict[str, list[Path]] = defaultdict(list)
    for run_dir in states:
        by_identity[str(_value(run_dir / layout.MANIFEST).get("identity"))].append(run_dir)
    for run_dir in states:
        source = _value(run_dir / layout.CONFIG).get("source")
        if isinstance(source, dict) and source.get("kind") is not None:
            for one in [*by_identity.get(str(source.get("identity")), []), Path(str(source.get("run_dir")))]:
                found[one] = f"{run_dir.name} was started from it"
    for sweep in sweeps:
        places = [sweep.folder, *sweep.folder.glob(f"{WORKERS}/*")]
        if any(map(is_held, places)) or cluster.search_jobs(sweep.folder, sweep.owner) != {}:
            found |= {member.run_dir: f"its sweep {sweep.id} is being run" for member in sweep.members}
    return found | {run_dir: f"is {state.name}" for run_dir, state in states.items() if state.alive}


def _value(path: Path) -> dict[str, Any]:
    """Return the object that a record holds; empty where the record is missing or damaged."""
    try:
        return read_object(path) or {}
    except DamagedRecordError:
        return {}


def _queued_code(sweep: Sweep, queue_of: Callable[[int], cluster.Queue | None]) -> set[str]:
    """Return the snapshots of a sweep's newest jobs, which a relaunch may need, and of jobs that have not ended."""
    submitted = [one for one in submissions(sweep.folder) if one.code]
    queue = queue_of(sweep.owner) if submitted else {}
    arrays = None if queue is None else {job.partition("_")[0] for job in queue}
    newest = submitted[-1:] if sweep.overrides or sweep.decide is not None else []
    return {one.code for one in submitted if one in newest or arrays is None or one.array in arrays}
