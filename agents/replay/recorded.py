"""Draws batches from recorded trajectories, in the place of replay; nothing is ever inserted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agents.learner.types import Demonstrations
from envs.spec import SpaceSpec, TaskSpec


class Trajectories(NamedTuple):
    """The transitions of one task, episode by episode, in the task's own widths.

    Attributes:
      lengths: `[episodes]`, steps of each episode.
      obs: `[N, O]`.
      final_obs: `[episodes, O]`, what followed the last step of each.
      action: `[N, A]`.
      reward: `[N]`, raw.
      terminated, truncated, success: `[N]`.
      mean, log_std: `[N, A]`, the Gaussian before tanh of the policy that acted; None where that is not known.
      source: `[episodes]`, the number of the source that acted.
    """

    lengths: np.ndarray
    obs: np.ndarray
    final_obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    mean: np.ndarray | None
    log_std: np.ndarray | None
    source: np.ndarray


class Recorded:
    """The trajectories of a run's tasks, padded as the run's networks see them.

    Args:
      specs: `[T]`, the tasks.
      trajectories: `[T]`, what is known of each.

    Attributes:
      inserted, oldest_row: what a checkpoint asks of replay; there is nothing that it must hold.
    """

    inserted = 0
    oldest_row = 0

    def __init__(self, specs: Sequence[TaskSpec], trajectories: Sequence[Trajectories]):
        space = SpaceSpec.of(specs)
        self._counts = np.asarray([len(one.obs) for one in trajectories])
        self._starts = np.cumsum(self._counts) - self._counts
        total = int(self._counts.sum())
        self._obs = np.zeros((total, *space.obs_shape), np.float32)
        self._action, self._mean, self._log_std = (np.zeros((total, space.action_dim), np.float32) for _ in range(3))
        for start, one in zip(self._starts, trajectories, strict=True):
            rows = slice(start, start + len(one.obs))
            for array, values in (
                (self._obs, one.obs),
                (self._action, one.action),
                (self._mean, one.mean),
                (self._log_std, one.log_std),
            ):
                if values is not None:
                    array[rows, : values.shape[1]] = values

    def start(self, obs: np.ndarray) -> None:
        """Take no notice of the observations that a run begins with."""

    def insert(self, action: np.ndarray, step: object) -> None:
        """Refuse to take a transition."""
        raise RuntimeError("a dataset takes no transitions")

    def export(self, first: int) -> dict[str, np.ndarray]:
        """Refuse to be a part of a checkpoint."""
        raise RuntimeError("a dataset is no part of a checkpoint")

    def merge(self, segment: dict[str, np.ndarray], first: int) -> None:
        """Refuse to take a checkpoint's transitions."""
        raise ValueError("the checkpoint is of a run with replay, not with a dataset")

    def sample(self, rng: np.random.Generator, updates: int, batch_size: int) -> Demonstrations:
        """Return `[U, B]` transitions, uniform over tasks and over each task's transitions, with replacement."""
        task_ids = rng.integers(0, len(self._counts), (updates, batch_size), np.int32)
        rows = self._starts[task_ids] + rng.integers(0, self._counts[task_ids])
        return Demonstrations(self._obs[rows], self._action[rows], self._mean[rows], self._log_std[rows], task_ids)
