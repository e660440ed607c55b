"""Hyper-parameter search with Optuna: `python -m agents.run -m +sweep=search`, or `python -m sweeps.search STUDY`.

A trial is an ordinary run, whose directory follows from its values. Any number of processes may work on one study, here
or as SLURM jobs.
"""

from __future__ import annotations

import contextlib
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.memory import available_bytes
from agents.sizes import check_memory
from conf.compose import Composed, resolve_paths
from conf.typed import ConfigError
from records.command_line import Parser, add_runs, exit_status
from records.layout import ExitCode
from records.sweep import find_sweep, known_parents, launch_lock
from sweeps.cancel import register_worker
from sweeps.gpus import machine_gpus
from sweeps.opening import parent_run
from sweeps.plan.fit import check_fit
from sweeps.plan.place import local_parallel
from sweeps.plan.plan import plan
from sweeps.search import space
from sweeps.search.storage import open_study
from sweeps.search.study import (
    Search,
    best_trial,
    compose,
    draw,
    is_over,
    load,
    trials_left,
    write_record,
)
from sweeps.search.trials import DEFAULT_INTERVALS, Intervals, Worker
from sweeps.search.view import View, best_command, print_search, table
from sweeps.slurm import cluster
from sweeps.slurm.script import job_array, job_command
from sweeps.slurm.submission import submissions
from sweeps.status import console

if TYPE_CHECKING:
    from sweeps.search.study import Study


def launch(overrides: Sequence[str], intervals: Intervals = DEFAULT_INTERVALS) -> int:
    """Begin or continue the search of a command line, here or in SLURM jobs.

    Args:
      overrides: the command line, without options.
      intervals: how often to look at trials and jobs.
    Returns:
      0 if all trials have ended or the jobs are submitted, 75 if interrupted (resumable), 1 if no trial completed.
    Raises:
      ConfigError: before anything is started.
    """
    search = compose(overrides, Path.cwd())
    config = search.base
    planned = plan([Composed(resolve_paths(one), {}) for one in space.check(search.space, overrides)])
    check_fit(planned)
    parallel = local_parallel(config.launcher, config.sweep.search.trials)
    if not planned.common.on_slurm:
        largest = max((one.size for one in planned.runs), key=lambda size: size.replay_bytes)
        check_memory([largest] * parallel, available_bytes())
    if not config.resume and search.path.exists():
        raise ConfigError(f"resume=false: {search.path} is a search already; leave resume=true to continue it")
    if config.plan or config.launcher.dry_run:
        print_search(search)
        return ExitCode.DONE
    if config.launcher.name == "inline":
        raise ConfigError("launcher=inline: a search needs processes of their own; allowed: local, slurm, auto")
    if planned.common.on_slurm:
        return submit(search, intervals)
    study = open_study(search)
    write_record(search, parent_run(config.tracking, config.experiment, search.path))
    return work(search, study, parallel, here=True, intervals=intervals)


def submit(search: Search, intervals: Intervals) -> int:
    """Submit jobs until `launcher.max_parallel`, or as many as the trials left need, share the search.

    Those in the queue are of them.

    Raises:
      ConfigError: SLURM refuses, or does not say what is in the queue.
    """
    check_jobs(search)
    study = open_study(search)
    write_record(search, parent_run(search.base.tracking, search.base.experiment, search.path))
    if is_over(search, study):
        return finish(search, study)
    submit_missing(search, study)
    runs = search.path.parents[1]
    where = "" if runs == Path.cwd() / "runs" else f" --runs {shlex.quote(str(runs))}"
    print(f"watch:    python -m sweeps.search {search.id} --show{where}")
    print(f"continue: python -m sweeps.status {search.id} --relaunch{where}")
    print(f"cancel:   python -m sweeps.cancel {search.id}{where}", flush=True)
    return wait_until_over(search, study, intervals.watch_s) if search.base.wait else ExitCode.DONE


def resubmit(path: Path) -> None:
    """Submit again what is missing of the jobs that share the trials of a search, and say how many jobs that is.

    Args:
      path: the search's record.
    Raises:
      ConfigError: SLURM was never given the search, refuses, or does not say what is in the queue.
    """
    search = load(path)
    if not any(one.kind == "search" for one in submissions(search.folder)):
        raise ConfigError(
            f"--relaunch: {search.id} has no SLURM jobs; this machine goes on with it by: "
            f"python -m sweeps.search {search.id} --runs {shlex.quote(str(path.parents[1]))}"
        )
    check_jobs(search)
    study = open_study(search)
    if is_over(search, study):
        print(f"search {search.id}: all trials have ended")
    elif not submit_missing(search, study):
        print(f"search {search.id}: submitted 0 jobs")


def check_jobs(search: Search) -> None:
    """Ask SLURM whether it would take the search's jobs; writes nothing.

    Raises:
      ConfigError: there is no SLURM, or it refuses.
    """
    launcher = search.base.launcher
    script = job_command(worker_command(search), search.folder, launcher)
    cluster.check(launcher, job_array(launcher, launcher.max_parallel or 1, search.folder, search.id).script(script))


def worker_command(search: Search) -> list[str]:
    """What each job of a search executes."""
    return [sys.executable, "-m", "sweeps.search", search.id, "--runs", str(search.path.parents[1]), "--job"]


