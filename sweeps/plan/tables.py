"""The plan as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from agents.sizes import RunSize, readable_bytes
from conf.schema import RunConfig
from sweeps.budget import runs_on_gpu
from sweeps.code import Code, not_in, submitted_code
from sweeps.gpus import machine_gpus
from sweeps.plan.forecast import forecast_hint
from sweeps.plan.place import SSH_SLURM, local_parallel
from sweeps.plan.plan import Plan, Planned, by_launcher, folder_of_this_code, remaining_seconds, teams_of
from sweeps.plan.record import record_space
from sweeps.plan.sharing import said, shares, warn_of_sharing
from sweeps.remote.place import place_of
from sweeps.status import console, duration
from sweeps.usage import Space

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
    left = sum(map(left_by, plan.runs), Space())
    screen.print(
        f"on disk once all have run: roughly {left.files:,} files, {readable_bytes(left.bytes)}", highlight=False
    )
    for line in together_lines(plan):
        screen.print(line, highlight=False, markup=False)
    launchers = [launcher for launcher, _ in by_launcher(plan.pending)]
    code = submitted_code(launchers, plan.common.on_slurm, plan.common.runs)
    for line in [*code_lines(code), *sent_lines([one.config for one in plan.runs], code)]:
        screen.print(line, highlight=False, markup=False)
    if (hint := forecast_hint(plan)) is not None:
        screen.print(hint, highlight=False, markup=False)
    for share in shares(plan):
        print(said(share))
    warn_of_sharing(plan)


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
            replay_needs(one.size),
            f"{one.config.train.env_steps:,}",
            state,
        )
    return table


def size_table(plan: Plan) -> Table:
    """Return the table of what one run of each size needs."""
    table = Table(title="by size: needs of one run")
    for column in ("critic width", "critic params", "runs", "GPU memory", "replay", "time", "estimate", "leaves"):
        table.add_column(column, justify="right", no_wrap=True)
    by_size: dict[tuple, list[Planned]] = {}
    for one in plan.runs:
        by_size.setdefault((one.config.model.width, one.size, one.estimate, left_by(one)), []).append(one)
    for (width, size, needed, left), runs in list(by_size.items())[:MAX_ROWS]:
        table.add_row(
            str(width),
            f"{size.critic_params:,}",
            str(len(runs)),
            readable_bytes(size.device_bytes),
            replay_needs(size),
            duration(needed.seconds),
            needed.source,
            f"{left.files:,} files, {readable_bytes(left.bytes)}",
        )
    return table


def together_lines(plan: Plan) -> list[str]:
    """Return a line for each launcher that has seeds trained together: in how many processes."""
    lines = []
    for launcher, runs in by_launcher(plan.pending):
        seats = launcher.seeds_together
        if seats > 1:
            found = teams_of(runs)
            short = sum(len(team) < seats for team in found)
            empty = f", {short} of them with places left empty" if short else ""
            processes = f"{len(found)} process{'es' if len(found) > 1 else ''}"
            lines.append(f"seeds together: {len(runs)} runs in {processes} of {seats} each{empty}")
    return lines


def left_by(one: Planned) -> Space:
    """Return about how many files and bytes a run leaves."""
    return record_space(one.config, one.size, one.estimate.seconds)


def part_table(plan: Plan) -> Table:
    """Return the table of how many runs each part has, how many are still to run, and what these cost."""
    table = Table(title="by part")
    table.add_column("part")
    cost = "GPU-hours" if plan.common.on_slurm else "time, one after another"
    for column in ("runs", "finished", "to run", cost):
        table.add_column(column, justify="right", no_wrap=True)
    for part, runs in plan.parts.items():
        finished, pending = sum(one.state.name == "done" for one in runs), sum(one.pending for one in runs)
        needed = hours_in_words(gpu_hours(runs)) if plan.common.on_slurm else duration(remaining_seconds(runs))
        table.add_row(part, str(len(runs)), str(finished), str(pending), needed)
    return table


def summary(plan: Plan) -> str:
    """Return a line that says how many runs there are, how many are finished, their sizes and a rough time."""
    params = [one.size.critic_params for one in plan.runs]
    finished = sum(one.state.name == "done" for one in plan.runs)
    alive = sum(one.state.alive for one in plan.runs)
    stale = sum(one.stale for one in plan.runs)
    pending = sum(one.pending for one in plan.runs)
    largest = max((one.size for one in plan.runs), key=lambda size: size.replay_bytes + size.replay_file_bytes)
    parts = [f"{finished} finished already"]
    if stale:
        parts[0] += f" ({stale} by other code: rerun=stale runs them again in {folder_of_this_code(plan.common.runs)})"
    if alive:
        parts.append(f"{alive} running or queued")
    parts.append(f"{pending} to run")
    return (
        f"{len(plan.runs)} runs: {', '.join(parts)}; critic parameters {min(params):,} to {max(params):,}; "
        f"replay up to {replay_needs(largest)} a run; {time_needed(plan)}"
    )


def replay_needs(size: RunSize) -> str:
    """Return what replay takes, in words: memory, and room in the run's folder."""
    memory = readable_bytes(size.replay_bytes)
    return f"{memory} + {readable_bytes(size.replay_file_bytes)} on disk" if size.replay_file_bytes else memory


def code_lines(code: Code | None) -> list[str]:
    """Return lines about the snapshot that runs import, and about what the snapshot lacks; none for live code."""
    if code is None:
        return []
    packed, place = code.packed, "is stored in" if code.folder.exists() else "would be stored in"
    holds = f"{len(packed.files)} files, {readable_bytes(packed.size)}"
    lines = [f"code: snapshot {packed.id} ({holds}) {place} {code.folder}"]
    return [*lines, *(f"not in the snapshot: {line}" for line in not_in(packed))]


def sent_lines(configs: Sequence[RunConfig], code: Code | None) -> list[str]:
    """Return a line about the machine that the snapshot of runs would be sent to; none where it stays here.

    Raises:
      ConfigError: the runs name no such machine, or need what is not sent.
    """
    if configs[0].launcher.name != SSH_SLURM or code is None:
        return []
    return [place_of(configs).receives(code.packed.id)]


def gpu_hours(runs: Iterable[Planned]) -> float:
    """Return a rough estimate of the hours for which the pending runs occupy a GPU."""
    return sum(one.seconds_left / runs_on_gpu(one.config.launcher) for one in runs if one.pending) / 3600


def hours_in_words(hours: float) -> str:
    """Return hours with as many digits as say something."""
    return f"{hours:,.{1 if hours >= 1 else 3}f}"


def time_needed(plan: Plan) -> str:
    """Return a rough estimate, in words, of the time that the pending runs take where they will run."""
    sources = sorted({one.estimate.source for one in plan.pending})
    source = f" ({' and '.join(sources)})" if sources else ""
    if plan.common.on_slurm:
        return f"roughly {hours_in_words(gpu_hours(plan.runs))} GPU-hours{source}"
    groups = by_launcher(plan.pending)
    seconds = sum(remaining_seconds(runs) / local_parallel(launcher, len(teams_of(runs))) for launcher, runs in groups)
    return f"roughly {duration(seconds)} on this machine's {'GPUs' if machine_gpus() else 'CPU'}{source}"
