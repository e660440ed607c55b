"""Batches out of stored rows: pure functions for NumPy and `jax.numpy`, to which the host says what to take.

A stored row holds the numbers of all tasks side by side, each task's in its own width. Batches are padded with zeros to
the widest task, which happens here, so that padding takes no memory where transitions are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from agents.learner.types import Array, Batch


class Columns:
    """Where each task's numbers stand in a row of all tasks' numbers, `[sum(W_t)]`.

    Narrow tasks come first, so that a window of the widest task's width which begins at any task's first column ends
    within the row.

    Attributes:
      widths: `[T]`, numbers of each task.
      starts: `[T]`, each task's first column.
      width: of the widest task.
      total: columns of a row.
      own: `[T, width]`, which columns of a padded row are the task's own.
    """

    def __init__(self, widths: Sequence[int]):
        self.widths = np.asarray(widths, np.int64)
        self.width, self.total = int(self.widths.max()), int(self.widths.sum())
        order = np.argsort(self.widths, kind="stable")
        self.starts = np.zeros_like(self.widths)
        self.starts[order] = np.cumsum(self.widths[order]) - self.widths[order]
        self.own = np.arange(self.width) < self.widths[:, None]
        self._padded_places = np.concatenate([task * self.width + np.flatnonzero(self.own[task]) for task in order])
        self._narrower = [int(width) for width in np.unique(self.widths) if width < self.width]

    @property
    def alike(self) -> bool:
        """Whether all tasks have one width, so that nothing is padded."""
        return not self._narrower

    def pack(self, padded: np.ndarray, row: np.ndarray) -> None:
        """Fill a row `[total]` with the tasks' own numbers out of a padded array `[T, ...]`."""
        if self.alike:
            row.reshape(padded.shape)[:] = padded
        else:
            np.take(padded.reshape(-1), self._padded_places, out=row, mode="clip")

    def windows(self, xp: ModuleType, flat: Array, starts: Array, task_ids: Array) -> Array:
        """Each task's numbers, padded with zeros: `[..., width]` from where they start in `flat`.

        Args:
          xp: `numpy` or `jax.numpy`.
          flat: `[P]`, in which `width` numbers stand from each start on; the surplus ones belong to others.
          starts: `[...]`, int64.
          task_ids: of the same shape.
        """
        if xp is not np:
            found = flat[starts[..., None] + xp.arange(self.width)]
            return xp.where(xp.asarray(self.own)[task_ids], found, xp.zeros((), found.dtype))
        # An item of an array of bytes is copied at once, several times as fast as numbers are by an index of each.
        found = _overlapping(flat, self.width)[starts].view(flat.dtype).reshape(-1, self.width)
        if not self.alike:
            widths = self.widths[task_ids].reshape(-1)
            for width in self._narrower:
                tails = _tails(found, width)
                tails[widths == width] = np.zeros((), tails.dtype)
        return found.reshape(*starts.shape, self.width)

    def cells(self, xp: ModuleType, rows: Array, numbers: Array, task_ids: Array) -> Array:
        """Each task's numbers in its row, padded with zeros: `[..., width]`.

        Args:
          xp: `numpy` or `jax.numpy`.
          rows: `[R, total]`.
          numbers: `[...]`, which row.
          task_ids: which task's columns; of the same shape.
        """
        if xp is np:
            return self.windows(np, rows.reshape(-1), numbers * self.total + self.starts[task_ids], task_ids)
        if self.alike:
            return rows.reshape(len(rows), -1, self.width)[numbers, task_ids]
        columns = xp.asarray(self.starts)[task_ids][..., None] + xp.arange(self.width)
        found = rows[numbers[..., None], columns]  # by row and column, as a flat index may be beyond 32 bits
        return xp.where(xp.asarray(self.own)[task_ids], found, xp.zeros((), found.dtype))


def _overlapping(flat: np.ndarray, width: int) -> np.ndarray:
    """A view `[P - width + 1]` whose items are `width` numbers each, from every place of `flat` `[P]` on."""
    size = flat.itemsize
    return np.ndarray((len(flat) - width + 1,), np.dtype((np.void, width * size)), flat, strides=(size,))


