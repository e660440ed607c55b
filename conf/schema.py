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
    """Which tasks a run learns."""

    name: str
    """The name of the benchmark's folder of runs and of the MLflow experiment."""
    actions: Annotated[Literal["continuous", "discrete"], NotIdentity(), Since("continuous")]
    """The kind of actions that the tasks take."""
    available: Annotated[tuple[str, ...], NotIdentity()]
    """The benchmark's own task ids, in order; the tasks of included benchmarks follow."""
    include: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """The names of other benchmarks, whose tasks this benchmark contains too."""
    tasks: tuple[str, ...] | None
    """The tasks that the run learns, by full, short or published name; null: all; with -m, each: a run for each."""
    published_suffixes: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """The endings that published names of tasks have after the short names."""

    @property
    def task_ids(self) -> tuple[str, ...]:
        return self.available if self.tasks is None else self.tasks


@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    env_steps: Annotated[int, Range(ge=1, le=10**12), NotIdentity()]
    """The budget, in environment steps per task; a larger one continues a finished run."""
    random_steps: Annotated[int, Range(ge=1, le=10**12)]
    """The number of first steps, which take uniformly random actions and make no updates."""
    replay_capacity: Annotated[int, Range(ge=1, le=10**12)]
    """The number of transitions that replay keeps for each task."""
    log_every_steps: Annotated[int, Range(ge=1, le=10**12)]
    """Environment steps between two records of the learner's metrics."""
    deterministic: bool
    """Whether XLA uses deterministic GPU kernels, which are slower; a CPU is deterministic anyway."""


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation: on a grid of environment steps and at the end."""

    every_steps: Annotated[int, Range(ge=1, le=10**12)]
    """Environment steps between two evaluations; there is one at 0 too."""
    episodes: Annotated[int, Range(ge=1, le=10**6)]
    """The number of episodes that an evaluation plays of each task."""
    parallel_episodes: Annotated[int, Range(ge=1, le=10**4)]
    """The number of a task's environments that play these episodes at once, at most one an episode."""
    max_episode_steps: Annotated[int | None, Range(ge=1, le=10**9)]
    """The length at which episodes are cut, for quick trials; null: the tasks' own limits."""
    video: Annotated[bool, NotIdentity()]
    """Whether each evaluation films the first episode of each task (mp4; no screen is needed)."""


@dataclass(frozen=True)
class MetaworldConfig:
    """Meta-World's tasks."""

    goal_sampling: Annotated[Literal["per_reset", "fixed"], Since("per_reset")]
    """Whether every reset draws new object positions and a goal, or each task has one of each in all episodes."""


@dataclass(frozen=True)
class AtariConfig:
    """Atari games, as ale-py steps them."""

    sticky_actions: Annotated[float, Range(ge=0, lt=1), Since(0.25)]
    """The probability, at each frame, that the emulator repeats the previous action."""
    terminal_on_life_loss: Annotated[bool, Since(True)]
    """Whether a lost life is terminal for the learner; the game goes on, and evaluation counts whole games."""
    full_action_set: Annotated[bool, Since(True)]
    """Whether every game has all 18 actions; false: only a game's own, for a run of one game."""
    noop_max: Annotated[int, Range(ge=0, le=10**4), Since(30)]
    """The largest number of no-ops that an episode begins with; each episode draws its number."""
    fire_reset: Annotated[bool, Since(True)]
    """Whether FIRE is pressed at the start of games that wait for it."""
    video_pinball_random: Annotated[float, Since(16256.9)]
    """The return at which VideoPinball's score is 0: the common table's random return; the authors' table has 0."""


@dataclass(frozen=True)
class ShadowhandConfig:
    """The objects of the Shadow Hand."""

    shapes: Annotated[Literal["package", "recipe", "mesh_dir"], Since("package")]
    """What objects are made of: meshes of an installed package, else recipes; recipes alone; meshes in mesh_dir."""
    mesh_dir: Annotated[str | None, NotIdentity(), Since(None)]
    """The folder that holds a mesh <object>.stl for each of the run's objects, for shapes=mesh_dir."""


