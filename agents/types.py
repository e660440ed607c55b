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
      obs: `[..., O]`, zero-padded to the widest task.
      action: `[..., A]`, in [-1, 1], zero-padded.
      reward: `[...]`, raw, as the environment gave it.
      next_obs: `[..., O]`, the true successor, also at an episode's end.
      mask: `[...]`, 0 where the episode terminated and was not truncated, else 1.
      task_ids: `[...]`, int32 index into the run's ordered tasks.
    """

    obs: Array
    action: Array
    reward: Array
    next_obs: Array
    mask: Array
    task_ids: Array


class LearnerState(NamedTuple):
    """Everything that learning changes; a pytree of arrays.

    Attributes:
      actor, critic, target_critic: network parameters; the task embedding lives in the critics.
      log_temperature: scalar.
      actor_opt, critic_opt, temperature_opt: optimiser states.
      entropy: `[T]`, running estimate of each task's policy entropy, in nats.
      key: the run's JAX key; never changed, each update folds its number into it.
      update_steps: int32 scalar, gradient updates so far.
    """

    actor: Params
    critic: Params
    target_critic: Params
    log_temperature: jax.Array
    actor_opt: Any
    critic_opt: Any
    temperature_opt: Any
    entropy: jax.Array
    key: jax.Array
    update_steps: jax.Array


class Policy(NamedTuple):
    """What acting needs of a `LearnerState`: actor parameters and the conditioning part of the critic's."""

    actor: Params
    conditioning: Params
