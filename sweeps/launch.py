"""Launches the runs of one command: in a local pool, in this process, or as a SLURM array that it does not wait for."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.training.execute import check_place, execute
from conf import identity
from conf.compose import Composed
from conf.schema import RunConfig
from records import layout
from records.layout import ExitCode
from records.lock import LockedError, lock
from records.run_dir import RunDir, write_config
from records.sweep import Member, Sweep, add_parent, join_sweep, known_parents, launch_lock, read_sweep, write_sweep
from sweeps.plan import (
    Planned,
    by_launcher,
    check_fit,
    local_parallel,
    plan,
    print_plan,
    refreshed,
    summary,
    use_slurm,
)
from sweeps.pool import Pool, RetryPolicy, on_signals
from sweeps.slurm import cluster
from sweeps.slurm.script import arrays, group, script
from sweeps.status import WATCH_S, RunState, console, inspect, watch

POLL_S = 0.5
LINE_EVERY_S = 30.0


def launch(members: Sequence[Composed], watch_every_s: float = WATCH_S) -> int:
    """Run, or submit, all members that are neither finished nor on their way, and say how each ended or how to watch.

    Args:
      members: the runs.
      watch_every_s: seconds between two looks at jobs that are waited for.
    Returns:
      0 if all are done or submitted, 75 if some are interrupted (resumable), 1 if any failed.
    Raises:
      ConfigError: before anything is started.
    """
    planned = plan(members)
    for one in planned:
        check_place(one.config, one.run_dir)
    config = planned[0].config
    on_slurm = use_slurm(config)
    pending = [one for one in planned if one.pending]
    path = manifest_path(members[0].config, planned)
    if config.launcher.dry_run:
        dry_run(planned, pending, path)
        return ExitCode.DONE
    check_fit(planned)
    if on_slurm and pending:
        for runs in by_launcher(pending):
            cluster.check(runs[0].config.launcher, job_script(runs, path))
    with launch_lock(path):
        planned = refreshed(planned)  # the same command, given twice at once, may have submitted them
        print(summary(planned), file=sys.stderr, flush=True)
        pending = [one for one in planned if one.pending]
        sweep = open_sweep(planned, path, parent_runs(planned, path) if pending else {})
        for one in pending:
            one.run_dir.mkdir(parents=True, exist_ok=True)
            write_config(one.run_dir, one.config)
        if on_slurm and pending:
            submit(pending, sweep)
    alive = any(one.state.alive for one in planned)
    if on_slurm and config.wait and (pending or alive):
        return wait_until_over(planned, sweep, watch_every_s)
    if not pending:
        return print_outcomes(planned, {})
    if on_slurm:
        return ExitCode.DONE
    try:
        with lock(sweep.folder):
            return run_here(planned, pending, sweep)
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED


def manifest_path(config: RunConfig, planned: Sequence[Planned]) -> Path:
    """Where the sweep's manifest is. Its name follows from the members, so the same command is the same sweep."""
    identities = sorted(identity.hash_of(one.config) for one in planned)
    digest = hashlib.sha256(" ".join(identities).encode()).hexdigest()[:8]
    benchmarks = {one.config.benchmark.name for one in planned}
    name = f"{config.sweep.name or 'multirun'}-{digest}.json"
    if len(benchmarks) == 1:
        name = f"{benchmarks.pop()}-{name}"
    return Path(config.paths.runs) / layout.SWEEPS / name


def open_sweep(planned: Sequence[Planned], path: Path, parents: Mapping[str, str]) -> Sweep:
    """Write the sweep's record.

    Args:
      planned: the sweep's runs.
      path: the record's file.
      parents: part -> the MLflow run that the part's runs are children of.
    """
    config = planned[0].config
    uri, known = config.tracking.uri, known_parents(path)
    for part, parent in parents.items():
        known = add_parent(known, uri or "", part, parent)
    members = [Member(one.run_dir, one.config.train.env_steps, one.varied, one.part) for one in planned]
    write_sweep(path, members, known, command=shlex.join(sys.argv), time=time.time())
    path.with_suffix("").mkdir(exist_ok=True)
    for one in planned:
        join_sweep(one.run_dir, path.stem)
    if config.tracking.on and uri is not None:
        tag_runs([one.run_dir for one in planned if not one.pending], uri)
    return read_sweep(path)


