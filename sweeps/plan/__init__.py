"""What a command would run, what the runs need, and which of them are finished."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.table import Table

from agents.memory import available_bytes
from agents.sizes import RunSize, check_memory, readable_bytes, run_size
from conf import identity
from conf.compose import Composed
from conf.schema import EnvConfig, RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.envpool import for_training
from envs.spec import TaskSpec
from records import layout
from records.provenance import git_state
from records.run_dir import RunDir
from sweeps.estimate import Estimate, estimate, measured_rates
from sweeps.slurm import cluster
from sweeps.status import RunState, console, duration, inspect

MAX_ROWS = 40
SILENT = "sbatch is here, but no SLURM answers (scontrol ping)"
MEMORY_FRACTION = 0.9  # of a GPU, that its runs get together
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


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
        """Rough; nothing for a run that is finished."""
        left = 1 - min(1.0, self.state.env_steps / self.config.train.env_steps)
        return 0.0 if self.state.name == "done" else left * self.estimate.seconds


def plan(members: Sequence[Composed]) -> list[Planned]:
    """Sizes, times and present state of every run; two members with one identity are one run.

    Raises:
      ConfigError: a run asks for EnvPool where it is missing or right for none of the tasks.
    """
    first = members[0].config
    on_slurm = use_slurm(first)
    rates = measured_rates(Path(first.paths.runs))
    queue = queue_of(first)
    parallel = local_parallel(first, len(members))
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
        time_needed = estimate(config, size, rates, on_slurm, parallel)
        planned[run_dir] = Planned(config, member.varied, run_dir, size, state, time_needed, stale, member.part)
    return list(planned.values())


@cache
def specs_of(task_ids: tuple[str, ...], env: EnvConfig) -> list[TaskSpec]:
    """The tasks of a run, checked once for all that have the same.

    Raises:
      ConfigError: EnvPool is missing or right for none of them.
    """
    specs = registry.specs(task_ids, env)
    for_training(specs, env.backend)
    return specs


def refreshed(planned: Sequence[Planned]) -> list[Planned]:
    """The same plan with the runs' states as they are now."""
    queue = queue_of(planned[0].config)
    return [dataclasses.replace(one, state=inspect(one.run_dir, one.config.train.env_steps, queue)) for one in planned]


def queue_of(config: RunConfig) -> cluster.Queue | None:
    """SLURM's jobs, which are only asked for where a run has ever been given one."""
    return cluster.queue() if any(Path(config.paths.runs).glob(f"*/*/{layout.JOB}")) else {}


def use_slurm(config: RunConfig) -> bool:
    """Whether the launcher is SLURM; `auto` means so where there is one.

    Raises:
      ConfigError: `auto`, and SLURM is silent: a cluster's login node is no place for runs. A plan only warns.
    """
    if config.launcher.name != "auto":
        return config.launcher.name == "slurm"
    if cluster.controller() == "silent":
        if not config.plan:
            raise ConfigError(f"launcher=auto: {SILENT}; allowed: launcher=local, and launcher=slurm once it answers")
        warn_silent()
    return cluster.controller() == "up"


@cache
def warn_silent() -> None:
    """Print, once, that the plan is for this machine because SLURM does not answer."""
    print(f"warning: {SILENT}; this plan is for this machine", file=sys.stderr)


def local_parallel(config: RunConfig, runs: int) -> int:
    """How many runs a local pool has at once."""
    return 1 if config.launcher.name == "inline" else min(config.launcher.max_parallel or 1, runs)


def code_id() -> str:
    """Return a name for the code as it is now, uncommitted changes included."""
    return hashlib.sha256(repr(sorted(git_state().items())).encode()).hexdigest()[:8]


def is_stale(run_dir: Path) -> bool:
    """Whether any part of the run was made by another commit, or with other uncommitted changes."""
    manifest = RunDir(run_dir).manifest()
    now = git_state()
    starts = manifest.starts if manifest else ()
    return any(getattr(start, key) != value for start in starts for key, value in now.items())


def elsewhere(config: RunConfig) -> RunConfig:
    """The same run in the folder of this code's runs, beside the folder that holds other code's."""
    paths = dataclasses.replace(config.paths, runs=f"{config.paths.runs}-{code_id()}")
    return dataclasses.replace(config, paths=paths)


def by_launcher(planned: Sequence[Planned]) -> list[list[Planned]]:
    """The runs in groups of one and the same launcher, which parts of a sweep may set each for itself."""
    groups: dict[str, list[Planned]] = {}
    for one in planned:
        groups.setdefault(repr(one.config.launcher), []).append(one)
    return list(groups.values())


def check_fit(planned: Sequence[Planned]) -> None:
    """Refuses runs that cannot be held where they would run.

    Raises:
      ConfigError: names what is needed and what there is.
    """
    for group in by_launcher([one for one in planned if one.pending]):
        _check_fit(group)


def _check_fit(pending: Sequence[Planned]) -> None:
    """Refuses runs of one launcher that cannot be held where they would run."""
    launcher = pending[0].config.launcher
    on_slurm = use_slurm(pending[0].config)
    at_once = launcher.runs_per_gpu if on_slurm else local_parallel(pending[0].config, len(pending))
    largest = sorted((one.size for one in pending), key=lambda size: size.replay_bytes, reverse=True)[:at_once]
    available = job_bytes(launcher.slurm.get("mem")) if on_slurm else available_bytes()
    if available is not None:
        check_memory(largest, available)
    if on_slurm and launcher.gpu_memory_gb is not None:
        needed = sum(sorted((one.size.device_bytes for one in pending), reverse=True)[:at_once])
        usable = MEMORY_FRACTION * launcher.gpu_memory_gb * 2**30
        if needed > usable:
            there = f"{MEMORY_FRACTION:.0%} of launcher.gpu_memory_gb={launcher.gpu_memory_gb:g}"
            raise ConfigError(
                f"launcher.runs_per_gpu={at_once}: needs {readable_bytes(needed)} of GPU memory, "
                f"{there} is {readable_bytes(usable)}"
            )


