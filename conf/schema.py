"""The typed schema: one dataclass a group, values only from yaml, and the checks that need more than one field.

A field is part of a run's identity unless marked `NotIdentity`. A field added to the schema later must carry
`Since(value)`: the value that runs recorded before it had, so that their directories keep their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from conf.agents import AGENTS, AgentConfig, ModelConfig
from conf.mesh import MeshConfig
from conf.typed import ConfigError, NotIdentity, Range, Since, Variants, show
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
    max_tasks: Annotated[int | None, Range(ge=1, le=10**6), NotIdentity(), Since(None)]
    """The number of tasks that the run learns at most, which are the first ones; null: no limit."""
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
    replay_storage: Annotated[Literal["memory", "disk"], NotIdentity(), Since("memory")]
    """Whether replay keeps observations and actions in memory, or in files in the run's folder, for more than fits."""
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
    keep: Annotated[tuple[int, ...], NotIdentity(), Since(())]
    """The environment steps whose checkpoints are kept for good, for agents.fork; of all others the newest two are."""
    keep_every: Annotated[int | None, Range(ge=1, le=10**12), NotIdentity(), Since(None)]
    """Environment steps between two checkpoints that are kept for good; null: only those that keep names are."""

    def keeps(self, env_steps: int) -> bool:
        """Whether a checkpoint is taken after so many environment steps, and kept for good."""
        on_grid = self.keep_every is not None and env_steps > 0 and env_steps % self.keep_every == 0
        return on_grid or env_steps in self.keep


@dataclass(frozen=True)
class LauncherConfig:
    """Where runs are executed."""

    name: Annotated[Literal["auto", "local", "slurm", "ssh-slurm", "inline"], NotIdentity()]
    """auto: for several runs slurm, if it answers, else local; ssh-slurm: another machine's; inline: this process."""
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
    seeds_together: Annotated[int, Range(ge=1, le=1000), Since(1)]
    """The number of runs, different in the seed alone, that one process trains side by side, which changes rounding;
    the process counts as one run for max_parallel, runs_per_gpu and runs_per_job."""
    gpu_memory_gb: Annotated[float | None, Range(gt=0, le=10**5), NotIdentity(), Since(None)]
    """The memory of one GPU in GiB, so that runs that cannot fit are refused; null: unknown."""
    max_gpu_hours: Annotated[float | None, Range(gt=0, le=10**9), NotIdentity(), Since(None)]
    """The GPU-hours that a sweep may use: a plan of more is refused, and no run begins when they are used."""
    signal_delay_s: Annotated[int, Range(ge=1, le=65535), NotIdentity(), Since(300)]
    """Seconds before SLURM's time limit at which runs are told to checkpoint."""
    requeue: Annotated[Literal["auto", "off"], NotIdentity(), Since("auto")]
    """auto: a job that is told to stop requeues itself, where its node has scontrol; off: no job ever requeues."""
    setup: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """The shell lines that a SLURM job executes first."""
    code: Annotated[Literal["snapshot", "live"] | None, NotIdentity(), Since(None)]
    """The code of queued runs: as it is at the submission, or when a run starts (live); null: live if not on SLURM."""
    dry_run: Annotated[bool, NotIdentity(), Since(False)]
    """Whether the command prints the plan and what would be submitted, and stops."""
    after: Annotated[str | None, NotIdentity(), Since(None)]
    """The id of another sweep, or the id's beginning or end, which has to end before runs are started; null: none."""
    notify: Annotated[str | None, NotIdentity(), Since(None)]
    """A shell command that is run once when the sweep has ended, with the outcome as JSON on standard input."""
    host: Annotated[str | None, NotIdentity(), Since(None)]
    """The machine that ssh-slurm submits on, as ssh and its configuration name the machine; null: none."""
    folder: Annotated[str, NotIdentity(), Since("brc")]
    """The folder of ssh-slurm on that machine, for code, packages and runs; a relative one begins at home there."""
    python: Annotated[str, NotIdentity(), Since("venv/bin/python")]
    """The Python of ssh-slurm on that machine; a relative path begins at launcher.folder."""
    wheels: Annotated[str | None, NotIdentity(), Since(None)]
    """The folder of wheels on this machine that ssh-slurm sends too, for nodes without internet; null: none."""
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
    seeds: Annotated[int, Range(ge=1, le=1000), NotIdentity(), Since(1)]
    """The number of runs that make up a trial and differ in the seed; the trial's score is their mean."""
    confirm: Annotated[int, Range(ge=0, le=1000), NotIdentity(), Since(0)]
    """The number of fresh seeds on which the best trials run again when all trials have ended; 0: none."""
    confirm_trials: Annotated[int, Range(ge=1, le=1000), NotIdentity(), Since(3)]
    """The number of best trials that run again on fresh seeds."""
    sampler: Annotated[Literal["tpe", "random", "gp", "cmaes", "qmc", "grid"], NotIdentity(), Since("tpe")]
    """How values are chosen; grid: every combination of choices and steps once, in an order drawn by the seed."""
    sampler_options: Annotated[dict, NotIdentity(), Since({})]
    """The options of Optuna's sampler, by Optuna's names, such as {multivariate: true}."""
    pruner: Annotated[Literal["asha", "hyperband", "median", "wilcoxon", "off"], NotIdentity(), Since("asha")]
    """Which trials are stopped early, by their scores at each evaluation; wilcoxon: by those of each ended run."""
    pruner_options: Annotated[dict, NotIdentity(), Since({})]
    """The options of Optuna's pruner, by Optuna's names, such as {p_threshold: 0.05}."""
    startup_trials: Annotated[int, Range(ge=1, le=10**5), NotIdentity(), Since(10)]
    """The number of first trials, which TPE, GP and CMA-ES draw at random and median pruning waits for."""
    grace_steps: Annotated[int | None, Range(ge=1, le=10**12), NotIdentity(), Since(None)]
    """The steps before which no trial is pruned, the first rung of ASHA and Hyperband; null: eval.every_steps."""
    reduction_factor: Annotated[int, Range(ge=2, le=1000), NotIdentity(), Since(3)]
    """The factor of ASHA and Hyperband: one in so many trials passes a rung, each so many times further."""
    seed: Annotated[int, Range(ge=0, lt=2**32), NotIdentity(), Since(0)]
    """The seed of the sampler."""
    storage: Annotated[str | None, NotIdentity(), Since(None)]
    """Optuna's storage, such as postgresql://user@host/db with the password in PGPASSFILE; null: a file in runs/."""


