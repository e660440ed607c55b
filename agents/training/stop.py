"""Tells the loop that the run is to stop, on a signal or by the run's stop file."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from records.entries import Stop
from records.run_dir import RunDir

STOP_FILE_S = 1.0


class StopFlag:
    """Set by SIGTERM, SIGUSR2, Ctrl-C or the run's stop file; the loop looks at it where it is safe to stop.

    The file is looked for once a second. A second Ctrl-C ends the process at once.

    Attributes:
      signal: the name of the signal that came.
      order: what the stop file says.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = RunDir(run_dir)
        self._next_look = 0.0
        self.signal: str | None = None
        self.order: Stop | None = None

    def __call__(self) -> bool:
        """Whether the run is to stop."""
        if self.signal is None and self.order is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + STOP_FILE_S
            self.order = self._run_dir.stop()
        return self.signal is not None or self.order is not None


@contextlib.contextmanager
def listening(flags: Sequence[StopFlag]) -> Iterator[None]:
    """Set the flags of all runs of this process inside the block when a signal comes."""

    def told(number: int, _: object) -> None:
        name = signal.Signals(number).name
        if all(flag.signal is None for flag in flags):
            print(f"\n{name}: checkpointing, then stopping", file=sys.stderr, flush=True)
        for flag in flags:
            flag.signal = name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signals = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
    previous = {number: signal.signal(number, told) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
