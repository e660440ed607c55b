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

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from agents.memory import available_bytes
from agents.sizes import check_memory
from conf.compose import Composed, resolve_paths
from conf.typed import ConfigError, show
from records.command_line import Parser, add_runs, exit_status
from records.layout import ExitCode
from records.sweep import find_sweep, known_parents, launch_lock, read_sweep
from sweeps.cancel import found_by_cancel
from sweeps.launch import parent_run
from sweeps.plan import check_fit, plan, use_slurm
from sweeps.search import space
from sweeps.search.storage import open_study
from sweeps.search.study import (
    Search,
    best_trial,
    compose,
    draw,
    is_over,
    load,
    score_of,
    state_name,
    trials_left,
    write_record,
)
from sweeps.search.trials import Worker
from sweeps.slurm import cluster
from sweeps.slurm.script import job_array, job_command
from sweeps.status import WATCH_S, console

if TYPE_CHECKING:
    from sweeps.search.study import FrozenTrial, Study

MAX_ROWS = 40
COLOURS = {"running": "green", "failed": "red", "pruned": "yellow", "complete": "bold"}


def launch(overrides: Sequence[str]) -> int:
    """Begin or continue the search of a command line, here or in SLURM jobs.

    Returns:
      0 if all trials have ended or the jobs are submitted, 75 if interrupted (resumable), 1 if no trial completed.
    Raises:
      ConfigError: before anything is started.
    """
    search = compose(overrides, Path.cwd())
    config = search.base
    planned = plan([Composed(resolve_paths(one), {}) for one in space.check(search.space, overrides)])
    check_fit(planned)
    parallel = config.launcher.max_parallel or 1
    if not use_slurm(config):
        largest = max((one.size for one in planned), key=lambda size: size.replay_bytes)
        check_memory([largest] * parallel, available_bytes())
    if not config.resume and search.path.exists():
        raise ConfigError(f"resume=false: {search.path} is a search already; leave resume=true to continue it")
    if config.plan or config.launcher.dry_run:
        print_search(search)
        return ExitCode.DONE
    if config.launcher.name == "inline":
        raise ConfigError("launcher=inline: a search needs processes of their own; allowed: local, slurm, auto")
    if use_slurm(config):
        return submit(search)
    study = open_study(search)
    write_record(search, parent_run(config, search.path))
    return work(search, study, parallel, here=True)


def submit(search: Search) -> int:
    """Submit jobs until `launcher.max_parallel`, or as many as the trials left need, share the search.

    Those in the queue are of them.

    Raises:
      ConfigError: SLURM refuses, or does not say what is in the queue.
    """
    launcher, jobs = search.base.launcher, search.base.launcher.max_parallel or 1
    runs = search.path.parents[1]
    command = [sys.executable, "-m", "sweeps.search", search.id, "--runs", str(runs), "--job"]
    script = job_command(command, search.folder)
    cluster.check(launcher, job_array(launcher, jobs, search.folder, search.id).script(script))  # writes nothing
    study = open_study(search)
    write_record(search, parent_run(search.base, search.path))
    if is_over(search, study):
        return finish(search, study)
    with launch_lock(search.path):
        queued = cluster.search_jobs(search.folder)
        if queued is None:
            raise ConfigError(f"{search.id}: squeue does not answer, so its jobs may be in the queue already")
        missing = min(jobs, math.ceil(trials_left(search, study) / launcher.runs_per_gpu)) - len(queued)
        if queued:
            print(f"search {search.id}: has jobs already: {cluster.in_words(queued)}")
        if missing > 0:
            array = cluster.submit_workers(launcher, missing, search.folder, search.id, command)
            print(f"search {search.id}: submitted {missing} jobs as job array {array}")
    where = "" if runs == Path.cwd() / "runs" else f" --runs {shlex.quote(str(runs))}"
    print(f"watch:  python -m sweeps.search {search.id} --show{where}")
    print(f"cancel: python -m sweeps.cancel {search.id}{where}", flush=True)
    return stay(search, study) if search.base.wait else ExitCode.DONE


