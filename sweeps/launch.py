"""Launches the runs of one command: in a local pool, in this process, or as a SLURM array that it does not wait for."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from agents.training.execute import check_place, execute_together
from conf.composed import Composed
from conf.schema import LauncherConfig
from records.layout import ExitCode
from records.lock import LockedError, lock
from records.run_record import write_config
from records.sweep import Sweep, launch_lock
from sweeps.after import wait_for_other
from sweeps.budget import refuse_spent
from sweeps.code import Code, kept, store, submitted_code, variables
from sweeps.ending import end, end_if_over
from sweeps.gpus import machine_gpus
from sweeps.opening import manifest_path, open_sweep, parent_runs
from sweeps.outcomes import outcome, print_outcomes
from sweeps.plan.fit import check_fit
from sweeps.plan.place import local_parallel
from sweeps.plan.plan import Plan, Planned, by_launcher, plan, teams_of
from sweeps.plan.sharing import warn_of_sharing
from sweeps.plan.tables import print_plan, summary
from sweeps.pool import Pool, RetryPolicy, on_signals
from sweeps.progress import SweepProgress
from sweeps.slurm import cluster
from sweeps.slurm.script import arrays, group, script
from sweeps.stages import send, stages
from sweeps.status import WATCH_S, watch

POLL_S = 0.5


def launch(members: Sequence[Composed], watch_every_s: float = WATCH_S) -> int:
    """Run, or submit, all members that are neither finished nor on their way; say how each ended, or how to watch them.

    Args:
      members: the runs.
      watch_every_s: seconds between two looks at jobs that are waited for.
    Returns:
      0 if all are done or submitted, 75 if some are interrupted (resumable), 1 if any failed.
    Raises:
      ConfigError: before anything is started.
    """
    planned = plan(members)
    for one in planned.runs:
        check_place(one.config, one.run_dir)
    common = planned.common
    path = manifest_path(planned)
    if common.dry_run:
        dry_run(planned, path)
        return ExitCode.DONE
    check_fit(planned)
    code = code_for(planned)
    if common.on_slurm:
        for launcher, runs in by_launcher(planned.pending):
            cluster.check(launcher, job_script(launcher, runs, path, kept(code, launcher, on_slurm=True)))
        wait_for_other(common.after, path, on_slurm=True)
    with launch_lock(path):
        planned = planned.refreshed()  # the same command, given twice at once, may have submitted them
        print(summary(planned), file=sys.stderr, flush=True)
        warn_of_sharing(planned)
        pending = planned.pending
        sweep = open_sweep(planned, path, parent_runs(planned, path) if pending else {})
        for one in pending:
            one.run_dir.mkdir(parents=True, exist_ok=True)
            write_config(one.run_dir, one.config)
        if code is not None and pending:
            store(code)
        if common.on_slurm and pending:
            submit(planned, sweep, code)
    alive = any(one.state.alive for one in planned.runs)
    if common.on_slurm and common.wait and (pending or alive):
        return wait_until_over(planned, sweep, watch_every_s)
    if not pending:
        status = print_outcomes(planned, {})
        end_if_over(sweep, ask_slurm=common.on_slurm)
        return status
    if common.on_slurm:
        return ExitCode.DONE
    try:
        with lock(sweep.folder):
            wait_for_other(common.after, path, on_slurm=False)
            return run_here(planned, sweep, code)
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED


def code_for(plan: Plan) -> Code | None:
    """Return the code as it is now; None where all pending runs import it as it is when they start."""
    launchers = (launcher for launcher, _ in by_launcher(plan.pending))
    return submitted_code(launchers, plan.common.on_slurm, plan.common.runs)


def job_script(launcher: LauncherConfig, runs: Sequence[Planned], path: Path, code: Code | None) -> str:
    """Return the script that would be submitted next for runs with one launcher.

    Args:
      launcher: the runs' launcher.
      runs: the runs.
      path: the sweep's record.
      code: the code that the jobs import; None: the code as it is when a job starts.
    """
    return script(dirs_of(runs), launcher, path.with_suffix(""), path.stem, cluster.max_array_size(), code)


def dry_run(plan: Plan, path: Path) -> None:
    """Print the plan and what would be started; write nothing."""
    print_plan(plan)
    if plan.common.after is not None:
        print(f"begins when {plan.common.after} has ended")
    if not plan.pending:
        print("nothing to run")
    code = code_for(plan)
    for launcher, runs in by_launcher(plan.pending):
        if plan.common.on_slurm:
            print_script(launcher, runs, path, kept(code, launcher, on_slurm=True))
            continue
        processes = dirs_of(runs)
        print(f"\n{local_parallel(launcher, len(processes))} at once on this machine:")
        for team in processes:
            print(f"python -m agents.run {' '.join(f'--run-dir {run_dir}' for run_dir in team)}")
    check_fit(plan)


def print_script(launcher: LauncherConfig, runs: Sequence[Planned], path: Path, code: Code | None) -> None:
    """Print what sbatch would be given for runs with one launcher.

    Args:
      launcher: the runs' launcher.
      runs: the runs.
      path: the sweep's record.
      code: the code that the jobs import; None: the code as it is when a job starts.
    """
    jobs = group(dirs_of(runs), launcher)
    count = len(arrays(jobs, cluster.max_array_size()))
    several = f" (the first of {count} arrays)" if count > 1 else ""
    print(f"\nsbatch would be given, for {len(runs)} runs in {len(jobs)} jobs{several}:\n")
    print(job_script(launcher, runs, path, code))
    for index, run_dirs in enumerate(jobs):
        print(f"job {index}: {' '.join(run_dir.name for run_dir in run_dirs)}")


def submit(plan: Plan, sweep: Sweep, code: Code | None) -> None:
    """Submit the pending runs, arrays of their own for each stage and launcher, and say how to watch them."""
    ids = send({one.run_dir: one.config for one in plan.pending}, sweep.folder, sweep.id, code)
    print(f"sweep {sweep.id}: submitted {len(plan.pending)} runs as {' '.join(f'job array {one}' for one in ids)}")
    print_hints(sweep)


def print_hints(sweep: Sweep) -> None:
    """Say how to watch, continue and cancel what was submitted."""
    folder = sweep.path.parent.parent
    where = "" if folder == Path.cwd() / "runs" else f" --runs {shlex.quote(str(folder))}"
    print(f"watch:    python -m sweeps.status {sweep.id} --watch{where}")
    print(f"continue: python -m sweeps.status {sweep.id} --relaunch{where}")
    print(f"cancel:   python -m sweeps.cancel {sweep.id}{where}", flush=True)


def wait_until_over(plan: Plan, sweep: Sweep, every_s: float) -> int:
    """Wait until all runs of the sweep have ended; return the command's exit status. Ctrl-C leaves the jobs alone."""
    try:
        states = watch(sweep, until_over=True, every_s=every_s)
    except KeyboardInterrupt:
        print("the jobs go on", file=sys.stderr)
        return ExitCode.INTERRUPTED
    by_run = {member.run_dir: state for member, state in states.items()}
    failed = ("killed", "new")  # a job that has ended without either word
    outcomes = {
        run_dir: dataclasses.replace(state, name="failed", reason=state.reason or "its job ended before it began")
        if state.name in failed
        else state
        for run_dir, state in by_run.items()
    }
    status = print_outcomes(plan, outcomes)
    end_if_over(sweep, ask_slurm=True)
    return status


