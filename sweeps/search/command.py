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
from agents.sizes import check_disk, check_memory
from agents.training.source import resolved
from conf.composed import Composed
from conf.typed import ConfigError
from records.command_line import Parser, add_runs, exit_status, given_command
from records.layout import ExitCode
from records.output import add_json, print_json
from records.sweep import find_sweep, known_parents, launch_lock
from sweeps.after import wait_for_other
from sweeps.cancel import register_worker
from sweeps.code import Code, store, submitted_code, variables
from sweeps.ending import notify
from sweeps.gpus import machine_gpus
from sweeps.opening import parent_run
from sweeps.plan.as_json import plan_values
from sweeps.plan.fit import check_fit
from sweeps.plan.place import local_parallel
from sweeps.plan.plan import plan
from sweeps.plan.tables import code_lines, sent_lines
from sweeps.search import space
from sweeps.search.as_json import search_values, settings_values
from sweeps.search.confirm import confirmed, runs_left, winner
from sweeps.search.methods import check
from sweeps.search.storage import open_study
from sweeps.search.study import Search, compose, draw, load, trials_left, write_record
from sweeps.search.trials import DEFAULT_INTERVALS, Intervals, Worker, is_over
from sweeps.search.view import View, best_command, lost_to_selection, print_result, print_search
from sweeps.slurm import cluster
from sweeps.slurm.script import job_array, job_command
from sweeps.slurm.submission import submissions
from tracking import sweep_runs
from tracking.problems import explain

if TYPE_CHECKING:
    from sweeps.search.study import FrozenTrial, Study


def launch(overrides: Sequence[str], intervals: Intervals = DEFAULT_INTERVALS, as_json: bool = False) -> int:
    """Begin or continue the search of a command line, here or in SLURM jobs.

    Args:
      overrides: the command line, without options.
      intervals: how often to look at trials and jobs.
      as_json: whether a plan is printed as JSON.
    Returns:
      0 if all trials have ended or the jobs are submitted, 75 if interrupted (resumable), 1 if no trial completed.
    Raises:
      ConfigError: before anything is started.
    """
    search = compose(overrides, Path.cwd())
    check(search.base, search.space)
    config = search.base
    planned = plan([Composed(resolved(one), {}) for one in space.check(search.space, overrides)])
    check_fit(planned)
    parallel = local_parallel(config.launcher, most_runs(search))
    if not planned.common.on_slurm:
        largest = max((one.size for one in planned.runs), key=lambda size: size.replay_bytes)
        check_memory([largest] * parallel, available_bytes())
        check_disk([largest] * parallel, planned.common.runs)
    if not config.resume and search.path.exists():
        raise ConfigError(f"resume=false: {search.path} is a search already; leave resume=true to continue it")
    if config.plan or config.launcher.dry_run:
        if as_json:
            print_json("plan", plan_values(planned) | {"totals": None, "runs": [], "search": settings_values(search)})
            return ExitCode.DONE
        print_search(search)
        code = code_for(search, planned.common.on_slurm)
        for line in [*code_lines(code), *sent_lines([config], code)]:
            print(line)
        return ExitCode.DONE
    if config.launcher.name == "inline":
        raise ConfigError("launcher=inline: a search needs processes of their own; allowed: local, slurm, auto")
    if planned.common.on_slurm:
        wait_for_other(config.launcher.after, search.path, on_slurm=True)
        return submit(search, intervals)
    study = open_study(search)
    write_record(search, open_parent(search))
    with register_worker(search.folder):
        wait_for_other(config.launcher.after, search.path, on_slurm=False)
    return work(search, study, parallel, here=True, intervals=intervals)


def submit(search: Search, intervals: Intervals) -> int:
    """Submit jobs until `launcher.max_parallel`, or as many as what is left needs, share the search.

    Those in the queue are of them.

    Raises:
      ConfigError: SLURM refuses, or does not say what is in the queue.
    """
    check_jobs(search)
    study = open_study(search)
    write_record(search, open_parent(search))
    if is_over(search, study):
        return finish(search, study)
    submit_missing(search, study)
    runs = search.path.parents[1]
    where = "" if runs == Path.cwd() / "runs" else f" --runs {shlex.quote(str(runs))}"
    print(f"watch:    python -m sweeps.search {search.id} --show{where}")
    print(f"continue: python -m sweeps.status {search.id} --relaunch{where}")
    print(f"cancel:   python -m sweeps.cancel {search.id}{where}", flush=True)
    return wait_until_over(search, study, intervals.watch_s) if search.base.wait else ExitCode.DONE


def code_for(search: Search, on_slurm: bool) -> Code | None:
    """The code as it is now; None where the search's trials import it as it is when they start."""
    return submitted_code([search.base.launcher], on_slurm, Path(search.base.paths.runs))


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
    script = job_command(worker_command(search), search.folder, launcher, code_for(search, on_slurm=True))
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
        useful = useful_jobs(search, study)
        missing = max(0, min(launcher.max_parallel or 1, useful) - len(queued))
        if queued:
            print(f"search {search.id}: has jobs already: {cluster.in_words(queued)}")
        if missing:
            if (code := code_for(search, on_slurm=True)) is not None:
                store(code)
            array = cluster.submit_workers(launcher, missing, search.folder, search.id, worker_command(search), code)
            print(f"search {search.id}: submitted {missing} jobs as job array {array}")
    return missing