def stay(search: Search, study: Study) -> int:
    """Show the search until none of its jobs is left; the exit status. Ctrl-C leaves the jobs alone."""
    quiet = 0
    try:
        with View(search, study) as view:
            while quiet < 2:  # a requeue leaves a moment in which a job is neither running nor waiting
                view.show()
                time.sleep(WATCH_S)
                quiet = quiet + 1 if cluster.search_jobs(search.folder) == {} else 0
    except KeyboardInterrupt:
        print("the jobs go on", file=sys.stderr)
        return ExitCode.DONE
    if is_over(search, study):
        return finish(search, study)
    print("its jobs have ended before the search; the same command continues", file=sys.stderr)
    return ExitCode.INTERRUPTED


def work(search: Search, study: Study, parallel: int, here: bool) -> int:
    """Work on a study until it is over; `here` is a terminal's command, which waits for other workers' trials."""
    worker = Worker(search, study, parallel, new_session=here)
    # SLURM's jobs are found by their ids.
    with found_by_cancel(search.folder) if here else contextlib.nullcontext(), View(search, study) as view:
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


def best_command(search: Search, best: FrozenTrial) -> str:
    kept = [text for text in search.overrides if not text.lstrip("+").startswith(("sweep=", "sweep.", "launcher"))]
    return shlex.join(["python", "-m", "agents.run", *kept, *space.overrides_of(best.params)])


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


def table(search: Search, study: Study) -> Table:
    """Trial, values, score, state; the newest where there are many, and the best in any case."""
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    shown = Table(title=f"search {search.id}: {len(trials)} of {search.base.sweep.search.trials} trials begun")
    for column in ("trial", *(key.rpartition(".")[2] for key in search.space), "steps", "score", "state"):
        shown.add_column(column, justify="left" if column == "state" else "right")
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        if trial.number < len(trials) - MAX_ROWS and not is_best:
            continue
        score, name = score_of(trial), state_name(trial)
        values = [trial.params.get(key) for key in search.space]
        shown.add_row(
            str(trial.number),
            *(f"{value:.4g}" if isinstance(value, float) else escape(show(value)) for value in values),
            "-" if trial.last_step is None else f"{trial.last_step:,}",
            "-" if score is None else f"{score:.3f}",
            f"[{COLOURS.get(name, 'default')}]{name}{' (best)' if is_best else ''}[/]",
        )
    return shown


class View:
    """The live table on a terminal; elsewhere a line when a trial begins and when it ends."""

    def __init__(self, search: Search, study: Study):
        self._search, self._study = search, study
        self._screen = console()
        self._live = Live(console=self._screen, auto_refresh=False, transient=True)
        self._said: dict[int, str] = {}

    def __enter__(self) -> View:
        if self._screen.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen.is_terminal:
            self._live.stop()

    def show(self) -> None:
        """Where the trials stand."""
        if self._screen.is_terminal:
            self._live.update(table(self._search, self._study), refresh=True)
        else:
            for trial in self._study.get_trials(deepcopy=False):
                name = state_name(trial)
                if self._said.get(trial.number) != name:
                    self._said[trial.number] = name
                    score = score_of(trial)
                    text = f", score {score:.3f} at {trial.last_step:,} steps" if score is not None else ""
                    values = " ".join(space.overrides_of(trial.params))
                    print(f"trial {trial.number} {name}{text}: {values}", file=sys.stderr, flush=True)


def print_search(search: Search) -> None:
    """The space and the settings, on standard output."""
    settings = search.base.sweep.search
    shown = Table(title=f"search {search.id}")
    shown.add_column("key")
    shown.add_column("values")
    for key, axis in search.space.items():
        shown.add_row(key, escape(str(axis)))
    console().print(shown)
    known = len(read_sweep(search.path).members) if search.path.exists() else 0
    print(
        f"{settings.trials} trials of {search.base.train.env_steps:,} steps, {known} begun already; "
        f"sampler {settings.sampler}, pruner {settings.pruner}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Works on, or shows, the search that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
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
    parallel = launcher.runs_per_gpu if parsed.job else launcher.max_parallel or 1
    return work(search, study, parallel, here=parsed.job is None)
