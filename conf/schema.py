"""The typed schema: one dataclass a group, values only from yaml, and the checks that need more than one field.

A field is part of a run's identity unless marked `NotIdentity`. A field added to the schema later must carry
`Since(value)`: the value that runs recorded before it had, so that their directories keep their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from conf.agents import AGENTS, AgentConfig, ModelConfig
from conf.typed import ConfigError, NotIdentity, Range, Since, Variants
from conf.uris import check_database, check_tracking_uri, is_web


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which tasks."""

    name: str
    """Names the run directory's parent and the MLflow experiment."""
    actions: Annotated[Literal["continuous", "discrete"], NotIdentity(), Since("continuous")]
    """What actions its tasks take, as the tasks themselves say."""
    available: Annotated[tuple[str, ...], NotIdentity()]
    """Task ids of the benchmark, in its order; those of the included benchmarks follow them."""
    include: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """Names of other benchmarks, whose tasks this one has too."""
    tasks: tuple[str, ...] | None
    """Narrows the benchmark: full, short or published names; null: all. Composition resolves it to ids in order."""
    published_suffixes: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """What published names have after the short ones."""

    @property
    def task_ids(self) -> tuple[str, ...]:
        return self.available if self.tasks is None else self.tasks


@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    env_steps: Annotated[int, Range(ge=1, le=10**12), NotIdentity()]
    """Budget, in environment steps per task; raising it continues a finished run."""
    random_steps: Annotated[int, Range(ge=1, le=10**12)]
    """First steps, with uniformly random actions and without updates."""
    replay_capacity: Annotated[int, Range(ge=1, le=10**12)]
    """Transitions kept per task."""
    log_every_steps: Annotated[int, Range(ge=1, le=10**12)]
    """Environment steps between two records of the learner's metrics."""
    deterministic: bool
    """Ask XLA for deterministic GPU kernels (slower); a CPU is deterministic anyway."""


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation: on a grid of environment steps and at the end."""

    every_steps: Annotated[int, Range(ge=1, le=10**12)]
    """Environment steps between two evaluations; there is one at 0 too."""
    episodes: Annotated[int, Range(ge=1, le=10**6)]
    """Episodes per task."""
    parallel_episodes: Annotated[int, Range(ge=1, le=10**4)]
    """Environments per task that play them at once, at most one an episode."""
    max_episode_steps: Annotated[int | None, Range(ge=1, le=10**9)]
    """Cuts episodes short, for quick trials; null: the tasks' own limits."""
    video: Annotated[bool, NotIdentity()]
    """Film the first episode of each task at every evaluation (mp4, without a screen)."""


@dataclass(frozen=True)
class MetaworldConfig:
    """Meta-World's tasks."""

    goal_sampling: Annotated[Literal["per_reset", "fixed"], Since("per_reset")]
    """New object positions and goal at every reset; or one of each for a task, in all episodes of all runs."""


@dataclass(frozen=True)
class AtariConfig:
    """Atari games, as ale-py steps them."""

    sticky_actions: Annotated[float, Range(ge=0, lt=1), Since(0.25)]
    """Probability, at each frame, that the emulator repeats the previous action."""
    terminal_on_life_loss: Annotated[bool, Since(True)]
    """A lost life is a terminal transition for the learner; the game, and what evaluation counts, goes on."""
    full_action_set: Annotated[bool, Since(True)]
    """All 18 actions in every game; false: a game's own, for a single game."""
    noop_max: Annotated[int, Range(ge=0, le=10**4), Since(30)]
    """An episode begins with a random number of no-ops, at most so many."""
    fire_reset: Annotated[bool, Since(True)]
    """Press FIRE at the start of games that wait for it."""
    video_pinball_random: Annotated[float, Since(16256.9)]
    """VideoPinball's score 0: the common table's random score; the authors' table has 0."""