@dataclass(frozen=True)
class DecideConfig:
    """A sweep that adds seeds until its variants are told apart; without a budget it is none."""

    max_seeds: Annotated[int | None, Range(ge=2, le=100), NotIdentity(), Since(None)]
    """The budget: the largest number of seeds of each variant, the first of them being seed; null: no such sweep."""
    seeds_per_round: Annotated[int, Range(ge=1, le=7), NotIdentity(), Since(3)]
    """The number of seeds that each variant which is not yet decided gets before the next look at the scores."""
    alpha: Annotated[float, Range(gt=0, lt=1), NotIdentity(), Since(0.05)]
    """The probability, at most, that any two variants which do not differ are said to differ."""
    futility: Annotated[float, Range(ge=0, lt=1), NotIdentity(), Since(0.2)]
    """A comparison is given up where the seeds that are left would decide it with less than this probability."""
    question: Annotated[Literal["all", "best"], NotIdentity(), Since("all")]
    """What is asked: how all variants compare (all), or which is the best, so that a beaten one gets no more seeds."""
    failed_score: Annotated[float | None, Range(ge=-(10**6), le=10**6), NotIdentity(), Since(None)]
    """The score that a failed run counts as; null: a failed run holds up the comparisons of its variant."""


@dataclass(frozen=True)
class SweepConfig:
    """Many runs from one command."""

    name: Annotated[str | None, NotIdentity()]
    """The name that the sweep's record and the MLflow parent run have."""
    params: Annotated[dict, NotIdentity()]
    """The axes: override key -> comma list, range(..) or choice(..), as on the command line, which wins."""
    parts: Annotated[tuple[dict, ...], NotIdentity(), Since(())]
    """The parts, each {name, set: [overrides], vary: {key: values}} and a product of axes of its own."""
    include: Annotated[tuple[str, ...], NotIdentity(), Since(())]
    """The names of experiments whose parts an experiment has too, after its own, named `<experiment>.<part>`."""
    sizes: Annotated[dict, NotIdentity(), Since({})]
    """What each size but full changes: size -> {override key: value or values}; the command line wins."""
    search: SearchConfig
    decide: DecideConfig


