"""What tests of replay have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from agents.learner.types import Batch
from agents.replay.gather import gather
from agents.replay.ring import Replay
from envs.spec import TaskSpec


def vector_task(name: str, obs_dim: int, action_dim: int) -> TaskSpec:
    """A made-up task of vectors."""
    return made_up(name, (obs_dim,), action_dim, "float32", "continuous")


def frames_task(name: str, stack: int, side: int, num_actions: int) -> TaskSpec:
    """A made-up task of stacked images."""
    return made_up(name, (stack, side, side), num_actions, "uint8", "discrete")


def made_up(
    name: str,
    obs_shape: tuple[int, ...],
    action_dim: int,
    obs_dtype: Literal["float32", "uint8"],
    action_kind: Literal["continuous", "discrete"],
) -> TaskSpec:
    return TaskSpec(
        id=f"made_up/{name}",
        obs_shape=obs_shape,
        obs_dtype=obs_dtype,
        action_dim=action_dim,
        action_kind=action_kind,
        max_episode_steps=1000,
        score_metric="return",
        norm_low=0.0,
        norm_high=1.0,
        random_return=None,
        source="made up",
    )


def transitions(replay: Replay, tasks: Sequence[TaskSpec], first: int, last: int) -> Batch:
    """Transitions `first` to `last` (exclusive) of all tasks, `[N, T]`, by their number since the run's start."""
    numbers, task_ids = np.broadcast_arrays(np.arange(first, last)[:, None], np.arange(len(tasks), dtype=np.int32))
    return gather(np, replay.store, replay.locate(numbers, task_ids))
