"""What is done about a simulation that diverges: its state explodes, and its numbers mean nothing any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

OnDivergence = Literal["truncate", "stop"]
"""End the episode there as truncated, with the last finite observation and a reward of 0; or end the run."""

LOUD_SHARE = 0.01
LOUD_COUNT = 3  # fewer say nothing about how often a task diverges


class DivergedError(RuntimeError):
    """The simulation of a task diverged; environments raise it out of a step."""


class DivergenceWarnings:
    """Words for the simulations of a run that diverged: a line at a task's first, another if they are frequent.

    Args:
      task_ids: `[T]`.
    """

    def __init__(self, task_ids: Sequence[str]):
        self._task_ids = list(task_ids)
        self._told: set[int] = set()
        self._told_loudly: set[int] = set()

    def lines(self, where: str, diverged: np.ndarray, episodes: np.ndarray) -> list[str]:
        """What there is to say that was not said before.

        Args:
          where: "training" or "evaluation".
          diverged: `[T]`, episodes that ended because the simulation diverged.
          episodes: `[T]`, episodes that ended.
        """
        said = []
        for task in np.flatnonzero(diverged).tolist():
            task_id, count, of = self._task_ids[task], int(diverged[task]), int(episodes[task])
            if task not in self._told:
                self._told.add(task)
                said.append(
                    f"warning: {task_id}: the simulation diverged in {where}, so the episode ended there "
                    "(env.on_divergence=truncate); rows named env/divergence count such episodes"
                )
            if count >= LOUD_COUNT and count > LOUD_SHARE * of and task not in self._told_loudly:
                self._told_loudly.add(task)
                said.append(
                    f"WARNING: {task_id}: {count:,} of {of:,} episodes of {where} ({count / of:.0%}) ended because the "
                    "simulation diverged. THE SCORES OF THIS TASK MAY MEAN LITTLE"
                )
        return said