@dataclass(frozen=True)
class InterferenceConfig:
    """Measurements of how the tasks' gradients of the critic lie to each other; change no number of the run."""

    every_steps: Annotated[int | None, Range(ge=1, le=10**12), NotIdentity(), Since(None)]
    """Environment steps between two measurements, once updates have begun; null: none."""
    transitions: Annotated[int, Range(ge=2, le=10**6), NotIdentity(), Since(256)]
    """The number of transitions of each task that a measurement draws."""
    projection: Annotated[int, Range(ge=16, le=10**7), NotIdentity(), Since(4093)]
    """The numbers that a gradient is projected to at random; cosines err by about the inverse root. Best a prime."""


@dataclass(frozen=True)
class InitConfig:
    """What a run does with the networks of the run that init_from names; of no effect without."""

    new_rows: Annotated[Literal["random", "mean", "nearest"], Since("random")]
    """How a new task's embedding starts: at random, as the mean of the source's tasks, or as the most similar one's."""
    frozen: Annotated[tuple[str, ...], Since(())]
    """The parts of the networks that are not trained, such as [critic_torso, actor_torso]; a wrong name lists them."""
    known_tasks: Annotated[Literal["refuse", "allow"], NotIdentity(), Since("refuse")]
    """Whether all of the run's tasks may be tasks that the source has trained on."""
    old_tasks_every_steps: Annotated[int | None, Range(ge=1, le=10**12), Since(None)]
    """Environment steps between two evaluations of the source's other tasks, on the grid of evaluation; null: none."""