def tag_runs(run_dirs: Sequence[Path], uri: str) -> None:
    """Tell MLflow that the sweep contains runs which it has already; a warning where it is away."""
    from tracking import sweep_runs

    try:
        sweep_runs.tag_runs(run_dirs, uri)
    except Exception as error:
        print(
            f"warning: finished runs are not tagged at {uri} (python -m sweeps.sync does it): {error}", file=sys.stderr
        )


def parent_runs(planned: Sequence[Planned], path: Path) -> dict[str, str]:
    """The MLflow run of each part of the sweep, by part; those that could not be opened are left out."""
    first = {one.part: one.config for one in reversed(planned)}
    parents = {part: parent_run(first[part], path, part) for part in dict.fromkeys(one.part for one in planned)}
    return {part: parent for part, parent in parents.items() if parent is not None}


def parent_run(config: RunConfig, path: Path, part: str = "") -> str | None:
    """The MLflow run that a part's runs are children of, opened once; None, with a warning, where MLflow is away."""
    if not config.tracking.on:
        return None
    known = known_parents(path).get(config.tracking.uri or "", {})
    if part in known:
        return known[part]
    from tracking import sweep_runs

    assert config.tracking.uri is not None
    try:
        parent, page = sweep_runs.open_parent(config.tracking.uri, config.benchmark.name, path.stem, part)
        if page is not None:
            print(f"mlflow: {page}", file=sys.stderr)
        return parent
    except Exception as error:
        print(f"warning: no MLflow parent run at {config.tracking.uri}: {error}", file=sys.stderr)
        return None


def job_script(pending: Sequence[Planned], path: Path) -> str:
    """What would be submitted next."""
    run_dirs = [one.run_dir for one in pending]
    launcher, length = pending[0].config.launcher, cluster.max_array_size()
    return script(run_dirs, launcher, path.with_suffix(""), path.stem, length)


def dry_run(planned: Sequence[Planned], pending: Sequence[Planned], path: Path) -> None:
    """Print the plan and what would be started; write nothing."""
    print_plan(planned)
    config = planned[0].config
    if not pending:
        print("nothing to run")
    elif use_slurm(config):
        for runs in by_launcher(pending):
            print_script(runs, path)
    else:
        print(f"\n{local_parallel(config, len(pending))} at once on this machine:")
        for one in pending:
            print(f"python -m agents.run --run-dir {one.run_dir}")
    check_fit(planned)


def print_script(pending: Sequence[Planned], path: Path) -> None:
    """Print what sbatch would be given for runs of one launcher."""
    jobs = group([one.run_dir for one in pending], pending[0].config.launcher)
    count = len(arrays(jobs, cluster.max_array_size()))
    several = f" (the first of {count} arrays)" if count > 1 else ""
    print(f"\nsbatch would be given, for {len(pending)} runs in {len(jobs)} jobs{several}:\n")
    print(job_script(pending, path))
    for index, runs in enumerate(jobs):
        print(f"job {index}: {' '.join(run_dir.name for run_dir in runs)}")


def submit(pending: Sequence[Planned], sweep: Sweep) -> None:
    """Submit the pending runs, arrays of their own for each launcher, and say how to watch them."""
    ids = []
    for runs in by_launcher(pending):
        ids += cluster.submit([one.run_dir for one in runs], runs[0].config.launcher, sweep.folder, sweep.id)
    runs = sweep.path.parent.parent
    where = "" if runs == Path.cwd() / "runs" else f" --runs {shlex.quote(str(runs))}"
    print(f"sweep {sweep.id}: submitted {len(pending)} runs as {' '.join(f'job array {one}' for one in ids)}")
    print(f"watch:  python -m sweeps.status {sweep.id} --watch{where}")
    print(f"cancel: python -m sweeps.cancel {sweep.id}{where}", flush=True)


def wait_until_over(planned: Sequence[Planned], sweep: Sweep, every_s: float) -> int:
    """Wait until all of the sweep's runs have ended; the command's exit status. Ctrl-C leaves the jobs alone."""
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
    return print_outcomes(planned, outcomes)


def run_here(planned: Sequence[Planned], pending: Sequence[Planned], sweep: Sweep) -> int:
    """Run the pending ones on this machine, and close the sweep unless something is left to be continued."""
    config = planned[0].config
    ended: dict[Path, int] = {}
    for runs in by_launcher(pending):
        ended |= run_inline(runs) if config.launcher.name == "inline" else run_pool(runs)
        left = any(one.run_dir not in ended for one in runs)
        if left or {ExitCode.INTERRUPTED, -signal.SIGKILL} & set(ended.values()):  # the command was told to stop
            break
    outcomes = {one.run_dir: outcome(one, ended) for one in planned}
    status = print_outcomes(planned, outcomes)
    if status != ExitCode.INTERRUPTED:
        from tracking.sweep_runs import close_parents

        close_parents(sweep, failed=status == ExitCode.FAILED)
    return status


