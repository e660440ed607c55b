"""How a learner's parameters become the policy that evaluation episodes are played with."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import numpy as np

from agents.learner.types import Learner
from agents.training.evaluate import Act

EVAL_STREAM = 2**32 - 1  # folded into the key for acting, as no env step is


def acting_key(seed: int) -> jax.Array:
    """Return the key of all acting in the run of a seed."""
    return jax.random.split(jax.random.key(seed))[0]


def evaluation_policy(
    learner: Learner[Any, Any, Any], settings: Any, params: Any, key: jax.Array, env_steps: int
) -> Act:
    """Return the deterministic policy of one evaluation, which counts its own steps.

    Args:
      learner: whose parameters these are.
      settings: what the learner's functions take first.
      params: what acting needs of the learner's state.
      key: of the run's acting.
      env_steps: when the evaluation is, on which random numbers depend, where the policy uses any.
    """
    key, steps = jax.random.fold_in(jax.random.fold_in(key, EVAL_STREAM), env_steps), itertools.count()

    def act(obs: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
        step = np.int32(next(steps))
        return np.asarray(learner.act(settings, params, obs, task_ids, key, step, deterministic=True))

    return act