def job_bytes(mem: object) -> int | None:
    """The memory that sbatch's flag asks for; None where it does not say, or all of a node (0).

    Raises:
      ConfigError: it cannot be read.
    """
    if mem is None or mem is False:
        return None
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", str(mem).upper())
    if match is None:
        raise ConfigError(f"launcher.slurm.mem={mem}: must be a whole number with K, M, G or T, such as 64G, or null")
    return int(match[1]) * UNITS[match[2] or "M"] or None


def print_plan(planned: Sequence[Planned]) -> None:
    """The runs, a line for each size, and the totals, on standard output."""
    screen = console()
    screen.print(run_table(planned))
    if len(planned) > MAX_ROWS:
        screen.print(f"... and {len(planned) - MAX_ROWS} more")
    screen.print(size_table(planned))
    if any(one.part for one in planned):
        screen.print(part_table(planned))
    screen.print(summary(planned), highlight=False)


def run_table(planned: Sequence[Planned]) -> Table:
    """A line for each run, up to a limit: tasks, sizes, budget and state."""
    table = Table(title=f"{len(planned)} run{'s' if len(planned) != 1 else ''}")
    parts = any(one.part for one in planned)
    if parts:
        table.add_column("part", no_wrap=True)
    for column in ("run", "tasks", "critic params", "actor params", "learner", "replay", "steps", "state"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right", no_wrap=True)
    for one in planned[:MAX_ROWS]:
        state = one.state.name
        if one.stale:
            state += " (by other code)"
        elif state not in ("done", "new"):
            state += f" at {one.state.env_steps:,}"
        table.add_row(
            *([one.part] if parts else []),
            f"{one.config.benchmark.name}/{one.run_dir.name}",
            str(len(one.config.benchmark.task_ids)),
            f"{one.size.critic_params:,}",
            f"{one.size.actor_params:,}",
            readable_bytes(one.size.learner_bytes),
            readable_bytes(one.size.replay_bytes),
            f"{one.config.train.env_steps:,}",
            state,
        )
    return table


def size_table(planned: Sequence[Planned]) -> Table:
    """What one run of each size needs."""
    table = Table(title="by size: needs of one run")
    for column in ("critic width", "critic params", "runs", "GPU memory", "replay (host)", "time", "estimate"):
        table.add_column(column, justify="right", no_wrap=True)
    by_size: dict[tuple, list[Planned]] = {}
    for one in planned:
        by_size.setdefault((one.config.model.width, one.size, one.estimate), []).append(one)
    for (width, size, needed), runs in list(by_size.items())[:MAX_ROWS]:
        table.add_row(
            str(width),
            f"{size.critic_params:,}",
            str(len(runs)),
            readable_bytes(size.device_bytes),
            readable_bytes(size.replay_bytes),
            duration(needed.seconds),
            needed.source,
        )
    return table


def part_table(planned: Sequence[Planned]) -> Table:
    """How many runs each part has, and what is left of them."""
    table = Table(title="by part")
    table.add_column("part")
    for column in ("runs", "finished", "to run", "time, one after another"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in dict.fromkeys(one.part for one in planned):
        runs = [one for one in planned if one.part == part]
        finished, pending = sum(one.state.name == "done" for one in runs), sum(one.pending for one in runs)
        table.add_row(part, str(len(runs)), str(finished), str(pending), duration(remaining_seconds(runs)))
    return table


def summary(planned: Sequence[Planned]) -> str:
    """One line: how many runs, how many are finished, sizes, rough time of the rest."""
    config = planned[0].config
    params = [one.size.critic_params for one in planned]
    finished = sum(one.state.name == "done" for one in planned)
    alive = sum(one.state.alive for one in planned)
    stale = sum(one.stale for one in planned)
    pending = sum(one.pending for one in planned)
    replay = readable_bytes(max(one.size.replay_bytes for one in planned))
    parts = [f"{finished} finished already"]
    if stale:
        parts[0] += f" ({stale} by other code: rerun=stale runs them again in {elsewhere(config).paths.runs})"
    if alive:
        parts.append(f"{alive} running or queued")
    parts.append(f"{pending} to run")
    return (
        f"{len(planned)} runs: {', '.join(parts)}; critic parameters {min(params):,} to {max(params):,}; "
        f"replay up to {replay} a run; {time_needed(planned)}"
    )


def time_needed(planned: Sequence[Planned]) -> str:
    """Rough time of what is still to run, where it will run."""
    config = planned[0].config
    seconds = remaining_seconds(planned)
    sources = sorted({one.estimate.source for one in planned if one.pending})
    source = f" ({' and '.join(sources)})" if sources else ""
    if use_slurm(config):
        hours = sum(one.seconds_left / one.config.launcher.runs_per_gpu for one in planned if one.pending) / 3600
        return f"roughly {hours:,.{1 if hours >= 1 else 3}f} GPU-hours{source}"
    parallel = local_parallel(config, len(planned))
    return f"roughly {duration(seconds / parallel)} on this machine's CPU{source}"


def remaining_seconds(planned: Sequence[Planned]) -> float:
    """Rough seconds of what is still to run, one after another."""
    return sum(one.seconds_left for one in planned if one.pending)
