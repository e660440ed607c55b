"""Shows how far the runs of a local sweep are."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from records import layout
from records.run_dir import RunDir
from sweeps.plan.plan import Planned

LINE_EVERY_S = 30.0


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