@dataclass(frozen=True)
class EnvConfig:
    """How environments are stepped, which changes no number but for EnvPool's; and options of suites, which do."""

    backend: Annotated[Literal["auto", "process", "envpool", "inline"], NotIdentity()]
    """Worker processes (auto), these with EnvPool in training where it is right, or the training process (to debug)."""
    workers: Annotated[int | None, Range(ge=1, le=10**4), NotIdentity()]
    """Worker processes; null: one a core, at most one a task."""
    on_divergence: Annotated[Literal["truncate", "stop"], NotIdentity(), Since("truncate")]
    """Where a simulation diverges: end its episode there, with no reward, count it and go on; or end the run."""
    metaworld: MetaworldConfig
    atari: AtariConfig


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints, besides those at every evaluation; change no number."""

    every_min: Annotated[float, Range(gt=0, le=10**6), NotIdentity()]
    """Minutes of wall time between two checkpoints."""


@dataclass(frozen=True)
class LauncherConfig:
    """Where runs are executed."""

    name: Annotated[Literal["auto", "local", "slurm", "inline"], NotIdentity()]
    """auto: slurm for several runs where one answers, else local processes; inline: one after another, in this one."""
    max_parallel: Annotated[int | None, Range(ge=1, le=10**5), NotIdentity()]
    """Runs (on SLURM: jobs of the array) at once; null: one locally, no limit of ours on SLURM."""
    max_crashes: Annotated[int, Range(ge=0, le=10**6), NotIdentity(), Since(2)]
    """Crashes after which a run is given up; preemptions and time limits are not crashes."""
    backoff_s: Annotated[float, Range(ge=0, le=10**6), NotIdentity(), Since(30.0)]
    """Seconds before a crashed run is started again; doubled after each."""
    runs_per_gpu: Annotated[int, Range(ge=1, le=1000), NotIdentity(), Since(1)]
    """Runs at once in a SLURM job, sharing its GPU."""
    runs_per_job: Annotated[int | None, Range(ge=1, le=10**5), NotIdentity(), Since(None)]
    """Runs that a SLURM job takes on, those beyond runs_per_gpu in turn; null: runs_per_gpu."""
    gpu_memory_gb: Annotated[float | None, Range(gt=0, le=10**5), NotIdentity(), Since(None)]
    """Of one GPU, to refuse what cannot fit; null: unknown."""
    signal_delay_s: Annotated[int, Range(ge=1, le=65535), NotIdentity(), Since(300)]
    """Seconds before SLURM's time limit at which runs are told to checkpoint."""
    setup: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """Shell lines that a SLURM job begins with."""
    dry_run: Annotated[bool, NotIdentity(), Since(False)]
    """Print what would be submitted and the plan, and stop."""
    slurm: Annotated[dict, NotIdentity()]
    """sbatch's flags, with underscores for dashes; true sets one that has no value, null drops one."""


@dataclass(frozen=True)
class TrackingConfig:
    """Where the run record is mirrored."""

    name: Annotated[Literal["mlflow", "server", "off"], NotIdentity()]
    """Mirror to MLflow, to a server that a lab shares, or not at all (the run directory holds everything)."""
    uri: Annotated[str | None, NotIdentity()]
    """Tracking URI; null: SQLite `mlflow.db` in the folder of launch; a server needs one."""
    system_metrics: Annotated[bool, NotIdentity()]
    """Log CPU, memory, disk and GPU use."""

    @property
    def on(self) -> bool:
        return self.name != "off"


@dataclass(frozen=True)
class PathsConfig:
    """Folders; relative ones start at the folder of launch."""

    runs: Annotated[str, NotIdentity()]
    """Run directories."""
    compilation_cache: Annotated[str | None, NotIdentity()]
    """XLA's persistent compilation cache; null: none."""


@dataclass(frozen=True)
class SearchConfig:
    """A sweep whose values Optuna chooses, trial by trial; with an empty space it is no search."""

    space: Annotated[dict, NotIdentity(), Since({})]
    """Override key -> {low, high, log, step} for numbers or {choices: [..]}; null drops a key."""
    trials: Annotated[int, Range(ge=1, le=10**5), NotIdentity(), Since(30)]
    """Trials in all, pruned and failed ones included; more continue a finished search."""
    sampler: Annotated[Literal["tpe", "random"], NotIdentity(), Since("tpe")]
    """How values are chosen."""
    pruner: Annotated[Literal["asha", "median", "off"], NotIdentity(), Since("asha")]
    """Which trials are stopped early, by the interquartile mean of their tasks' scores at each evaluation."""
    startup_trials: Annotated[int, Range(ge=1, le=10**5), NotIdentity(), Since(10)]
    """Trials that TPE draws at random at first, and that median pruning waits for."""
    grace_steps: Annotated[int | None, Range(ge=1, le=10**12), NotIdentity(), Since(None)]
    """Environment steps before which no trial is pruned, and ASHA's first rung; null: eval.every_steps."""
    reduction_factor: Annotated[int, Range(ge=2, le=1000), NotIdentity(), Since(3)]
    """ASHA: the best one in so many passes a rung, and rungs lie so many times further apart."""
    seed: Annotated[int, Range(ge=0, lt=2**32), NotIdentity(), Since(0)]
    """Of the sampler."""
    storage: Annotated[str | None, NotIdentity(), Since(None)]
    """Optuna's storage, such as postgresql://user@host/db with its password in PGPASSFILE; null: a file of ours."""