@dataclass(frozen=True)
class SourceConfig:
    """The checkpoint of another run that a run was started from. Commands fill these keys in; nobody else can."""

    kind: Annotated[Literal["transfer", "fork"] | None, Since(None)]
    """What became of the checkpoint: its networks begin another run (transfer), or its run goes on with other settings
    (fork); null: the run has no source."""
    identity: Annotated[str | None, Since(None)]
    """The identity of the source, as the manifest of the source has it."""
    env_steps: Annotated[int | None, Since(None)]
    """The environment steps at which the checkpoint was taken."""
    setting: Annotated[str | None, Since(None)]
    """The hash of what seeds of the source have in common: runs from these are seeds of one another too."""
    name: Annotated[str | None, NotIdentity(), Since(None)]
    """The benchmark and the name of the source without the seed, for people."""
    update_steps: Annotated[int | None, NotIdentity(), Since(None)]
    """The learner's updates at which the checkpoint was taken."""
    run_dir: Annotated[str | None, NotIdentity(), Since(None)]
    """The directory of the source, which is needed until the run has a checkpoint of its own."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines one run, and how it is executed."""

    seed: Annotated[int, Range(ge=0, lt=2**32)]
    """The seed of every random stream."""
    size: Annotated[str, NotIdentity(), Since("full")]
    """How large everything is: as the files say (full), or as one of sweep.sizes, such as smoke, makes it."""
    agent: Annotated[AgentConfig, Variants("learner", AGENTS)]
    model: ModelConfig
    benchmark: BenchmarkConfig
    train: TrainConfig
    eval: EvalConfig
    env: EnvConfig
    mesh: MeshConfig
    interference: InterferenceConfig
    init_from: Annotated[str | None, Since(None)]
    """The run whose networks this run starts from: RUN_DIR, or RUN_DIR@STEPS for an older checkpoint; null: none."""
    init: InitConfig
    source: SourceConfig
    checkpoint: CheckpointConfig
    launcher: LauncherConfig
    tracking: TrackingConfig
    paths: PathsConfig
    sweep: SweepConfig
    resume: Annotated[bool, NotIdentity()]
    """Whether an unfinished run of the same identity is continued; false: the command refuses to touch it."""
    rerun: Annotated[Literal["off", "stale"], NotIdentity(), Since("off")]
    """Whether runs that other code has finished are repeated (stale), in a folder beside paths.runs."""
    report: Annotated[bool, NotIdentity(), Since(True)]
    """Whether a run or sweep that has ended is drawn, which takes some seconds."""
    wait: Annotated[bool, NotIdentity(), Since(False)]
    """Whether the command stays, with a live table, until the jobs that it submitted to SLURM have ended."""
    plan: Annotated[bool, NotIdentity()]
    """Whether the command prints what would run, and stops."""

    @property
    def first_step(self) -> int:
        """The environment steps at which the run's own training begins: a fork's history up to there is shared."""
        return self.source.env_steps or 0 if self.source.kind == "fork" else 0

    def keeps(self, env_steps: int) -> bool:
        """Whether the run takes a checkpoint after so many environment steps, and keeps it; not where a fork begins."""
        return self.checkpoint.keeps(env_steps) and not (self.source.kind == "fork" and env_steps == self.first_step)

    def update_steps(self, env_steps: int) -> int:
        """The learner's updates after so many environment steps; the first `random_steps` bring none."""
        own = max(0, env_steps - max(self.random_steps, self.first_step)) * self.agent.updates_per_step
        return own + (self.source.update_steps or 0 if self.source.kind == "fork" else 0)

    @property
    def experiment(self) -> str:
        """The name of the MLflow experiment."""
        return self.tracking.experiment or self.benchmark.name

    @property
    def random_steps(self) -> int:
        """The number of first steps that take random actions; an agent that learns from a dataset takes no steps."""
        return 0 if self.agent.offline else self.train.random_steps

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
        """How the networks know the task; a single task needs no telling apart, unless networks come from elsewhere."""
        several = len(self.benchmark.task_ids) > 1 or self.init_from is not None
        return self.agent.conditioning if several else "none"


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
        others = [name for name, one in AGENTS.items() if one.actions == needed and not one.offline]
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
    if config.init_from is not None and (not config.init_from.strip() or not config.init_from.isprintable()):
        raise ConfigError(f"init_from={config.init_from}: must name a run's directory, or be null")
    for key, path in (("runs", config.paths.runs), ("compilation_cache", config.paths.compilation_cache)):
        if path is not None and (not path.strip() or not path.isprintable()):
            raise ConfigError(f"paths.{key}={path}: must name a folder")
    uri = config.tracking.uri
    if uri is not None:
        check_tracking_uri(uri)
    search = config.sweep.search
    if search.storage is not None:
        check_database(search.storage, "sweep.search.storage")
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
    if launcher.seeds_together > 1:
        for key, value, why in (
            ("sweep.search.space", search.space, "a search gives each run a process of its own"),
            ("sweep.decide.max_seeds", config.sweep.decide.max_seeds, "a decision adds seeds one by one"),
            ("mesh", config.mesh.devices > 1, "a mesh gives a run several devices"),
        ):
            if value:
                raise ConfigError(f"launcher.seeds_together={launcher.seeds_together}: must be 1 with {key}: {why}")
    if launcher.name == "inline" and launcher.code == "snapshot":
        raise ConfigError(
            "launcher.code=snapshot: launcher=inline executes the runs in this process, which imports its own code; "
            "allowed: live, or launcher=local"
        )
    if search.pruner == "wilcoxon" and search.seeds < 2:
        raise ConfigError(
            f"sweep.search.pruner=wilcoxon: compares trials run by run, and sweep.search.seeds={search.seeds} is one "
            "run; needs sweep.search.seeds=2 or more"
        )
    if config.seed + search.seeds + search.confirm > 2**32:
        raise ConfigError(
            f"seed={config.seed}: the search counts {search.seeds + search.confirm} seeds upwards from here; "
            f"at most {2**32 - search.seeds - search.confirm}"
        )
    if config.train.replay_capacity < config.train.random_steps:
        raise ConfigError(
            f"train.replay_capacity={config.train.replay_capacity}: "
            f"at least train.random_steps, which is {config.train.random_steps}"
        )
    if any(env_steps < 0 for env_steps in config.checkpoint.keep):
        raise ConfigError(f"checkpoint.keep={show(config.checkpoint.keep)}: must be environment steps, none below 0")
    if config.interference.every_steps is not None and not config.agent.parts:
        raise ConfigError(
            f"interference.every_steps={config.interference.every_steps}: not measured of agent.learner="
            f"{config.agent.learner}, so must be null"
        )
    if (every := config.init.old_tasks_every_steps) is not None and every % config.eval.every_steps != 0:
        raise ConfigError(
            f"init.old_tasks_every_steps={every}: must be a multiple of eval.every_steps, which is "
            f"{config.eval.every_steps}"
        )
    config.agent.check(config.model)
    config.mesh.check(config.model.width, config.batch_size, config.agent.accumulate)
    if not config.env.atari.full_action_set and len(config.benchmark.task_ids) > 1:
        raise ConfigError(
            "env.atari.full_action_set=false: the games' own sets differ, so for a single task only; "
            f"benchmark.tasks has {len(config.benchmark.task_ids)}"
        )
