"""Shows how far training is: a bar on a terminal, else a line now and then, with rate, time left and score."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_EVERY_S = 15.0


class Progress:
    """Shows a run's progress on standard error, from `initial` to `total` environment steps.

    A terminal gets a bar; elsewhere, a line is printed every `LINE_EVERY_S` seconds and at each score.
    """

    def __init__(self, total: int, initial: int = 0):
        self._total, self._initial = total, initial
        self._console = Console(file=sys.stderr)
        self._score = "-"
        self._activity = "training"
        self._begun = self._last_line = time.monotonic()
        self._steps = initial
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} steps/s, score {task.fields[score]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=4,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=total, completed=initial, rate="-", score="-")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, env_steps: int) -> None:
        """Show that training has come to `env_steps`."""
        self._steps = env_steps
        self._show()

    def score(self, score: float | None) -> None:
        """Show the newest evaluation's mean normalised score, None where no task has constants."""
        self._score = "-" if score is None else f"{score:.3f}"
        self._show(force=True)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[Callable[[float], None]]:
        """Show inside the block that an evaluation runs; yields a function that takes the finished fraction."""
        self._activity = "evaluating"
        self._show()
        try:
            yield self._tell_fraction
        finally:
            self._activity = "training"

    def _tell_fraction(self, fraction: float) -> None:
        self._activity = f"evaluating {fraction:.0%}"
        self._show()

    def _show(self, force: bool = False) -> None:
        now = time.monotonic()
        rate = (self._steps - self._initial) / max(now - self._begun, 1e-9)
        if not self._bar.disable:
            self._bar.update(
                self._task, description=self._activity, completed=self._steps, rate=f"{rate:.0f}", score=self._score
            )
        elif force or now - self._last_line > LINE_EVERY_S:
            self._last_line = now
            left = f"{(self._total - self._steps) / rate / 60:.1f} min left" if rate > 0 else "time left unknown"
            print(
                f"{self._activity}: {self._steps:,}/{self._total:,} steps, {rate:.0f} steps/s, {left}, "
                f"score {self._score}",
                file=sys.stderr,
                flush=True,
            )