def useful_jobs(search: Search, study: Study) -> int:
    """How many jobs would find something to do now: a trial, whose runs one job executes, or a run on a fresh seed."""
    at_once = search.base.launcher.runs_per_gpu
    trials = trials_left(search, study)
    if not trials:
        return math.ceil(runs_left(search, study) / at_once)
    return min(trials, math.ceil(trials * search.base.sweep.search.seeds / at_once))


def most_runs(search: Search) -> int:
    """How many runs of the search there can be at one time."""
    settings = search.base.sweep.search
    return max(search.trials * settings.seeds, min(settings.confirm_trials, search.trials) * settings.confirm)


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
      parallel: runs at once.
      here: whether this is a terminal's command, which waits for other workers' trials, and not a SLURM job.
      intervals: how often to look.
    """
    code = code_for(search, on_slurm=False) if here else None  # a job's trials import what the job does
    if code is not None:
        store(code)
    worker = Worker(
        search,
        study,
        parallel,
        here,
        intervals,
        gpus=machine_gpus() if here else (),
        variables=variables(code.folder, code.git) if code else None,
    )
    # SLURM's jobs are found by their ids.
    with register_worker(search.folder) if here else contextlib.nullcontext(), View(search, study) as view:
        over = worker.run(wait=here, show=view.show)
    if over:
        return finish(search, study)
    if worker.spent:
        print(f"no further run begins: {worker.spent}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if not worker.pool.stopping:
        print("no trial is left to begin; other workers look after the last ones", file=sys.stderr)
        return ExitCode.DONE
    print("interrupted; the same command continues", file=sys.stderr)
    return ExitCode.INTERRUPTED


def finish(search: Search, study: Study) -> int:
    """Show the result, draw Optuna's plots, and close the MLflow parent; the exit status."""
    print_result(search, study)
    plots = draw(study, search.folder / "plots")
    send_parent(search, study, plots)
    print(f"plots: {plots}")
    best = winner(search, study)
    notify(search.path, "failed" if best is None else "done")
    if best is None:
        reasons = [trial.user_attrs.get("reason", "") for trial in study.get_trials(deepcopy=False)]
        print(f"no trial completed; the last failed: {reasons[-1]}", file=sys.stderr)
        return ExitCode.FAILED
    print(f"best: trial {best.number}, {score_in_words(search, study, best)}; its run again, or with a larger budget:")
    print(best_command(search, best))
    return ExitCode.DONE


def score_in_words(search: Search, study: Study, best: FrozenTrial) -> str:
    """The score of the best trial, and what it is the mean of."""
    again = next((one for one in confirmed(search, study) if one.trial.number == best.number), None)
    if again is not None and again.mean is not None and again.is_complete:
        return f"score {again.mean:.3f} on {again.asked} fresh seeds"
    seeds = search.base.sweep.search.seeds
    return f"score {best.value:.3f}{f' over {seeds} seeds' if seeds > 1 else ''}"


def open_parent(search: Search) -> str | None:
    """Open the search's MLflow run; None, with a warning, where MLflow is away or not wanted."""
    axes = {key: str(axis) for key, axis in search.space.items()}
    trials = f"a search of {search.base.sweep.search.trials} trials"
    part = sweep_runs.Part(search.id, search.path.parents[1], "", axes, list(axes), trials, given_command())
    return parent_run(search.base.tracking, search.base.experiment, search.path, part)


def send_parent(search: Search, study: Study, plots: Path) -> None:
    """Trials' scores, the best values and the plots for the search's MLflow run; a warning where MLflow is away."""
    uri = search.base.tracking.uri
    parent = known_parents(search.path).get(uri or "", {}).get("")
    if not search.base.tracking.on or uri is None or parent is None:
        return
    scores = [
        (trial.number, trial.value, int(trial.datetime_complete.timestamp() * 1000))
        for trial in study.get_trials(deepcopy=False)
        if trial.value is not None and trial.datetime_complete is not None
    ]
    best = winner(search, study)
    tags = {"trials": str(len(study.get_trials(deepcopy=False)))}
    if best is not None:
        tags |= {
            "best.trial": str(best.number),
            "best.score": f"{best.value:.4f}",
            "best.command": best_command(search, best),
        }
        results = confirmed(search, study)
        lost = lost_to_selection(results)
        if results and results[0].is_complete:
            tags["best.confirmed"] = f"{results[0].mean:.4f}"
        if lost is not None:
            tags["selection"] = lost
    try:
        sweep_runs.send_parent(uri, parent, "trial/score", scores, tags, plots)
        sweep_runs.end_parent(uri, parent, sweep_runs.Outcome(failed=best is None))
    except Exception as error:
        print(f"warning: the search's MLflow run lacks its result: {explain(error, uri)}", file=sys.stderr)


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
    add_json(parser)
    parsed = parser.parse_args(arguments)
    if parsed.json and not parsed.show:
        raise ConfigError("--json: is the form of what --show prints; add --show")
    sweep = find_sweep(parsed.runs, parsed.study)
    search = load(sweep.path)
    study = open_study(search)
    if parsed.json:
        print_json("search", search_values(search, study))
        return ExitCode.DONE
    if parsed.show:
        print_result(search, study)
        best = winner(search, study)
        if best is not None:
            print(best_command(search, best))
        return ExitCode.DONE
    launcher = search.base.launcher
    here = local_parallel(launcher, most_runs(search))
    parallel = launcher.runs_per_gpu if parsed.job else here
    return work(search, study, parallel, here=parsed.job is None, intervals=intervals)