def outcome(one: Planned, ended: Mapping[Path, int]) -> RunState:
    """What a run came to; one that `ended` without saying how has failed, unless it was killed on purpose."""
    state = inspect(one.run_dir, one.config.train.env_steps, {})
    if state.name in ("new", "killed") and ended.get(one.run_dir, -signal.SIGKILL) != -signal.SIGKILL:
        return dataclasses.replace(state, name="failed", reason="ended without a word; see its log")
    return state


def run_inline(pending: Sequence[Planned]) -> dict[Path, int]:
    """Run one after another in this process, until one is interrupted; the exit status of each."""
    ended: dict[Path, int] = {}
    for one in pending:
        ended[one.run_dir] = execute(one.config)
        if ended[one.run_dir] == ExitCode.INTERRUPTED:
            break
    return ended


def run_pool(pending: Sequence[Planned], poll_s: float = POLL_S) -> dict[Path, int]:
    """Run in processes; the exit status of those that ended.

    Ctrl-C or SIGTERM lets each checkpoint, and ends; so does what goes wrong here. A second Ctrl-C kills them.
    """
    launcher = pending[0].config.launcher
    retry_policy = RetryPolicy(launcher.max_crashes, launcher.backoff_s, time.time())
    parallel = local_parallel(pending[0].config, len(pending))
    # Sessions of their own: a Ctrl-C reaches runs through `stop`, once.
    pool = Pool([one.run_dir for one in pending], parallel, retry_policy, new_session=True)

    def interrupt() -> None:
        if pool.stopping:
            pool.kill()
        else:
            print("\nruns checkpoint, and stop; Ctrl-C again kills them", file=sys.stderr, flush=True)
            pool.stop()

    with (
        on_signals(interrupt, signal.SIGINT),
        on_signals(pool.stop, signal.SIGTERM),
        SweepProgress(pending) as bar,
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
    return pool.ended


class SweepProgress:
    """One bar over all runs' environment steps; a line now and then where there is no terminal."""

    def __init__(self, pending: Sequence[Planned]):
        self._pending = pending
        self._total = sum(one.config.train.env_steps for one in pending)
        screen = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=screen,
            disable=not screen.is_terminal,
        )
        self._task = self._bar.add_task("runs", total=self._total)
        self._last_line = time.monotonic()

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self) -> None:
        now = time.monotonic()
        if self._bar.disable and now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        steps = sum(min(RunDir(one.run_dir).progress()[0], one.config.train.env_steps) for one in self._pending)
        done = sum((one.run_dir / layout.DONE).exists() for one in self._pending)
        text = f"{done}/{len(self._pending)} runs done"
        if self._bar.disable:
            print(f"{text}, {steps:,}/{self._total:,} steps", file=sys.stderr, flush=True)
        else:
            self._bar.update(self._task, completed=steps, description=text)


def print_outcomes(planned: Sequence[Planned], outcomes: Mapping[Path, RunState]) -> int:
    """Print the closing table: what each run came to, and where to look; the command's exit status."""
    table = Table(title="outcomes")
    for column in ("run", "varied", "outcome", "steps", "score", "where"):
        table.add_column(column, overflow="fold")
    names = []
    for one in planned:
        state = outcomes.get(one.run_dir, one.state)
        skipped = "skipped (done by other code)" if one.stale else "skipped (done)"
        name = skipped if one.state.name == "done" else state.name
        names.append("skipped" if one.state.name == "done" else name)
        table.add_row(
            one.run_dir.name,
            escape(" ".join(f"{key}={value}" for key, value in one.varied.items())),
            name,
            f"{state.env_steps:,}",
            "-" if state.score is None else f"{state.score:.3f}",
            escape(str(one.run_dir)),
        )
    console().print(table)
    for one in planned:
        state = outcomes.get(one.run_dir, one.state)
        if state.name == "failed":
            print(f"failed: {one.run_dir}: {state.reason}")
    print(", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)))
    if "failed" in names:
        return ExitCode.FAILED
    return ExitCode.INTERRUPTED if {"interrupted", "stopped", "killed", "new"} & set(names) else ExitCode.DONE
