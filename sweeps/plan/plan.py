"""The plan of a command: every run, what the run needs, and which runs are finished."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agents.sizes import RunSize, run_size
from conf import identity
from conf.composed import Composed
from conf.schema import EnvConfig, LauncherConfig, RunConfig, TrackingConfig
from conf.typed import ConfigError
from envs import registry
from envs.envpool import for_training
from envs.spec import TaskSpec
from records import layout
from records.provenance import git_state
from records.run_dir import RunDir
from sweeps.estimate import Estimate, estimate, measured_rates
from sweeps.plan.place import grouped, local_parallel, use_slurm
from sweeps.slurm import cluster
from sweeps.status import RunState, has_job, inspect
from sweeps.teams import teams


@dataclass(frozen=True)
class Planned:
    """One run of a plan.

    Attributes:
      config: the run's configuration.
      varied: the swept keys and values.
      run_dir: the run's directory.
      size: what the run needs.
      state: where the run stands.
      estimate: how long the whole run takes.
      stale: whether the run was finished by other code than this.
      part: the part of the sweep; empty where the sweep has no parts.
    """

    config: RunConfig
    varied: dict[str, str]
    run_dir: Path
    size: RunSize
    state: RunState
    estimate: Estimate
    stale: bool
    part: str = ""

    @property
    def pending(self) -> bool:
        return self.state.name != "done" and not self.state.alive

    @property
    def seconds_left(self) -> float:
        """A rough estimate of the seconds that the run still needs; 0 for a run that is finished."""
        gone = max(self.state.env_steps, self.config.first_step)
        left = 1 - min(1.0, gone / self.config.train.env_steps)
        return 0.0 if self.state.name == "done" else left * self.estimate.seconds


@dataclass(frozen=True)
class Common:
    """What a command says once for all of its runs (`conf.axes.COMMON_KEYS`).

    Attributes:
      on_slurm: whether SLURM executes the runs, rather than this machine.
      inline: whether the runs are executed one after another in this process.
      dry_run: whether the command only prints what would be started.
      wait: whether the command stays until the jobs that it submitted have ended.
      tracking: where the runs are mirrored.
      runs: the folder of all runs.
      sweep_name: the name of the sweep's yaml; None where there is none.
      after: the sweep that is to end first; None where there is none.
      notify: the user's command that is run at the end; None where there is none.
    """

    on_slurm: bool
    inline: bool
    dry_run: bool
    wait: bool
    tracking: TrackingConfig
    runs: Path
    sweep_name: str | None
    after: str | None
    notify: str | None

    @classmethod
    def from_config(cls, config: RunConfig) -> Common:
        return cls(
            on_slurm=use_slurm(config),
            inline=config.launcher.name == "inline",
            dry_run=config.launcher.dry_run,
            wait=config.wait,
            tracking=config.tracking,
            runs=Path(config.paths.runs),
            sweep_name=config.sweep.name,
            after=config.launcher.after,
            notify=config.launcher.notify,
        )


@dataclass(frozen=True)
class Plan:
    """Every run of a command once, and what all of them have in common.

    Attributes:
      runs: the runs, part by part.
      common: what the command says once for all.
    """

    runs: tuple[Planned, ...]
    common: Common

    @property
    def pending(self) -> tuple[Planned, ...]:
        """The runs that are neither finished nor on their way."""
        return tuple(one for one in self.runs if one.pending)

    @property
    def parts(self) -> dict[str, tuple[Planned, ...]]:
        """The runs of each part of the sweep; one part without a name where the sweep has no parts."""
        names = dict.fromkeys(one.part for one in self.runs)
        return {name: tuple(one for one in self.runs if one.part == name) for name in names}

    @property
    def has_parts(self) -> bool:
        return any(one.part for one in self.runs)

    def refreshed(self) -> Plan:
        """The same plan with the runs' states as they are now."""
        queue = queue_of(self.common.runs)
        states = [inspect(one.run_dir, one.config.train.env_steps, queue) for one in self.runs]
        runs = (dataclasses.replace(one, state=state) for one, state in zip(self.runs, states, strict=True))
        return dataclasses.replace(self, runs=tuple(runs))