@dataclass(frozen=True)
class HumanoidBenchConfig:
    """HumanoidBench's tasks."""

    meshes: Annotated[Literal["standin", "upstream"], Since("standin")]
    """The shapes of feet and fingertips: stand-ins, or HumanoidBench's own files (upstream), which asset_dir holds."""
    asset_dir: Annotated[str | None, NotIdentity(), Since(None)]
    """The folder that holds, at any depth, HumanoidBench's own four mesh files; needed with meshes=upstream."""


@dataclass(frozen=True)
class EnvConfig:
    """How environments are stepped, which changes no number but for EnvPool's; and options of suites, which do."""

    backend: Annotated[Literal["auto", "process", "envpool", "inline"], NotIdentity()]
    """Where environments run: worker processes (auto), EnvPool for training where it fits, or this process (inline)."""
    workers: Annotated[int | None, Range(ge=1, le=10**4), NotIdentity()]
    """The number of worker processes; null: one a core, at most one a task."""
    on_divergence: Annotated[Literal["truncate", "stop"], NotIdentity(), Since("truncate")]
    """What a diverging simulation ends: its episode, without reward, which is counted (truncate), or the run (stop)."""
    metaworld: MetaworldConfig
    atari: AtariConfig
    shadowhand: ShadowhandConfig
    humanoidbench: HumanoidBenchConfig


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints, besides those at every evaluation; change no number."""

    every_min: Annotated[float, Range(gt=0, le=10**6), NotIdentity()]
    """The minutes of wall time between two checkpoints."""


@dataclass(frozen=True)
class LauncherConfig:
    """Where runs are executed."""

    name: Annotated[Literal["auto", "local", "slurm", "inline"], NotIdentity()]
    """auto: slurm for several runs where one answers, else local processes; inline: one after another, in this one."""
    max_parallel: Annotated[int | None, Range(ge=1, le=10**5), NotIdentity()]
    """The number of runs (on SLURM: of jobs) at once; null: no limit on SLURM, else runs_per_gpu a GPU, or one run."""
    max_crashes: Annotated[int, Range(ge=0, le=10**6), NotIdentity(), Since(2)]
    """The number of crashes after which a run is given up; preemptions and time limits are no crashes."""
    backoff_s: Annotated[float, Range(ge=0, le=10**6), NotIdentity(), Since(30.0)]
    """The seconds before a crashed run is started again, doubled after each crash."""
    hang_min: Annotated[float | None, Range(gt=0, le=10**6), NotIdentity(), Since(None)]
    """The minutes without a step after which a run counts as crashed; null: ten times its slowest, and at least 10."""
    runs_per_gpu: Annotated[int, Range(ge=1, le=1000), NotIdentity(), Since(1)]
    """The number of runs that share a GPU at once: a SLURM job's, or each of this machine's."""
    runs_per_job: Annotated[int | None, Range(ge=1, le=10**5), NotIdentity(), Since(None)]
    """The number of runs that a SLURM job takes on, those beyond runs_per_gpu in turn; null: runs_per_gpu."""
    gpu_memory_gb: Annotated[float | None, Range(gt=0, le=10**5), NotIdentity(), Since(None)]
    """The memory of one GPU in GiB, so that runs that cannot fit are refused; null: unknown."""
    signal_delay_s: Annotated[int, Range(ge=1, le=65535), NotIdentity(), Since(300)]
    """Seconds before SLURM's time limit at which runs are told to checkpoint."""
    requeue: Annotated[Literal["auto", "off"], NotIdentity(), Since("auto")]
    """auto: a job that is told to stop requeues itself, where its node has scontrol; off: no job ever requeues."""
    setup: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """The shell lines that a SLURM job executes first."""
    dry_run: Annotated[bool, NotIdentity(), Since(False)]
    """Whether the command prints the plan and what would be submitted, and stops."""
    slurm: Annotated[dict, NotIdentity()]
    """The flags of sbatch, with underscores for dashes; true sets a flag without a value, null drops a flag."""


@dataclass(frozen=True)
class TrackingConfig:
    """Where the run record is mirrored."""

    name: Annotated[Literal["mlflow", "server", "off"], NotIdentity()]
    """Where runs are mirrored: local MLflow, a lab's server, or nowhere (the run directory holds everything)."""
    uri: Annotated[str | None, NotIdentity()]
    """The tracking URI; null: SQLite `mlflow.db` in the folder of launch; tracking=server needs one."""
    experiment: Annotated[str | None, NotIdentity(), Since(None)]
    """The name of the MLflow experiment that gets the runs; null: the benchmark's name."""
    system_metrics: Annotated[bool, NotIdentity()]
    """Whether the use of CPU, memory, disk and GPU is logged."""

    @property
    def on(self) -> bool:
        return self.name != "off"


