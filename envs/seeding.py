"""Random streams by (seed, task, purpose, numbers), never by a task's index or its neighbours."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Purpose = Literal["train", "eval", "random_actions", "collect"]
PURPOSES: dict[Purpose, int] = {"train": 0, "eval": 1, "random_actions": 2, "collect": 3}


def seed_sequence(seed: int, task_id: str, purpose: Purpose, *numbers: int) -> np.random.SeedSequence:
    """The root of a random stream.

    Args:
      seed: the run's.
      task_id: the stream's task.
      purpose: what the stream is for.
      numbers: the episode's number and, in evaluation and collecting, before it the environment steps of the policy.
    """
    task_hash = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:16], "big")
    return np.random.SeedSequence([seed, task_hash, PURPOSES[purpose], *numbers])


def episode_seed(seed: int, task_id: str, purpose: Purpose, *numbers: int) -> int:
    """An episode's reset seed, 32 bits (what `numpy.random.RandomState` and gymnasium both take).

    Args:
      seed: the run's.
      task_id: the episode's task.
      purpose: what the episode is for.
      numbers: as for `seed_sequence`.
    """
    return int(seed_sequence(seed, task_id, purpose, *numbers).generate_state(1)[0])
