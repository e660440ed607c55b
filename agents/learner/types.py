"""The data that passes between replay, loop and learner; no logic."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

Params = Any
Metrics = dict[str, jax.Array]
Array = Any
"""A `jax.Array` on the device, a `numpy.ndarray` on the host."""


class Batch(NamedTuple):
    """Transitions. Leading axes are `[U, B]` out of replay and `[B]` inside one update.

    Attributes:
      obs: `[..., O]`, zero-padded to the widest task, or frames `[..., stack, H, W]`.
      action: `[..., A]`, in [-1, 1], zero-padded, or the number `[...]` of a discrete one.
      reward: `[...]`, raw: the discounted sum of `n` steps' rewards, fewer where an episode ends within them.
      next_obs: as `obs`, the true successor after those steps, also at an episode's end.
      discount: `[...]`, of what follows `next_obs`: `discount^n`, 0 where the episode terminated and was not truncated.
      task_ids: `[...]`, int32 index into the run's ordered tasks.
    """

    obs: Array
    action: Array
    reward: Array
    next_obs: Array
    discount: Array
    task_ids: Array
