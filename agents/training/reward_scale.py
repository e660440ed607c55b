"""Measures how large each task's returns are; the learner divides rewards by that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from envs.vector import Step


class BoundsState(NamedTuple):
    """What `ReturnBounds` knows, as arrays.

    Attributes:
      low, high: `[T]`, smallest and largest return-to-go; infinite before a task's first episode has ended.
      abs_sum: `[T]`, sum of |reward| over all steps.
      steps: scalar, steps so far.
      reward_counts: `[T]`, steps of each task's running episode.
      rewards: `[sum of reward_counts]`, the rewards of the running episodes, task by task.
    """

    low: np.ndarray
    high: np.ndarray
    abs_sum: np.ndarray
    steps: np.ndarray
    reward_counts: np.ndarray
    rewards: np.ndarray


class ReturnBounds:
    """The smallest and largest Monte-Carlo return-to-go of each task over its finished episodes.

    Before a task has finished an episode its scale is the running mean of |reward| / (1 - discount): the release
    leaves it infinite there, which zeroes all rewards.
    """

    def __init__(self, num_tasks: int, discount: float):
        self._discount = discount
        self._low = np.full(num_tasks, np.inf)
        self._high = np.full(num_tasks, -np.inf)
        self._abs_sum = np.zeros(num_tasks)
        self._steps = 0
        self._rewards: list[list[float]] = [[] for _ in range(num_tasks)]

    def insert(self, step: Step, cut_value: np.ndarray | None = None) -> None:
        """Count one step's raw rewards `[T]`; where an episode ends, its returns widen the task's bounds.

        Args:
          step: what the environments gave.
          cut_value: `[T]`, the raw return that would have followed where an episode was cut; None: the episode's mean
            reward, for ever.
        """
        self._steps += 1
        self._abs_sum += np.abs(step.reward)
        for task, rewards in enumerate(self._rewards):
            rewards.append(float(step.reward[task]))
            if step.episode_over[task]:
                if step.terminated[task] and not step.truncated[task]:
                    following = 0.0
                elif cut_value is None:
                    following = float(np.mean(rewards)) / (1 - self._discount)
                else:
                    following = float(cut_value[task])
                returns = returns_to_go(np.asarray(rewards), self._discount, following)
                self._low[task] = min(self._low[task], returns.min())
                self._high[task] = max(self._high[task], returns.max())
                rewards.clear()

    @property
    def return_scale(self) -> np.ndarray:
        """`[T]`, float32: `max(|G_min|, |G_max|)`, in raw return."""
        provisional = self._abs_sum / max(self._steps, 1) / (1 - self._discount)
        finished = np.isfinite(self._high)
        bound = np.maximum(np.abs(self._low), np.abs(self._high))
        return np.where(finished, bound, provisional).astype(np.float32)

    def state(self) -> BoundsState:
        """Copies of everything, for a checkpoint; `load` takes them back."""
        return BoundsState(
            low=self._low.copy(),
            high=self._high.copy(),
            abs_sum=self._abs_sum.copy(),
            steps=np.asarray(self._steps, np.int64),
            reward_counts=np.asarray([len(rewards) for rewards in self._rewards], np.int64),
            rewards=np.asarray([reward for rewards in self._rewards for reward in rewards], np.float64),
        )

    def load(self, state: BoundsState) -> None:
        """Go on from `state`."""
        self._low[:], self._high[:], self._abs_sum[:] = state.low, state.high, state.abs_sum
        self._steps = int(state.steps)
        ends = np.cumsum(state.reward_counts)[:-1]
        self._rewards = [part.tolist() for part in np.split(state.rewards, ends)]


def returns_to_go(rewards: np.ndarray, discount: float, following: float) -> np.ndarray:
    """Discounted return from each step `[L]` of an episode, after which a return of `following` counts."""
    returns = np.empty(len(rewards))
    for step in range(len(rewards) - 1, -1, -1):
        following = rewards[step] + discount * following
        returns[step] = following
    return returns
