"""Ends a run's process whose loop has not moved for long, so that the run can be started again."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from records.layout import ExitCode, RunOutcome
from records.run_record import write_status

TIMES_SLOWEST = 10
LEAST_S = 600.0
START_S = 3600.0
"""The first steps compile programs, which may take long; until they are over, a loop may rest for so many seconds."""
TICK_S = 1.0
LAST_WORD_S = 30.0
"""The run's status gets so many seconds to be written, as the file system may be what hangs."""


class Watchdog:
    """Watches, in a thread of its own, that the loop calls `moved` again and again; use as a context manager.

    The time in which the whole process was stopped does not count.

    Args:
      limit_s: the seconds for which the loop may rest; None for ten times its longest rest so far, at least 600.
      bite: what is done, with a reason in words, when the loop has rested for too long.
    """

    def __init__(self, limit_s: float | None, bite: Callable[[str], None]):
        self._limit_s, self._bite = limit_s, bite
        self._rested = self._slowest = 0.0
        self._warm = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def moved(self, warm: bool) -> None:
        """Say that the loop has finished a step, an evaluation or a checkpoint.

        Args:
          warm: whether all that a step needs has been compiled.
        """
        if self._warm:
            self._slowest = max(self._slowest, self._rested)
        self._rested, self._warm = 0.0, warm

    @property
    def limit_s(self) -> float:
        """The seconds for which the loop may rest now."""
        limit = max(LEAST_S, TIMES_SLOWEST * self._slowest) if self._limit_s is None else self._limit_s
        return limit if self._warm else max(limit, START_S)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(min(TICK_S, self.limit_s / 10)):
            now = time.monotonic()
            self._rested += min(now - before, 2 * TICK_S)
            before = now
            if self._rested > self.limit_s:
                self._bite(f"the loop has not moved for {self._rested:.0f} seconds (launcher.hang_min)")
                return


def end_process(run_dirs: Callable[[], Sequence[Path]]) -> Callable[[str], None]:
    """Return what ends the process of hung runs: it prints every thread's stack, and leaves word in each run's status.

    The runs continue from their newest checkpoints. In the middle of a step there is nothing that a checkpoint could
    hold.

    Args:
      run_dirs: asked, when the process is to be ended, which runs have not ended.
    """

    def bite(reason: str) -> None:
        print(f"\nerror: {reason}; what each thread does:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        sys.stderr.flush()
        word = {"reason": f"{reason}; its log has every thread's stack", "retry": True}

        def say() -> None:
            for run_dir in run_dirs():
                write_status(run_dir, RunOutcome.FAILED, **word)

        said = threading.Thread(target=say, daemon=True)
        said.start()
        said.join(LAST_WORD_S)
        for worker in multiprocessing.active_children():
            worker.kill()
        os._exit(ExitCode.FAILED)

    return bite
