"""The plan as tables on the terminal."""

from __future__ import annotations

from rich.table import Table

from agents.sizes import readable_bytes
from sweeps.gpus import machine_gpus
from sweeps.plan.place import local_parallel
from sweeps.plan.plan import Plan, Planned, by_launcher, folder_of_this_code, remaining_seconds
from sweeps.status import console, duration

MAX_ROWS = 40


def print_plan(plan: Plan) -> None:
    """Print the runs, a line for each size and part, and the totals, on standard output."""
    screen = console()
    screen.print(run_table(plan))
    if len(plan.runs) > MAX_ROWS:
        screen.print(f"... and {len(plan.runs) - MAX_ROWS} more")
    screen.print(size_table(plan))
    if plan.has_parts:
        screen.print(part_table(plan))
    screen.print(summary(plan), highlight=False)


def run_table(plan: Plan) -> Table:
    """Return the table with a line for each run, up to a limit: tasks, sizes, budget and state."""
    table = Table(title=f"{len(plan.runs)} run{'s' if len(plan.runs) != 1 else ''}")
    if plan.has_parts:
        table.add_column("part", no_wrap=True)
    for column in ("run", "tasks", "critic params", "actor params", "learner", "replay", "steps", "state"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right", no_wrap=True)
    for one in plan.runs[:MAX_ROWS]:
        state = one.state.name
        if one.stale:
            state += " (by other code)"
        elif state not in ("done", "new"):
            state += f" at {one.state.env_steps:,}"
        table.add_row(
            *([one.part] if plan.has_parts else []),
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


def size_table(plan: Plan) -> Table:
    """Return the table of what one run of each size needs."""
    table = Table(title="by size: needs of one run")
    for column in ("critic width", "critic params", "runs", "GPU memory", "replay (host)", "time", "estimate"):
        table.add_column(column, justify="right", no_wrap=True)
    by_size: dict[tuple, list[Planned]] = {}
    for one in plan.runs:
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


def part_table(plan: Plan) -> Table:
    """Return the table of how many runs each part has, and how many are still to run."""
    table = Table(title="by part")
    table.add_column("part")
    for column in ("runs", "finished", "to run", "time, one after another"):
        table.add_column(column, justify="right", no_wrap=True)
    for part, runs in plan.parts.items():
        finished, pending = sum(one.state.name == "done" for one in runs), sum(one.pending for one in runs)
        table.add_row(part, str(len(runs)), str(finished), str(pending), duration(remaining_seconds(runs)))
    return table


def summary(plan: Plan) -> str:
    """Return a line that says how many runs there are, how many are finished, their sizes and a rough time."""
    params = [one.size.critic_params for one in plan.runs]
    finished = sum(one.state.name == "done" for one in plan.runs)
    alive = sum(one.state.alive for one in plan.runs)
    stale = sum(one.stale for one in plan.runs)
    pending = sum(one.pending for one in plan.runs)
    replay = readable_bytes(max(one.size.replay_bytes for one in plan.runs))
    parts = [f"{finished} finished already"]
    if stale:
        parts[0] += f" ({stale} by other code: rerun=stale runs them again in {folder_of_this_code(plan.common.runs)})"
    if alive:
        parts.append(f"{alive} running or queued")
    parts.append(f"{pending} to run")
    return (
        f"{len(plan.runs)} runs: {', '.join(parts)}; critic parameters {min(params):,} to {max(params):,}; "
        f"replay up to {replay} a run; {time_needed(plan)}"
    )


def time_needed(plan: Plan) -> str:
    """Return a rough estimate, in words, of the time that the pending runs take where they will run."""
    sources = sorted({one.estimate.source for one in plan.pending})
    source = f" ({' and '.join(sources)})" if sources else ""
    if plan.common.on_slurm:
        hours = sum(one.seconds_left / one.config.launcher.runs_per_gpu for one in plan.pending) / 3600
        return f"roughly {hours:,.{1 if hours >= 1 else 3}f} GPU-hours{source}"
    groups = by_launcher(plan.pending)
    seconds = sum(remaining_seconds(runs) / local_parallel(launcher, len(runs)) for launcher, runs in groups)
    return f"roughly {duration(seconds)} on this machine's {'GPUs' if machine_gpus() else 'CPU'}{source}"
