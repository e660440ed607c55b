"""A run's directory: each of its files as a typed value, and who writes them. The names are in `records.layout`."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from conf import identity
from conf.schema import RunConfig, SourceConfig
from conf.typed import ConfigError, Range, Since, build
from records import files, layout, metrics
from records.decode import DamagedRecordError, decoded, read_as, read_object
from records.files import append_to, write_atomic, write_json
from records.layout import RunOutcome
from records.lock import Kind, Lock
from records.provenance import provenance, slurm_ids
from records.rows import Crash, LostRowsError, Row, RowFile, cut, last_rows, read_rows

T = TypeVar("T")
TIMING_TAIL = 4096
"""Bytes at the end of the timing file that hold the newest rate."""


@dataclass(frozen=True)
class Start:
    """One start of a run: code, versions and machine.

    Attributes:
      time: seconds since the epoch.
      device: number and kind of the accelerators, such as "1 x cpu".
      slurm: SLURM's names for the job, where there was one.
      lock: what kept others from writing the directory, as `records.lock.Lock.kind` says.
      code: the name of the snapshot that the code was imported from; empty where the code was live.
    """

    time: float
    command: str
    git_commit: str | None
    git_diff_sha256: str | None
    python: str
    versions: dict[str, str]
    host: str
    slurm: dict[str, str]
    device: str
    lock: Kind
    platform: Annotated[str, Since("")]
    cpus: Annotated[int, Since(0)]
    code: Annotated[str, Since("")]


RECIPE = "recipe"
"""The last part of an asset's name, `suite/task/recipe`, where no file but a recipe shapes the task's object."""


@dataclass(frozen=True)
class Manifest:
    """What a run is, and what each of its starts ran on.

    Attributes:
      version: the format of the directory, `records.layout.VERSION`.
      identity: the hash of all that determines the run's results.
      identity_values: those values, nested.
      sizes: numbers of parameters and bytes, as `agents.sizes.RunSize` names them.
      starts: one entry for each start, in order.
      assets: the SHA-256 of each file that shapes the physics of the run's tasks, by `suite/file`.
      source: the checkpoint of another run that the run was started from; its fields are None where there is none.
      transfer: what the run took over from the source's networks; empty where it took over none.
    """

    version: int
    identity: str
    identity_values: dict[str, Any]
    sizes: dict[str, int]
    starts: tuple[Start, ...]
    assets: Annotated[dict[str, str], Since({})]
    source: SourceConfig
    transfer: Annotated[dict[str, Any], Since({})]

    @property
    def stand_ins(self) -> list[str]:
        """The ids of the tasks whose object is a stand-in, which a recipe shapes instead of a file."""
        ids = (name.rpartition("/") for name in self.assets)
        return [task_id for task_id, _, file in ids if file == RECIPE]


@dataclass(frozen=True)
class Task:
    """One task of a run, as far as a reader of its scores needs it."""

    id: str
    score_metric: Literal["return", "success"]
    norm_low: float | None
    norm_high: float | None


@dataclass(frozen=True)
class Status:
    """What was last said of a run; no proof that the run's process lives.

    Attributes:
      time: when it was said, in seconds since the epoch.
      reason, traceback, last_lines: why the run failed.
      retry: whether another try may help.
    """

    state: RunOutcome
    time: Annotated[float, Since(0.0)]
    host: Annotated[str, Since("")]
    pid: Annotated[int, Since(0)]
    reason: Annotated[str, Since("")]
    traceback: Annotated[str, Since("")]
    last_lines: Annotated[tuple[str, ...], Since(())]
    retry: Annotated[bool, Since(True)]


@dataclass(frozen=True)
class Done:
    """The budget that a run has reached.

    Attributes:
      env_steps: the budget.
      score: the mean normalised score at it; None where no task has the constants.
      evaluation: the rows of the evaluation at it.
      divergences: by task id, how many training episodes ended because the simulation diverged.
    """

    env_steps: int
    score: float | None
    evaluation: tuple[Row, ...]
    divergences: dict[str, int] = field(default_factory=dict)

    @property
    def score_in_words(self) -> str:
        """The score with three digits, or "unknown"."""
        return "unknown" if self.score is None else f"{self.score:.3f}"


@dataclass(frozen=True)
class JobEntry:
    """Which SLURM job a run was given to last: the submission's file, seen from the run, and the job's index in it."""

    submission: str
    index: Annotated[int, Range(ge=0)]


@dataclass(frozen=True)
class Stop:
    """An order to end a run for good: who gave it, and why."""

    by: str
    reason: str


@dataclass(frozen=True)
class Durable:
    """Bytes of the row files that a checkpoint covers."""

    metrics: Annotated[int, Range(ge=0)]
    timing: Annotated[int, Range(ge=0)]


@dataclass(frozen=True)
class MirrorState:
    """How much of a run one MLflow server or database has.

    Attributes:
      token: finds the MLflow run again where the answer to its making got lost.
      created_ms: when the MLflow run was made, in milliseconds since the epoch.
      metrics, timing, system: bytes of the row files that were sent.
      described: starts of the run whose description was sent.
      films: paths of the films that were sent, seen from the run.
      parent: the MLflow run that this one is a child of.
      sweeps: the sweeps that the MLflow run is marked as a member of.
      closed: what the run had come to when all of it had been sent.
      problem: what keeps the rest from being sent, in one line; empty where nothing does.
    """

    token: str
    run_id: Annotated[str | None, Since(None)]
    experiment_id: Annotated[str | None, Since(None)]
    created_ms: Annotated[int, Since(0)]
    metrics: Annotated[int, Since(0)]
    timing: Annotated[int, Since(0)]
    system: Annotated[int, Since(0)]
    described: Annotated[int, Since(0)]
    films: Annotated[tuple[str, ...], Since(())]
    parent: Annotated[str | None, Since(None)]
    sweeps: Annotated[tuple[str, ...], Since(())]
    closed: Annotated[dict[str, Any] | None, Since(None)]
    problem: Annotated[str, Since("")]

    @classmethod
    def new(cls, token: str) -> Self:
        """Return the state of a run that MLflow knows nothing of yet."""
        return build(cls, {"token": token})


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
        last = [row for row in rows if row.env_steps == rows[-1].env_steps]
        phases = {row.name: row.value for row in last if row.name.startswith(metrics.TIME_PREFIX)}
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


class RunDirGoneError(RuntimeError):
    """The directory of a running run was removed, moved or replaced."""


class Coverage(NamedTuple):
    """What a checkpoint covers of the row files: bytes of each, and the SHA-256 of those of the metrics."""

    metrics: int
    timing: int
    metrics_sha256: str


NO_ROWS = Coverage(0, 0, hashlib.sha256().hexdigest())


class RunRecord:
    """One run's directory, held under its lock by the caller.

    With `covered`, rows that came after the checkpoint that covers them are dropped; they will come again. With `lock`,
    `check_in_place` asks whether the caller still holds it.

    Raises:
      LostRowsError: the metrics are not the ones that `covered` says. Rows of timing may be missing.
    """

    def __init__(self, run_dir: Path, covered: Coverage | None = None, lock: Lock | None = None):
        self.run_dir, self._lock = run_dir, lock
        if covered is not None:
            try:
                cut(run_dir / layout.METRICS, covered.metrics, covered.metrics_sha256)
            except LostRowsError as error:
                cure = "put the file back as it was, or move the run's directory away to begin anew"
                raise LostRowsError(f"{error}; {cure}") from None
            try:
                cut(run_dir / layout.TIMING, covered.timing)
            except LostRowsError as error:
                print(f"warning: {error}; rates and times before it are incomplete", file=sys.stderr)
        self.metrics = RowFile(run_dir / layout.METRICS)
        self.timing = RowFile(run_dir / layout.TIMING)
        if covered is not None:
            self.durable(self.positions())

    def coverage(self) -> Coverage:
        """What has been written durably so far, for a checkpoint."""
        return Coverage(self.metrics.position(), self.timing.position(), self.metrics.sha256())

    def positions(self) -> dict[str, int]:
        """Durable lengths of the row files."""
        return {"metrics": self.metrics.position(), "timing": self.timing.position()}

    def durable(self, positions: Mapping[str, int]) -> None:
        """Say that a checkpoint covers the row files up to these positions: what a mirror may send."""
        write_json(self.run_dir / layout.DURABLE, dict(positions))

    def check_in_place(self) -> None:
        """Look whether this process may still write the directory.

        Raises:
          RunDirGoneError: the directory is not the one that the run began in.
          LostLockError: another process holds the lock now.
        """
        if not self.metrics.in_place():
            raise RunDirGoneError(
                f"{self.run_dir}: was removed, moved or replaced while the run was writing it; the run has stopped"
            )
        if self._lock is not None:
            self._lock.check()

    def done(
        self, env_steps: int, score: float | None, rows: Sequence[Row], divergences: Mapping[str, int] | None = None
    ) -> None:
        """Mark the budget as reached.

        Args:
          env_steps: the budget.
          score: the last evaluation's.
          rows: the last evaluation's.
          divergences: by task id, how many training episodes ended because the simulation diverged; only tasks where
            one did.
        """
        values = {"env_steps": env_steps, "score": score, "evaluation": [row._asdict() for row in rows]}
        write_json(self.run_dir / layout.DONE, values | ({"divergences": dict(divergences)} if divergences else {}))

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()


def check_begins_nothing_anew(run_dir: Path) -> None:
    """Refuse to begin at step 0 in a directory whose record goes further, though it has no checkpoint.

    Raises:
      LostRowsError: DONE or metrics beyond step 0 are there.
    """
    beginning = '{"env_steps":0,'
    lines = files.tail_lines(run_dir / layout.METRICS, 2)  # of which the last may be cut short
    if any(not beginning.startswith(line[: len(beginning)]) for line in lines) or (run_dir / layout.DONE).exists():
        raise LostRowsError(
            f"{run_dir}: holds the record of a run, but its {layout.CHECKPOINTS} are gone, and to begin at step 0 "
            "would overwrite it; put them back, move the directory away, or choose another paths.runs"
        )


def write_status(run_dir: Path, state: RunOutcome, **details: Any) -> None:
    """Say where the run stands; on a full disk without a traceback, in the place of what was said before."""
    origin = {"host": socket.gethostname(), "pid": os.getpid(), "slurm": slurm_ids()}
    value = {"state": state, "time": time.time()} | details | origin
    try:
        write_json(run_dir / layout.STATUS, value)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        value.pop("traceback", None)
        files.overwrite(run_dir / layout.STATUS, json.dumps(value) + "\n")


def write_config(run_dir: Path, config: RunConfig) -> None:
    """Write the resolved configuration of this start."""
    write_atomic(run_dir / layout.CONFIG, identity.config_to_json(config) + "\n")


def write_manifest(
    run_dir: Path,
    config: RunConfig,
    tasks: Sequence[Mapping[str, Any]],
    sizes: Mapping[str, int],
    device: str,
    lock: Kind,
    assets: Mapping[str, str],
    transfer: Mapping[str, Any] | None = None,
) -> None:
    """Write what the run is, and add one entry for this start.

    Args:
      run_dir: the run's directory.
      config: the resolved configuration.
      tasks: the specifications of the run's tasks, in order.
      sizes: numbers of parameters and bytes.
      device: number and kind of the accelerators.
      lock: what kind of lock the caller holds.
      assets: the SHA-256 of each file that shapes the physics of the tasks, by `suite/file`.
      transfer: what this start takes over from the networks of the run's source; None: what an earlier start wrote.
    """
    previous = RunDir(run_dir).manifest()
    starts = [dataclasses.asdict(start) for start in previous.starts] if previous else []
    write_json(run_dir / layout.TASKS, {"tasks": [dict(task) for task in tasks]})
    manifest = {
        "version": layout.VERSION,
        "identity": identity.hash_of(config),
        "identity_values": identity.values_of(config),
        "sizes": dict(sizes),
        "starts": [*starts, provenance(device, lock)],
        "assets": dict(assets),
    }
    if config.source.kind is not None:
        manifest["source"] = dataclasses.asdict(config.source)
    if transfer := transfer or (previous and previous.transfer):
        manifest["transfer"] = dict(transfer)
    write_json(run_dir / layout.MANIFEST, manifest)


def note_crash(run_dir: Path, reason: str) -> None:
    """Add to the run's crashes that its process died or failed just now."""
    row = Crash(time.time(), reason)
    with append_to(run_dir / layout.CRASHES) as file:
        file.write(json.dumps(row._asdict()).encode() + b"\n")


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
