"""A run's directory, read: each of its files as a typed value. The files' names are in `records.layout`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, TypeVar

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError, Range, build
from records import layout, metrics
from records.decode import DamagedRecordError, decoded, read_as, read_object
from records.entries import Done, Durable, JobEntry, Manifest, MirrorState, Status, Stop, Task
from records.files import write_json
from records.rows import Crash, Row, last_rows, read_rows

T = TypeVar("T")
TIMING_TAIL = 4096
"""Bytes at the end of the timing file that hold the newest rate."""


class RunDir:
    """The files of one run's directory, each read anew when it is asked for.

    A file that is missing is None (or empty). A damaged one is too, after a warning, once in a process, that names the
    file and says what is wrong. `check_...` and `require_...` raise instead.
    """

    def __init__(self, path: Path):
        self.path = path

    def config(self) -> RunConfig | None:
        """The resolved configuration of the latest start."""
        return self._or_warn(self.require_config)

    def require_config(self) -> RunConfig | None:
        """The configuration, None where there is none; raises DamagedRecordError where it does not fit the schema."""
        return _config_of(self.path / layout.CONFIG)

    def existing_config(self) -> RunConfig:
        """Return the configuration of a run that a command names.

        Raises:
          ConfigError: there is no run, or its configuration cannot be read.
        """
        try:
            config = self.require_config()
        except DamagedRecordError as error:
            raise ConfigError(str(error)) from None
        if config is None:
            raise ConfigError(f"{self.path}: no run here ({layout.CONFIG} is missing)")
        return config

    def budget(self) -> int | None:
        """The environment steps that the latest start asked for, also of a configuration that this code cannot read."""
        path = self.path / layout.CONFIG
        part = self._or_warn(lambda: None if (value := read_object(path)) is None else value.get("train", {}))
        train = None if part is None else self._or_warn(lambda: decoded(_Train, part, path))
        return train.env_steps if train else None

    def manifest(self) -> Manifest | None:
        """What the run is and what it ran on."""
        return self._or_warn(self.require_manifest)

    def require_manifest(self) -> Manifest | None:
        """The manifest, None where there is none; raises DamagedRecordError."""
        found = read_as(Manifest, self.path / layout.MANIFEST)
        if found is not None and found.version != layout.VERSION:
            reason = f"is of record version {found.version}, not {layout.VERSION}"
            raise DamagedRecordError(self.path / layout.MANIFEST, reason)
        return found

    def tasks(self) -> tuple[Task, ...]:
        """The run's tasks in order; empty where there is no list."""
        return self._or_warn(self.require_tasks) or ()

    def require_tasks(self) -> tuple[Task, ...] | None:
        """The run's tasks, None where there is no list; raises DamagedRecordError."""
        path = self.path / layout.TASKS
        value = read_object(path)
        if value is None:
            return None
        listed = value.get("tasks")
        if not isinstance(listed, list) or not listed:
            raise DamagedRecordError(path, "has no list of tasks")
        tasks = tuple(decoded(Task, one, path) for one in listed)
        if len({task.id for task in tasks}) < len(tasks):
            raise DamagedRecordError(path, "lists a task twice")
        return tasks

    def status(self) -> Status | None:
        """What was last said of the run."""
        return self._or_warn(lambda: read_as(Status, self.path / layout.STATUS))

    def done(self) -> Done | None:
        """The budget that the run has reached, and the evaluation at it."""
        return self._or_warn(self.require_done)

    def require_done(self) -> Done | None:
        """The same; raises DamagedRecordError."""
        path = self.path / layout.DONE
        value = read_object(path)
        if value is None:
            return None
        rows = value.get("evaluation")
        if not isinstance(rows, list):
            raise DamagedRecordError(path, "has no evaluation")
        try:
            evaluation = tuple(Row.of(row) for row in rows)
        except ValueError as error:
            raise DamagedRecordError(path, str(error)) from None
        budget = decoded(_Budget, value, path)
        divergences = value.get("divergences", {})
        if not isinstance(divergences, dict) or not all(type(count) is int for count in divergences.values()):
            raise DamagedRecordError(path, "divergences are no counts by task")
        return Done(budget.env_steps, budget.score, evaluation, divergences)

    def job(self) -> JobEntry | None:
        """The SLURM job that the run was given to last."""
        return self._or_warn(lambda: read_as(JobEntry, self.path / layout.JOB))

    def stop(self) -> Stop | None:
        """The order to end the run for good."""
        return self._or_warn(lambda: read_as(Stop, self.path / layout.STOP))

    def durable(self) -> Durable:
        """What a checkpoint covers of the row files."""
        return self._or_warn(lambda: read_as(Durable, self.path / layout.DURABLE)) or Durable(0, 0)

    def sweeps(self) -> tuple[str, ...]:
        """The sweeps that contain the run, in the order in which they came to it."""
        swept = self._or_warn(lambda: read_as(_Swept, self.path / layout.SWEPT))
        return swept.sweeps if swept else ()

    def mirrors(self) -> dict[str, MirrorState]:
        """How much of the run each tracking URI has."""
        path = self.path / layout.TRACKING
        value = self._or_warn(lambda: read_object(path)) or {}
        found = {uri: self._or_warn(partial(decoded, MirrorState, one, path)) for uri, one in value.items()}
        return {uri: state for uri, state in found.items() if state is not None}

    def write_mirror(self, uri: str, state: MirrorState) -> None:
        """Write how much of the run a tracking URI has."""
        states = {known: dataclasses.asdict(one) for known, one in self.mirrors().items()}
        write_json(self.path / layout.TRACKING, states | {uri: dataclasses.asdict(state)})

    def forget_mirror(self, uri: str) -> None:
        """Take the run as one of which a tracking URI has nothing."""
        states = {known: dataclasses.asdict(one) for known, one in self.mirrors().items() if known != uri}
        write_json(self.path / layout.TRACKING, states)

    def crashes(self, since: float) -> int:
        """How often the run's process has died or failed since a time, in seconds since the epoch."""
        try:
            return sum(crash.time >= since for crash, _ in read_rows(Crash, self.path / layout.CRASHES))
        except DamagedRecordError as error:
            warn_once(str(error))
            return 0

    def progress(self) -> tuple[int, float | None]:
        """The newest environment step in the timing rows, and environment steps a second then."""
        rows = last_rows(Row, self.path / layout.TIMING, TIMING_TAIL)
        rates = [row.value for row in rows if row.name == metrics.ENV_STEPS_PER_S]
        return (rows[-1].env_steps if rows else 0), (rates[-1] if rates else None)

    def seconds(self) -> float:
        """The seconds that the training loop has recorded since the run began, evaluations and checkpoints included."""
        rows = last_rows(Row, self.path / layout.TIMING, TIMING_TAIL)
        phases = {row.name: row.value for row in rows if row.name.startswith(metrics.TIME_PREFIX)}
        return sum(value for name, value in phases.items() if name != metrics.ENVIRONMENT_S)  # which lies beside them

    def problems(self) -> Iterator[str]:
        """Yield a line for each file that is there and damaged."""
        for read in (self.require_config, self.require_manifest, self.require_tasks, self.require_done):
            try:
                read()
            except DamagedRecordError as error:
                yield str(error)

    def _or_warn(self, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except DamagedRecordError as error:
            warn_once(f"{error}; taken as missing")
            return None


@dataclass(frozen=True)
class _Budget:
    env_steps: Annotated[int, Range(ge=0)]
    score: float | None


@dataclass(frozen=True)
class _Train:
    env_steps: Annotated[int, Range(ge=1)]


@dataclass(frozen=True)
class _Swept:
    sweeps: tuple[str, ...]


def _config_of(path: Path) -> RunConfig | None:
    value = read_object(path)
    try:
        return None if value is None else build(RunConfig, value)
    except ConfigError as error:
        raise DamagedRecordError(path, str(error)) from None


@cache
def warn_once(message: str) -> None:
    """Print a warning on standard error, once in a process, however often somebody looks."""
    print(f"warning: {message}", file=sys.stderr)


def recorded_config(run_dir: Path) -> RunConfig:
    """The configuration recorded in a run directory, which may have been moved.

    Raises:
      ConfigError: there is no run, or its record does not lead back to this directory's name.
    """
    path = run_dir.resolve() / layout.CONFIG
    try:
        config = RunDir(path.parent).require_config()
    except DamagedRecordError as error:
        raise ConfigError(f"--run-dir {run_dir}: no run to continue ({error})") from None
    if config is None:
        raise ConfigError(f"--run-dir {run_dir}: no run to continue ({layout.CONFIG} is missing)")
    config = dataclasses.replace(
        config, plan=False, resume=True, paths=dataclasses.replace(config.paths, runs=str(path.parents[2]))
    )
    if identity.run_dir(config) != path.parent:
        raise ConfigError(f"--run-dir {run_dir}: its record belongs to {identity.run_dir(config)}; was it renamed?")
    return config
