"""Plays exactly the asked episodes of each task, by their number, whichever ends first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.spec import TaskSpec
from envs.vector import Step, VectorEnv


@dataclass(frozen=True)
class Schedule:
    """Which row of a vector environment plays which episodes: row `k` of a task plays `k, k + parallel, ...`.

    Attributes:
      specs: `[T]`, the tasks.
      episodes: of each task; those numbered 0 to `episodes - 1` are played.
      parallel: rows of each task, at most one an episode. There are `N = T * parallel` rows, task by task.
    """

    specs: Sequence[TaskSpec]
    episodes: int
    parallel: int

    @property
    def rows(self) -> list[TaskSpec]:
        """`[N]`, each row's task."""
        return [spec for spec in self.specs for _ in range(self.parallel)]

    @property
    def task_ids(self) -> np.ndarray:
        """`[N]`, int32, the index of each row's task."""
        return np.repeat(np.arange(len(self.specs), dtype=np.int32), self.parallel)

    @property
    def quota(self) -> np.ndarray:
        """`[N]`, how many episodes each row plays."""
        each = [len(range(copy, self.episodes, self.parallel)) for copy in range(self.parallel)]
        return np.tile(each, len(self.specs))

    def number(self, row: int, turn: int) -> int:
        """The number of the episode that a row plays after `turn` others."""
        return row % self.parallel + turn * self.parallel

    def by_episode(self, values: np.ndarray) -> np.ndarray:
        """Values `[T, episodes]` in order of episode number, from `[N, max(quota)]` by row and turn."""
        played = np.arange(values.shape[1]) < self.quota[:, None]
        numbers = np.concatenate([np.arange(copy, self.episodes, self.parallel) for copy in range(self.parallel)])
        return values[played].reshape(len(self.specs), self.episodes)[:, np.argsort(numbers)]


class Played(NamedTuple):
    """What came of the episodes.

    Attributes:
      returns: `[T, episodes]`, undiscounted.
      successes: `[T, episodes]`, whether any step of the episode succeeded.
      lengths: `[T, episodes]`, steps.
      diverged: `[T, episodes]`, whether the episode ended because the simulation diverged.
    """

    returns: np.ndarray
    successes: np.ndarray
    lengths: np.ndarray
    diverged: np.ndarray


def play(
    env: VectorEnv,
    schedule: Schedule,
    obs: np.ndarray,
    act: Callable[[np.ndarray], np.ndarray],
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda _: None,
    seen: Callable[[Step, np.ndarray, np.ndarray], None] = lambda *_: None,
) -> Played | None:
    """Play the schedule to its end; None where `stop` said so before.

    Args:
      env: of the schedule's rows, just reset.
      schedule: what to play.
      obs: `[N, O]`, the first observations.
      act: observations `[N, O]` to actions `[N, A]`; called once a step.
      stop: asked at every step.
      progress: told the finished fraction.
      seen: given each step, which rows `[N]` took it, and how many episodes each row had played before.
    """
    quota = schedule.quota
    shape = (len(quota), quota.max())
    returns, lengths = np.zeros(shape), np.zeros(shape, int)
    successes, diverged = np.zeros(shape, bool), np.zeros(shape, bool)
    rows = np.arange(len(quota))
    while (active := env.episode < quota).any():
        if stop():
            return None
        turn = np.minimum(env.episode, quota - 1)
        env.start_step(act(obs), active)
        step = env.wait_step()
        returns[rows, turn] += np.where(active, step.reward, 0)
        successes[rows, turn] |= active & step.success
        lengths[rows, turn] += active
        diverged[rows, turn] |= active & step.diverged
        seen(step, active, turn)
        obs = step.obs
        if (active & step.episode_over).any():
            progress(float(np.minimum(env.episode, quota).sum() / quota.sum()))
    return Played(*(schedule.by_episode(values) for values in (returns, successes, lengths, diverged)))
