"""What the files of a run's directory say, as typed values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from conf.schema import SourceConfig
from conf.typed import Range, Since, build
from records.layout import RunOutcome
from records.lock import Kind
from records.rows import Row


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
