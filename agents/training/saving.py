"""Does one piece of writing at a time in a thread of its own, while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Saving:
    """Holds what is being written.

    An error of the writing is raised by the next method that is called once the writing has ended, in the thread of the
    caller, and only once.
    """

    def __init__(self):
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._written: Callable[[], None] = lambda: None

    def begin(self, write: Callable[[], None], written: Callable[[], None]) -> None:
        """Have `write` called in the thread once the writing before has ended, and `written` here when `write` has."""
        self.wait()
        self._writing, self._written = self._thread.submit(write), written

    def look(self) -> None:
        """Call `written` if the writing has ended, and do not wait where the writing goes on."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the end of the writing, then call `written`."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
            self._written()

    def close(self) -> None:
        """Wait for the end of the writing, and leave it at that: whoever closes early has an error to tell already."""
        self._thread.shutdown()
