"""What a command would run: sizes, memory, a rough time, and what is finished already. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agents.sizes import RunSize, available_bytes, readable_bytes, run_size
from agents.train import check_backend
from conf import record
from conf.compose import Composed
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from sweeps.status import RunState, inspect

# The time estimate: measured on a 2-core CPU at widths 64 and 128, batches 128 and 256, within 20 %.
UPDATE_OVERHEAD_S = 2e-3
FLOPS_PER_CORE = 20e9
ENV_STEP_S = 5e-4  # a light task; a dog takes three times as long
# Products per transition in one update, as multiples of a forward pass.
CRITIC_PASSES = 6  # target 1, critic forward and backward 3, through it to the action 2 (discrete: next action 1)
ACTOR_PASSES = 4  # next action 1, forward and backward 3

MAX_ROWS = 40


@dataclass(frozen=True)
class Planned:
    """One run of a plan."""

    config: RunConfig
    varied: dict[str, str]
    run_dir: Path
    size: RunSize
    state: RunState

    @property
    def pending(self) -> bool:
        return self.state.name not in ("done", "running")


def plan(members: Sequence[Composed]) -> list[Planned]:
    """Sizes and present state of every run; two members with one identity are one run.

    Raises:
      ConfigError: a run asks for EnvPool where it is missing or right for none of the tasks.
    """
    planned: dict[Path, Planned] = {}
    for member in members:
        config = member.config
        check_backend(config)
        specs = registry.specs(config.benchmark.task_ids, config.env)
        run_dir = record.run_dir(config)
        size = run_size(config, specs)
        planned[run_dir] = Planned(config, member.varied, run_dir, size, inspect(run_dir, config.train.env_steps))
    return list(planned.values())


def check_memory(planned: Sequence[Planned], parallel: int) -> None:
    """Refuses runs whose replay cannot be held here at the same time.

    Raises:
      ConfigError: names both sizes.
    """
    largest = sorted((one.size.replay_bytes for one in planned if one.pending), reverse=True)[:parallel]
    available = available_bytes()
    needed = sum(largest)
    if needed > available:
        raise ConfigError(
            f"launcher.max_parallel={parallel}: replay of {len(largest)} runs at once needs {readable_bytes(needed)}, "
            f"{readable_bytes(available)} are available"
        )


def estimated_seconds(config: RunConfig, size: RunSize, cores: int) -> float:
    """Rough time of a whole run on a CPU: updates' overhead and products, and environment steps."""
    products = CRITIC_PASSES * size.critic_products + ACTOR_PASSES * size.actor_params
    update_s = UPDATE_OVERHEAD_S + 2 * products * config.batch_size / (FLOPS_PER_CORE * cores)
    step_s = len(config.benchmark.task_ids) * ENV_STEP_S / cores + config.agent.updates_per_step * update_s
    return config.train.env_steps * step_s


def remaining_seconds(planned: Sequence[Planned], parallel: int = 1) -> float:
    """Rough time of what is still to run, on this machine's CPU, `parallel` runs sharing it."""
    cores = max(1, len(os.sched_getaffinity(0)) // parallel)
    total = 0.0
    for one in planned:
        if one.pending:
            left = 1 - min(1.0, one.state.env_steps / one.config.train.env_steps)
            total += left * estimated_seconds(one.config, one.size, cores)
    return total / parallel


def print_plan(planned: Sequence[Planned]) -> None:
    """A table of the runs on standard output, and the totals."""
    table = Table(title=f"{len(planned)} run{'s' if len(planned) != 1 else ''}")
    for column in ("run", "tasks", "critic params", "actor params", "learner", "replay", "steps", "state"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right", no_wrap=True)
    for one in planned[:MAX_ROWS]:
        state = one.state.name
        if state not in ("done", "new"):
            state += f" at {one.state.env_steps:,}"
        table.add_row(
            f"{one.config.benchmark.name}/{one.run_dir.name}",
            str(len(one.config.benchmark.task_ids)),
            f"{one.size.critic_params:,}",
            f"{one.size.actor_params:,}",
            readable_bytes(one.size.learner_bytes),
            readable_bytes(one.size.replay_bytes),
            f"{one.config.train.env_steps:,}",
            state,
        )
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    if len(planned) > MAX_ROWS:
        console.print(f"... and {len(planned) - MAX_ROWS} more")
    console.print(summary(planned))


def summary(planned: Sequence[Planned], parallel: int = 1) -> str:
    """One line: how many runs, how many are finished, sizes, rough time of the rest."""
    params = [one.size.critic_params for one in planned]
    finished = sum(one.state.name == "done" for one in planned)
    pending = sum(one.pending for one in planned)
    replay = readable_bytes(max(one.size.replay_bytes for one in planned))
    return (
        f"{len(planned)} runs: {finished} finished already, {pending} to run; "
        f"critic parameters {min(params):,} to {max(params):,}; replay up to {replay} a run; "
        f"roughly {duration(remaining_seconds(planned, parallel))} on this machine's CPU"
    )


def duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