def plan(members: Sequence[Composed]) -> Plan:
    """Work out sizes, times and the present state of every run; two members with one identity are one run.

    Raises:
      ConfigError: a run asks for EnvPool where it is missing or right for none of the tasks, or the members disagree
        about what a command says once.
    """
    common = common_of(members)
    rates = measured_rates(common.runs)
    queue = queue_of(common.runs)
    same_launcher = Counter(repr(member.config.launcher) for member in members)
    planned: dict[Path, Planned] = {}
    for member in members:
        config = member.config
        specs = specs_of(config.benchmark.task_ids, config.env)
        run_dir = identity.run_dir(config)
        state = inspect(run_dir, config.train.env_steps, queue)
        stale = state.name == "done" and is_stale(run_dir)
        if stale and config.rerun == "stale":
            config = elsewhere(config)
            run_dir = identity.run_dir(config)
            state, stale = inspect(run_dir, config.train.env_steps, queue), False
        size = run_size(config, specs)
        processes = -(-same_launcher[repr(member.config.launcher)] // config.launcher.seeds_together)
        parallel = local_parallel(config.launcher, processes)
        time_needed = estimate(config, size, rates, common.on_slurm, parallel)
        planned[run_dir] = Planned(config, member.varied, run_dir, size, state, time_needed, stale, member.part)
    return Plan(tuple(planned.values()), common)


def common_of(members: Sequence[Composed]) -> Common:
    """Return what all runs of a command have in common.

    Raises:
      ConfigError: two of the runs differ in what a command says once.
    """
    first, *others = (Common.from_config(member.config) for member in members)
    for other in others:
        if other != first:
            fields = [one.name for one in dataclasses.fields(Common)]
            differing = [name for name in fields if getattr(other, name) != getattr(first, name)]
            raise ConfigError(f"{', '.join(differing)}: must be the same for all runs of a command")
    return first


@cache
def specs_of(task_ids: tuple[str, ...], env: EnvConfig) -> list[TaskSpec]:
    """Return the tasks of a run, which are checked once for all runs that have the same tasks.

    Raises:
      ConfigError: EnvPool is missing or right for none of the tasks, or a file of their suite is missing.
    """
    specs = registry.specs(task_ids, env)
    for_training(specs, env.backend)
    registry.assets(specs)
    return specs


def queue_of(runs: Path) -> cluster.Queue | None:
    """Return SLURM's jobs, which are only asked for where a run below the folder has ever been given one."""
    return cluster.queue() if any(has_job(path.parent) for path in runs.glob(f"*/*/{layout.JOB}")) else {}


def code_id() -> str:
    """Return a name for the code as it is now, uncommitted changes included."""
    return hashlib.sha256(repr(sorted(git_state().items())).encode()).hexdigest()[:8]


def is_stale(run_dir: Path) -> bool:
    """Return whether any part of the run was made by another commit, or with other uncommitted changes."""
    manifest = RunDir(run_dir).manifest()
    now = git_state()
    starts = manifest.starts if manifest else ()
    return any(getattr(start, key) != value for start in starts for key, value in now.items())


def elsewhere(config: RunConfig) -> RunConfig:
    """Return the same run in the folder of this code's runs, beside the folder that holds other code's."""
    return dataclasses.replace(
        config, paths=dataclasses.replace(config.paths, runs=str(folder_of_this_code(config.paths.runs)))
    )


def folder_of_this_code(runs: Path | str) -> Path:
    """Return the folder, beside the folder of all runs, for runs that other code has finished and this code repeats."""
    return Path(f"{runs}-{code_id()}")


def by_launcher(runs: Iterable[Planned]) -> list[tuple[LauncherConfig, list[Planned]]]:
    """Return the runs in groups of one and the same launcher, which parts of a sweep may set each for itself."""
    return grouped((one.config.launcher, one) for one in runs)


def teams_of(runs: Iterable[Planned]) -> list[tuple[Planned, ...]]:
    """Return the runs by the process that executes them."""
    return teams((one.config, one) for one in runs)


def remaining_seconds(runs: Iterable[Planned]) -> float:
    """Return a rough estimate of the seconds that the runs still need, one after another but for seeds together."""
    pending = teams_of(one for one in runs if one.pending)
    return sum(max(one.seconds_left for one in team) for team in pending)
