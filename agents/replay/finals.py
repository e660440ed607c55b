"""The frames in which episodes ended, which the next row does not have: it holds the next episode's first."""

from __future__ import annotations

import numpy as np

from agents.replay.gather import Columns


class Finals:
    """A pool `[P]` of frames, each of its task's own width; a slot that becomes free is used again.

    Args:
      columns: widths of the tasks' frames.
      dtype: of the frames.
    """

    def __init__(self, columns: Columns, dtype: str):
        self._columns = columns
        self.pool = np.zeros(columns.width, dtype)  # a window of the widest width fits in from every slot on
        self.starts = np.zeros(0, np.int64)  # of each slot in the pool
        self._used = 0
        self._slots = 0
        self._free: dict[int, list[int]] = {int(width): [] for width in columns.widths}

    def put(self, task: int, frame: np.ndarray) -> int:
        """Keep a task's frame `[W_t]`; its slot."""
        width = int(self._columns.widths[task])
        slot = self._free[width].pop() if self._free[width] else self._new_slot(width)
        start = self.starts[slot]
        self.pool[start : start + width] = frame
        return slot

    def take(self, slot: int, task: int) -> np.ndarray:
        """The frame `[W_t]` in a slot of the task."""
        start = self.starts[slot]
        return self.pool[start : start + self._columns.widths[task]]

    def release(self, slot: int, task: int) -> None:
        """Let a slot of the task be used again."""
        self._free[int(self._columns.widths[task])].append(slot)

    def _new_slot(self, width: int) -> int:
        if self._used + width + self._columns.width > len(self.pool):
            self.pool = _grown(self.pool, 2 * len(self.pool) + 4 * self._columns.total)
        if self._slots == len(self.starts):
            self.starts = _grown(self.starts, 2 * self._slots + 4 * len(self._columns.widths))
        self.starts[self._slots] = self._used
        self._used += width
        self._slots += 1
        return self._slots - 1


def _grown(array: np.ndarray, length: int) -> np.ndarray:
    grown = np.zeros(length, array.dtype)
    grown[: len(array)] = array
    return grown
