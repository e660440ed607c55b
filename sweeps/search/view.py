"""How a search is shown: the table of its trials, live on a terminal, and its space."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from conf.typed import show
from records.sweep import read_sweep
from sweeps.search import space
from sweeps.search.study import Search, best_trial, score_of, state_name
from sweeps.status import console

if TYPE_CHECKING:
    from sweeps.search.study import FrozenTrial, Study

MAX_ROWS = 40
COLOURS = {"running": "green", "failed": "red", "pruned": "yellow", "complete": "bold"}


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


def best_command(search: Search, best: FrozenTrial) -> str:
    """The command that repeats the best trial's run."""
    kept = [text for text in search.overrides if not text.lstrip("+").startswith(("sweep=", "sweep.", "launcher"))]
    return shlex.join(["python", "-m", "agents.run", *kept, *space.overrides_of(best.params)])