@dataclass(frozen=True)
class PathsConfig:
    """Folders; relative ones start at the folder of launch."""

    runs: Annotated[str, NotIdentity()]
    """The folder of run directories."""
    compilation_cache: Annotated[str | None, NotIdentity()]
    """The folder of XLA's persistent compilation cache; null: none."""


@dataclass(frozen=True)
class SearchConfig:
    """A sweep whose values Optuna chooses, trial by trial; with an empty space it is no search."""

    space: Annotated[dict, NotIdentity(), Since({})]
    """The space: override key -> {low, high, log, step} for numbers or {choices: [..]}; null drops a key."""
    trials: Annotated[int, Range(ge=1, le=10**5), NotIdentity(), Since(30)]
    """The number of trials, pruned and failed ones included; a larger one continues a finished search."""
    sampler: Annotated[Literal["tpe", "random"], NotIdentity(), Since("tpe")]
    """How values are chosen."""
    pruner: Annotated[Literal["asha", "median", "off"], NotIdentity(), Since("asha")]
    """Which trials are stopped early, by the interquartile mean of their tasks' scores at each evaluation."""
    startup_trials: Annotated[int, Range(ge=1, le=10**5), NotIdentity(), Since(10)]
    """The number of first trials, which TPE draws at random and median pruning waits for."""
    grace_steps: Annotated[int | None, Range(ge=1, le=10**12), NotIdentity(), Since(None)]
    """The steps before which no trial is pruned, which are ASHA's first rung; null: eval.every_steps."""
    reduction_factor: Annotated[int, Range(ge=2, le=1000), NotIdentity(), Since(3)]
    """ASHA's factor: one in so many trials passes a rung, and each rung lies so many times further."""
    seed: Annotated[int, Range(ge=0, lt=2**32), NotIdentity(), Since(0)]
    """The seed of the sampler."""
    storage: Annotated[str | None, NotIdentity(), Since(None)]
    """Optuna's storage, such as postgresql://user@host/db with the password in PGPASSFILE; null: a file in runs/."""


@dataclass(frozen=True)
class SweepConfig:
    """Many runs from one command."""

    name: Annotated[str | None, NotIdentity()]
    """The name that the sweep's record and the MLflow parent run have."""
    params: Annotated[dict, NotIdentity()]
    """The axes: override key -> comma list, range(..) or choice(..), as on the command line, which wins."""
    parts: Annotated[tuple[dict, ...], NotIdentity(), Since(())]
    """The parts, each {name, set: [overrides], vary: {key: values}} and a product of axes of its own."""
    search: SearchConfig


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines one run, and how it is executed."""

    seed: Annotated[int, Range(ge=0, lt=2**32)]
    """The seed of every random stream."""
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
    """Whether an unfinished run of the same identity is continued; false: the command refuses to touch it."""
    rerun: Annotated[Literal["off", "stale"], NotIdentity(), Since("off")]
    """Whether runs that other code has finished are repeated (stale), in a folder beside paths.runs."""
    wait: Annotated[bool, NotIdentity(), Since(False)]
    """Whether the command stays, with a live table, until the jobs that it submitted to SLURM have ended."""
    plan: Annotated[bool, NotIdentity()]
    """Whether the command prints what would run, and stops."""

    @property
    def experiment(self) -> str:
        """The name of the MLflow experiment."""
        return self.tracking.experiment or self.benchmark.name

    @property
    def batch_size(self) -> int:
        """The number of transitions in an update; its default depends on the number of tasks."""
        if self.agent.batch_size is not None:
            return self.agent.batch_size
        if self.agent.batch_per_task is not None:
            return self.agent.batch_per_task * len(self.benchmark.task_ids)
        return 1024 if len(self.benchmark.task_ids) > 1 else 256

    @property
    def conditioning(self) -> Literal["embedding", "one_hot", "none", "heads"]:
        """How the networks know the task; a single task needs no telling apart."""
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