@dataclass(frozen=True)
class SweepConfig:
    """Many runs from one command."""

    name: Annotated[str | None, NotIdentity()]
    """What the manifest and the MLflow parent run call it."""
    params: Annotated[dict, NotIdentity()]
    """Override key -> comma list, range(..) or choice(..), as on the command line, which wins."""
    parts: Annotated[tuple[dict, ...], NotIdentity(), Since(())]
    """Parts of {name, set: [overrides], vary: {key: values}}, each a product; benchmark.tasks=each: each task alone."""
    search: SearchConfig


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines one run, and how it is executed."""

    seed: Annotated[int, Range(ge=0, lt=2**32)]
    """Of every random stream."""
    agent: Annotated[AgentConfig, Variants("learner", AGENTS)]
    model: ModelConfig
    benchmark: BenchmarkConfig
    train: TrainConfig
    eval: EvalConfig
    env: EnvConfig
    checkpoint: CheckpointConfig
    launcher: LauncherConfig
    tracking: TrackingConfig
    paths: PathsConfig
    sweep: SweepConfig
    resume: Annotated[bool, NotIdentity()]
    """Continue an unfinished run of the same identity; false: refuse to touch one."""
    rerun: Annotated[Literal["off", "stale"], NotIdentity(), Since("off")]
    """stale: run what other code has finished again, in a folder beside paths.runs that is named after the code."""
    wait: Annotated[bool, NotIdentity(), Since(False)]
    """Stay until the jobs that were submitted to SLURM have ended, with a live table."""
    plan: Annotated[bool, NotIdentity()]
    """Print what would run, and stop."""

    @property
    def batch_size(self) -> int:
        """The default depends on the number of tasks."""
        if self.agent.batch_size is not None:
            return self.agent.batch_size
        if self.agent.batch_per_task is not None:
            return self.agent.batch_per_task * len(self.benchmark.task_ids)
        return 1024 if len(self.benchmark.task_ids) > 1 else 256

    @property
    def conditioning(self) -> Literal["embedding", "one_hot", "none", "heads"]:
        """A single task needs no telling apart."""
        return self.agent.conditioning if len(self.benchmark.task_ids) > 1 else "none"


def check_actions(values: dict[str, Any]) -> None:
    """Refuse an agent that cannot act in the benchmark's tasks, in composed values that are not typed yet.

    Raises:
      ConfigError: names agent and benchmark.
    """
    agent, benchmark = values.get("agent"), values.get("benchmark")
    if not isinstance(agent, dict) or not isinstance(benchmark, dict):
        return
    cls, needed = AGENTS.get(str(agent.get("learner"))), benchmark.get("actions", "continuous")
    if cls is not None and needed in ("continuous", "discrete") and cls.actions != needed:
        others = [name for name, one in AGENTS.items() if one.actions == needed]
        raise ConfigError(
            f"agent={agent.get('name')}: takes {cls.actions} actions, benchmark={benchmark.get('name')} has "
            f"{needed} ones: agent={' or '.join(others)}"
        )


def check(config: RunConfig) -> None:
    """Conflicts between fields.

    Raises:
      ConfigError: names both keys with their values.
    """
    names = {"agent.name": config.agent.name, "benchmark.name": config.benchmark.name, "sweep.name": config.sweep.name}
    for key, name in names.items():
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ConfigError(
                f"{key}={name}: names a folder: at most 64 letters, digits, dots, dashes and underscores, "
                "the first a letter or digit"
            )
    for key, path in (("runs", config.paths.runs), ("compilation_cache", config.paths.compilation_cache)):
        if path is not None and (not path.strip() or not path.isprintable()):
            raise ConfigError(f"paths.{key}={path}: must name a folder")
    uri = config.tracking.uri
    if uri is not None:
        check_tracking_uri(uri)
    if config.sweep.search.storage is not None:
        check_database(config.sweep.search.storage, "sweep.search.storage")
    if config.tracking.name == "server" and (uri is None or not is_web(uri)):
        raise ConfigError(
            f"tracking.uri={'null' if uri is None else uri}: tracking=server needs the server's address, "
            "such as tracking.uri=http://host:5000"
        )
    launcher = config.launcher
    if launcher.runs_per_job is not None and launcher.runs_per_job < launcher.runs_per_gpu:
        raise ConfigError(
            f"launcher.runs_per_job={launcher.runs_per_job}: "
            f"at least launcher.runs_per_gpu, which is {launcher.runs_per_gpu}"
        )
    if config.train.replay_capacity < config.train.random_steps:
        raise ConfigError(
            f"train.replay_capacity={config.train.replay_capacity}: "
            f"at least train.random_steps, which is {config.train.random_steps}"
        )
    config.agent.check(config.model)
    if not config.env.atari.full_action_set and len(config.benchmark.task_ids) > 1:
        raise ConfigError(
            "env.atari.full_action_set=false: the games' own sets differ, so for a single task only; "
            f"benchmark.tasks has {len(config.benchmark.task_ids)}"
        )
