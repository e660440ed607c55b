"""How a search is shown: the table of its trials, live on a terminal, and its space."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from conf.typed import show
from records.sweep import read_sweep
from sweeps.search import space
from sweeps.search.confirm import CONFIDENCE, Confirmed, confirmed, fresh_members, state_of, winner
from sweeps.search.judge import score_of, steps_of
from sweeps.search.study import Search, state_name, trials_left
from sweeps.status import console

if TYPE_CHECKING:
    from sweeps.search.study import FrozenTrial, Study

MAX_ROWS = 40
COLOURS = {"running": "green", "failed": "red", "pruned": "yellow", "complete": "bold"}


def table(search: Search, study: Study) -> Table:
    """Trial, values, score, state; the newest where there are many, and the best in any case."""
    trials = study.get_trials(deepcopy=False)
    best = winner(search, study)
    runs = search.base.sweep.search.seeds
    of_runs = f", each of {runs} runs" if runs > 1 else ""
    shown = Table(title=f"search {search.id}: {len(trials)} of {search.trials} trials begun{of_runs}")
    for column in ("trial", *(key.rpartition(".")[2] for key in search.space), "steps", "score", "state"):
        shown.add_column(column, justify="left" if column == "state" else "right")
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        if trial.number < len(trials) - MAX_ROWS and not is_best:
            continue
        score, name, steps = score_of(search, trial), state_name(trial), steps_of(search, trial)
        values = [trial.params.get(key) for key in search.space]
        shown.add_row(
            str(trial.number),
            *(f"{value:.4g}" if isinstance(value, float) else escape(show(value)) for value in values),
            "-" if steps is None else f"{steps:,}",
            "-" if score is None else f"{score:.3f}",
            f"[{COLOURS.get(name, 'default')}]{name}{' (best)' if is_best else ''}[/]",
        )
    return shown


def confirm_table(search: Search, results: Sequence[Confirmed]) -> Table:
    """What each of the best trials came to on fresh seeds, beside the score that it was chosen by."""
    shown = Table(title=f"search {search.id}: the best trials again, on seeds that no trial had")
    for column in ("trial", "score in the search", "on fresh seeds", f"{CONFIDENCE:.0%} interval", "lost", "seeds", ""):
        shown.add_column(column, justify="right")
    for place, one in enumerate(results):
        interval = one.interval
        note = "; ".join(f"seed {seed} failed: {reason}" for seed, reason in one.failed.items())
        best = "best" if place == 0 and one.is_complete else ""
        shown.add_row(
            str(one.trial.number),
            f"{one.score:.3f}",
            "-" if one.mean is None else f"{one.mean:.3f}",
            "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
            "-" if one.mean is None else f"{one.score - one.mean:+.3f}",
            f"{len(one.scores)} of {one.asked}",
            escape(note) or best,
        )
    return shown


def lost_to_selection(results: Sequence[Confirmed]) -> str | None:
    """What the search's highest score was worth on fresh seeds, in a line; None before its runs there are done."""
    first = max(results, key=lambda one: one.score, default=None)
    if first is None or first.mean is None or not first.is_complete:
        return None
    within = f" ({first.interval[0]:.3f} to {first.interval[1]:.3f})" if first.interval else ""
    return (
        f"lost to selection: trial {first.trial.number} led the search with {first.score:.3f}, and has {first.mean:.3f}"
        f"{within} on {first.asked} fresh seeds: {first.score - first.mean:+.3f}"
    )


class View:
    """The live table on a terminal; elsewhere a line when a trial begins and when it ends."""

    def __init__(self, search: Search, study: Study):
        self._search, self._study = search, study
        self._screen = console()
        self._live = Live(console=self._screen, auto_refresh=False, transient=True)
        self._said: dict[int | str, str] = {}

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
            results = confirmed(self._search, self._study)
            shown = [table(self._search, self._study), *([confirm_table(self._search, results)] if results else [])]
            self._live.update(Group(*shown), refresh=True)
        else:
            self._say_confirmed()
            for trial in self._study.get_trials(deepcopy=False):
                name = state_name(trial)
                if self._said.get(trial.number) != name:
                    self._said[trial.number] = name
                    score, steps = score_of(self._search, trial), steps_of(self._search, trial) or 0
                    text = f", score {score:.3f} at {steps:,} steps" if score is not None else ""
                    values = " ".join(space.overrides_of(trial.params))
                    print(f"trial {trial.number} {name}{text}: {values}", file=sys.stderr, flush=True)

    def _say_confirmed(self) -> None:
        """A line when a run on a fresh seed begins or ends; there is none before all trials have ended."""
        if not self._search.base.sweep.search.confirm or trials_left(self._search, self._study):
            return
        for (number, seed), member in fresh_members(self._search).items():
            name, key = state_of(member).name, f"{number} on {seed}"
            if self._said.get(key) != name and name in ("running", "failed", "done"):
                self._said[key] = name
                print(f"trial {number} again with seed {seed}: {name}", file=sys.stderr, flush=True)


def print_result(search: Search, study: Study) -> None:
    """The trials, and what the best of them came to on fresh seeds, on standard output."""
    console().print(table(search, study), highlight=False)
    results = confirmed(search, study)
    if results:
        console().print(confirm_table(search, results), highlight=False)
        lost = lost_to_selection(results)
        if lost is not None:
            print(lost)


def print_search(search: Search) -> None:
    """The space and the settings, on standard output."""
    settings = search.base.sweep.search
    shown = Table(title=f"search {search.id}")
    shown.add_column("key")
    shown.add_column("values")
    for key, axis in search.space.items():
        shown.add_row(key, escape(str(axis)))
    console().print(shown)
    members = read_sweep(search.path).members if search.path.exists() else []
    known = len({member.varied.get("trial") for member in members})
    runs = f"{settings.seeds} runs each of " if settings.seeds > 1 else ""
    again = min(settings.confirm_trials, search.trials)
    confirm = f"; then the best {again} again on {settings.confirm} fresh seeds" if settings.confirm else ""
    print(
        f"{search.trials} trials of {runs}{search.base.train.env_steps:,} steps, {known} begun already; "
        f"sampler {settings.sampler}, pruner {settings.pruner}{confirm}"
    )


def best_command(search: Search, best: FrozenTrial) -> str:
    """The command that repeats the best trial's run."""
    kept = [text for text in search.overrides if not text.lstrip("+").startswith(("sweep=", "sweep.", "launcher"))]
    return shlex.join(["python", "-m", "agents.run", *kept, *space.overrides_of(best.params)])