def run_here(plan: Plan, sweep: Sweep, code: Code | None) -> int:
    """Execute the pending runs on this machine; close the sweep unless some run is left to be continued."""
    ended, _ = carry_out(plan.pending, plan.common.inline, code)
    status = print_outcomes(plan, {one.run_dir: outcome(one, ended) for one in plan.runs})
    if status != ExitCode.INTERRUPTED:
        end(sweep, failed=status == ExitCode.FAILED)
    return status


def dirs_of(runs: Sequence[Planned]) -> list[tuple[Path, ...]]:
    """Return the directories of the runs that each process executes."""
    return [tuple(one.run_dir for one in team) for team in teams_of(runs)]


def carry_out(pending: Sequence[Planned], inline: bool, code: Code | None = None) -> tuple[dict[Path, int], bool]:
    """Execute runs on this machine, sources before what begins with them, those of one launcher after another's.

    Args:
      pending: the runs.
      inline: whether this process executes them.
      code: the stored code that runs import whose launcher keeps the code; None: all import it as it is.
    Returns:
      the exit status of each run that ended, and whether the command was told to stop.
    """
    ended: dict[Path, int] = {}
    for stage in stages({one.run_dir: one.config for one in pending}):
        for launcher, runs in by_launcher(one for one in pending if one.run_dir in stage):
            own = kept(code, launcher, on_slurm=False)
            statuses, stopped = run_inline(runs) if inline else run_pool(runs, launcher, own)
            ended |= statuses
            if stopped:
                return ended, True
    return ended, False


def run_inline(runs: Sequence[Planned]) -> tuple[dict[Path, int], bool]:
    """Execute the runs in this process, one after another but for seeds together, until one is interrupted.

    Returns:
      the exit status of each run that ended, and whether the command was told to stop.
    """
    ended: dict[Path, int] = {}
    for team in teams_of(runs):
        refused = [one for one in team if refuse_spent(one.run_dir, one.config)]
        ended |= {one.run_dir: int(ExitCode.INTERRUPTED) for one in refused}
        ended |= execute_together([one.config for one in team if one not in refused])
        if ExitCode.INTERRUPTED in [ended[one.run_dir] for one in team]:
            return ended, True
    return ended, False


def run_pool(
    runs: Sequence[Planned], launcher: LauncherConfig, code: Code | None = None, poll_s: float = POLL_S
) -> tuple[dict[Path, int], bool]:
    """Execute the runs in processes of their own.

    After Ctrl-C, SIGTERM or an error of this command, every run writes a checkpoint and ends. A second Ctrl-C kills
    the runs.

    Args:
      runs: the runs.
      launcher: how many of them are executed at once, and how often they are tried again.
      code: the stored code that the runs import; None: the code as it is when a run starts.
      poll_s: seconds between two looks at the runs.
    Returns:
      the exit status of each run that ended, and whether the command was told to stop.
    """
    retry_policy = RetryPolicy(launcher.max_crashes, launcher.backoff_s, time.time())
    processes = dirs_of(runs)
    parallel = local_parallel(launcher, len(processes))
    # Sessions of their own: a Ctrl-C reaches runs through `stop`, once.
    pool = Pool(
        processes,
        parallel,
        retry_policy,
        new_session=True,
        gpus=machine_gpus(),
        variables=variables(code.folder, code.git) if code else None,
    )

    def interrupt() -> None:
        if pool.stopping:
            pool.kill()
        else:
            print("\nruns checkpoint, and stop; Ctrl-C again kills them", file=sys.stderr, flush=True)
            pool.stop()

    with (
        on_signals(interrupt, signal.SIGINT),
        on_signals(pool.stop, signal.SIGTERM),
        SweepProgress(runs) as bar,
    ):
        try:
            while pool.poll():
                bar.show()
                time.sleep(poll_s)
            bar.show()
        except BaseException:
            pool.stop()
            pool.drain()
            raise
    return pool.ended, pool.stopping