def submit_missing(search: Search, study: Study) -> int:
    """Submit the jobs that the search has too few of; how many.

    Raises:
      ConfigError: SLURM refuses, or does not say what is in the queue.
    """
    launcher = search.base.launcher
    with launch_lock(search.path):
        queued = cluster.search_jobs(search.folder)
        if queued is None:
            raise ConfigError(f"{search.id}: squeue does not answer, so its jobs may be in the queue already")
        useful = math.ceil(trials_left(search, study) / launcher.runs_per_gpu)
        missing = max(0, min(launcher.max_parallel or 1, useful) - len(queued))
        if queued:
            print(f"search {search.id}: has jobs already: {cluster.in_words(queued)}")
        if missing:
            array = cluster.submit_workers(launcher, missing, search.folder, search.id, worker_command(search))
            print(f"search {search.id}: submitted {missing} jobs as job array {array}")
    return missing


def wait_until_over(search: Search, study: Study, every_s: float) -> int:
    """Show the search until none of its jobs is left; the exit status. Ctrl-C leaves the jobs alone."""
    quiet = 0
    try:
        with View(search, study) as view:
            while quiet < 2:  # a requeue leaves a moment in which a job is neither running nor waiting
                view.show()
                time.sleep(every_s)
                quiet = quiet + 1 if cluster.search_jobs(search.folder) == {} else 0
    except KeyboardInterrupt:
        print("the jobs go on", file=sys.stderr)
        return ExitCode.DONE
    if is_over(search, study):
        return finish(search, study)
    print("its jobs have ended before the search; the same command continues", file=sys.stderr)
    return ExitCode.INTERRUPTED


def work(search: Search, study: Study, parallel: int, here: bool, intervals: Intervals) -> int:
    """Work on a study until it is over, and return the exit status.

    Args:
      search: the search.
      study: Optuna's study of the search.
      parallel: trials at once.
      here: whether this is a terminal's command, which waits for other workers' trials, and not a SLURM job.
      intervals: how often to look.
    """
    worker = Worker(search, study, parallel, here, intervals, gpus=machine_gpus() if here else ())
    # SLURM's jobs are found by their ids.
    with register_worker(search.folder) if here else contextlib.nullcontext(), View(search, study) as view:
        over = worker.run(wait=here, show=view.show)
    if over:
        return finish(search, study)
    if not worker.pool.stopping:
        print("no trial is left to begin; other workers look after the last ones", file=sys.stderr)
        return ExitCode.DONE
    print("interrupted; the same command continues", file=sys.stderr)
    return ExitCode.INTERRUPTED


def finish(search: Search, study: Study) -> int:
    """Show the result, draw Optuna's plots, and close the MLflow parent; the exit status."""
    console().print(table(search, study), highlight=False)
    plots = draw(study, search.folder / "plots")
    send_parent(search, study, plots)
    print(f"plots: {plots}")
    best = best_trial(study)
    if best is None:
        reasons = [trial.user_attrs.get("reason", "") for trial in study.get_trials(deepcopy=False)]
        print(f"no trial completed; the last failed: {reasons[-1]}", file=sys.stderr)
        return ExitCode.FAILED
    print(f"best: trial {best.number}, score {best.value:.3f}; its run again, or with a larger budget or other seeds:")
    print(best_command(search, best))
    return ExitCode.DONE


def send_parent(search: Search, study: Study, plots: Path) -> None:
    """Trials' scores, the best values and the plots for the search's MLflow run; a warning where MLflow is away."""
    uri = search.base.tracking.uri
    parent = known_parents(search.path).get(uri or "", {}).get("")
    if not search.base.tracking.on or uri is None or parent is None:
        return
    from tracking import sweep_runs

    scores = [
        (trial.number, trial.value, int(trial.datetime_complete.timestamp() * 1000))
        for trial in study.get_trials(deepcopy=False)
        if trial.value is not None and trial.datetime_complete is not None
    ]
    best = best_trial(study)
    tags = {"trials": str(len(study.get_trials(deepcopy=False)))}
    if best is not None:
        tags |= {
            "best.trial": str(best.number),
            "best.score": f"{best.value:.4f}",
            "best.command": best_command(search, best),
        }
    try:
        sweep_runs.send_parent(uri, parent, "trial/score", scores, tags, plots)
        sweep_runs.close_parent(uri, parent, failed=best is None)
    except Exception as error:
        print(f"warning: MLflow run {parent} of the search lacks its result at {uri}: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None, intervals: Intervals = DEFAULT_INTERVALS) -> int:
    """Works on, or shows, the search that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments, intervals))


def run(arguments: Sequence[str] | None, intervals: Intervals) -> int:
    """Works on the search that the arguments name; with `--show` only shows it.

    Raises:
      ConfigError: there is no such search, or it cannot be opened.
    """
    parser = Parser(
        prog="python -m sweeps.search", description="Works on a search that a command has begun, beside other workers."
    )
    parser.add_argument("study", metavar="STUDY", help="the search's id, or the id's beginning or end")
    add_runs(parser)
    parser.add_argument("--show", action="store_true", help="print the trials so far and the best, and stop")
    parser.add_argument("--job", metavar="INDEX", help="be a SLURM job: do not wait for other workers' last trials")
    parsed = parser.parse_args(arguments)
    sweep = find_sweep(parsed.runs, parsed.study)
    search = load(sweep.path)
    study = open_study(search)
    if parsed.show:
        console().print(table(search, study), highlight=False)
        best = best_trial(study)
        if best is not None:
            print(best_command(search, best))
        return ExitCode.DONE
    launcher = search.base.launcher
    here = local_parallel(launcher, search.base.sweep.search.trials)
    parallel = launcher.runs_per_gpu if parsed.job else here
    return work(search, study, parallel, here=parsed.job is None, intervals=intervals)