def _tails(array: np.ndarray, width: int) -> np.ndarray:
    """A view `[N]` whose items are what stands in each row of `array` `[N, W]` from column `width` on."""
    surplus = array[:, width:]
    return surplus.view(np.dtype((np.void, surplus.shape[1] * surplus.itemsize)))[:, 0]


@dataclass(frozen=True)
class Layout:
    """How rows are laid out.

    Attributes:
      frames: columns of what one step adds to the tasks' observations: whole vectors, or single images.
      actions: columns of the tasks' actions.
      obs_shape: of a task's padded observation in a batch.
      action_shape: of a task's padded action in a batch: `(A,)`, or `()` for discrete actions.
      stack: frames in an observation; 1 for vectors.
    """

    frames: Columns
    actions: Columns
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    stack: int


class Store(NamedTuple):
    """The large arrays of replay, of NumPy or JAX, and how they are laid out.

    Attributes:
      layout: of the rows.
      frames: `[R, sum(O_t)]`.
      actions: `[R, sum(A_t)]`.
      finals: `[P]`, the frames in which episodes ended, one after another.
    """

    layout: Layout
    frames: Array
    actions: Array
    finals: Array


class Indices(NamedTuple):
    """Which transitions a batch has, and the numbers of them that the host keeps. Leading axes are `[U, B]`.

    Attributes:
      task_ids: `[...]`, int32.
      rows: `[...]`, where the actions stand.
      obs_rows: `[..., stack]`, where the frames of the observations stand, the newest last.
      obs_unseen: `[..., stack - 1]`, which of the older ones are of another episode; they are shown as zeros.
      next_rows, next_unseen: the same of the successors.
      final_at: `[...]`, where the newest frame of a successor that ended its episode begins in `Store.finals`; else -1.
      reward, discount: as in `Batch`.
    """

    task_ids: Array
    rows: Array
    obs_rows: Array
    obs_unseen: Array
    next_rows: Array
    next_unseen: Array
    final_at: Array
    reward: Array
    discount: Array


def gather(xp: ModuleType, store: Store, indices: Indices) -> Batch:
    """The batch of these transitions, padded with zeros.

    Args:
      xp: `numpy` or `jax.numpy`, whichever the arrays are of.
      store: the rows.
      indices: what to take.
    """
    layout, tasks = store.layout, indices.task_ids
    frames = layout.frames
    both = xp.stack([indices.obs_rows, indices.next_rows])  # at once, which is quicker
    found = frames.cells(xp, store.frames, both, xp.broadcast_to(tasks[..., None], both.shape))
    ended = indices.final_at >= 0
    if xp is np:
        if ended.any():
            finals = frames.windows(np, store.finals, indices.final_at[ended], tasks[ended])
            found[1][..., -1, :][ended] = finals
        if layout.stack > 1:
            found[0][..., :-1, :][indices.obs_unseen] = 0
            found[1][..., :-1, :][indices.next_unseen] = 0
    else:
        finals = frames.windows(xp, store.finals, xp.maximum(indices.final_at, 0), tasks)
        newest = xp.where(ended[..., None], finals, found[1, ..., -1, :])
        unseen = xp.stack([indices.obs_unseen, indices.next_unseen])[..., None]
        older = xp.where(unseen, xp.zeros((), found.dtype), found[..., :-1, :])
        newest = xp.stack([found[0, ..., -1, :], newest])
        found = xp.concatenate([older, newest[..., None, :]], axis=-2)
    action = layout.actions.cells(xp, store.actions, indices.rows, tasks)
    return Batch(
        obs=found[0].reshape(*tasks.shape, *layout.obs_shape),
        action=action.reshape(*tasks.shape, *layout.action_shape),
        reward=indices.reward,
        next_obs=found[1].reshape(*tasks.shape, *layout.obs_shape),
        discount=indices.discount,
        task_ids=tasks,
    )
