"""The rounds of a deciding sweep: what is due next, and its submission, by a command or by the last job of a round."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from conf.typed import ConfigError
from records.layout import ExitCode
from records.sweep import Member, Sweep, change_sweep, launch_lock, read_sweep, sweep_lock
from sweeps.decide.standing import Standing, extended, leads, progress, recorded, standing, table_rows
from sweeps.ending import end
from sweeps.plan.plan import queue_of
from sweeps.slurm import cluster
from sweeps.status import console, inspect
from sweeps.submit import submit_runs


def advance(
    sweep: Sweep, queue: cluster.Queue | None, given_up: Callable[[Path], bool]
) -> tuple[Sweep, Standing, list[Member]]:
    """Extend a deciding sweep as far as the scores there are ask for; the caller holds the sweep's `launch_lock`.

    Args:
      sweep: the sweep.
      queue: SLURM's jobs; None where SLURM is not asked, and a job is taken to live.
      given_up: whether a run that has failed is not tried again.
    Returns:
      the sweep, where it stands, and the runs that are to be started.
    """
    while True:
        states = {one: inspect(one.run_dir, one.env_steps, queue) for one in sweep.members}
        failed = {one.run_dir for one, state in states.items() if state.name == "failed" and given_up(one.run_dir)}
        now = standing(sweep, failed)
        longer = extended(sweep, now)
        if longer is sweep:
            break
        sweep = longer  # a further run may be finished already
    started = {one for one, state in states.items() if state.name == "done" or state.alive}
    return sweep, now, [one for one in now.asked if one not in started and one.run_dir not in failed]


def submit_round(path: Path, in_job: bool, retry: bool) -> Standing:
    """Submit to SLURM the runs of a deciding sweep that are due, and say how many.

    Args:
      path: the sweep's record.
      in_job: whether this is the end of one of the sweep's jobs, which does not ask SLURM about the others.
      retry: whether runs that have failed are submitted again.
    Raises:
      ConfigError: SLURM does not answer or refuses.
    """
    with launch_lock(path):
        sweep = read_sweep(path)
        queue = None if in_job else queue_of(path.parents[1])
        sweep, now, due = advance(sweep, queue, given_up=lambda _: not retry)
        if due:
            arrays = submit_runs(sweep, [one.run_dir for one in due])
            print(f"sweep {sweep.id}: submitted {len(due)} runs as {' '.join(f'job array {one}' for one in arrays)}")
    return now


def after_job(path: Path) -> None:
    """Go on with a deciding sweep when one of its jobs ends: with the next round, or with the final verdict.

    Where the job's node cannot submit, the job's log says how the sweep goes on.
    """
    try:
        now = submit_round(path, in_job=True, retry=False)
    except ConfigError as error:
        print(f"the next round is not submitted ({error}); the sweep's command, given again, does it", file=sys.stderr)
        return
    if now.verdict.over:
        save(read_sweep(path), now)


def save(sweep: Sweep, now: Standing) -> None:
    """Write the final verdict into the sweep's record."""
    with sweep_lock(sweep.path):
        change_sweep(sweep.path, verdict=recorded(now))


def conclude(sweep: Sweep, now: Standing) -> int:
    """Print the verdict so far, save one that is final, and return the command's exit status."""
    shown = Table(title=f"verdict of {sweep.id}" if now.verdict.over else f"{sweep.id}, undecided so far")
    for column in ("comparison", "seeds", "difference", "verdict"):
        shown.add_column(column, justify="right" if column in ("seeds", "difference") else "left", overflow="fold")
    for row in table_rows(now):
        shown.add_row(*map(escape, row))
    console().print(shown)
    print(leads(now))
    print(progress(now))
    if not now.verdict.over:
        return ExitCode.INTERRUPTED
    save(sweep, now)
    end(sweep, failed=now.held_up)
    return ExitCode.FAILED if now.held_up else ExitCode.DONE
