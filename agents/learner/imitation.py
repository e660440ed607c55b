"""The learner `imitation`, for continuous actions: a policy learns what a dataset shows, with nothing else to go by.

With `target=actions` it learns the actions that were taken (behaviour cloning, by squared error), with `target=policy`
the best actions and the deviations of the policy that took them (distillation, after Rusu et al. 2015,
arXiv:1511.06295).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents.learner import critic
from agents.learner.accumulate import in_parts
from agents.learner.critic import CriticSettings, task_features
from agents.learner.networks import LOG_STD_MAX, LOG_STD_MIN, Actor, gaussian_action, init_params
from agents.learner.types import Array, Demonstrations, Learner, Metrics, Params, settings_of
from conf.agents import ImitationConfig
from conf.schema import RunConfig
from envs.spec import TaskSpec


class StudentParams(NamedTuple):
    """The student's parameters: the network, and the task embedding where there is one."""

    actor: Params
    conditioning: Params


class LearnerState(NamedTuple):
    """Everything that learning changes; a pytree of arrays.

    Attributes:
      student: network parameters.
      optimiser: optimiser state.
      update_steps: int32 scalar, gradient updates so far.
    """

    student: StudentParams
    optimiser: Any
    update_steps: jax.Array


@dataclass(frozen=True, kw_only=True)
class Settings(CriticSettings, ImitationConfig):
    """Static settings: agent and model of the configuration, and the tasks' sizes.

    Attributes:
      obs_dim: the padded width of an observation.
      action_widths: `[T]`, the components of each task's own actions.
    """

    obs_dim: int
    action_widths: tuple[int, ...]

    @cached_property
    def actor(self) -> nn.Module:
        """The student, from features `[B, I]` to mean and log standard deviation, each `[B, A]`, before tanh."""
        return Actor(
            self.network,
            self.layer_norm,
            self.width,
            self.depth,
            self.action_dim,
            self.num_heads,
            self.precision,
        )


def distribution(settings: Settings, params: StudentParams, obs: Array, task_ids: Array) -> tuple[jax.Array, jax.Array]:
    """Return mean and log standard deviation `[B, A]` before tanh.

    Args:
      settings: static.
      params: the student's.
      obs: `[B, O]`.
      task_ids: `[B]`.
    """
    inputs = jnp.concatenate([obs, task_features(settings, params.conditioning, task_ids)], axis=-1)
    return in_parts(partial(settings.actor.apply, {"params": params.actor}), settings.accumulate, inputs, task_ids)


def policy_error(mean: jax.Array, log_std: jax.Array, other_mean: jax.Array, other_log_std: jax.Array) -> jax.Array:
    """Return how far two policies are apart, `[...]`, component by component.

    That is the squared difference of their best actions, plus that of their log standard deviations in units of the
    whole range. (The Kullback-Leibler divergence weighs errors by 1 / variance, which here spans ten orders of
    magnitude: a few observations drown all others, and students hardly learned.)

    Args:
      mean, log_std: a Gaussian before tanh.
      other_mean, other_log_std: another one.
    """
    deviations = (log_std - other_log_std) / (LOG_STD_MAX - LOG_STD_MIN)
    return jnp.square(jnp.tanh(mean) - jnp.tanh(other_mean)) + jnp.square(deviations)


def init(settings: Settings, key: jax.Array) -> LearnerState:
    """Return a fresh state, which is a function of `settings` and `key` alone."""
    key_actor, key_table = jax.random.split(key)
    conditioning = critic.init_conditioning(settings, key_table)
    inputs = critic.input_shape(settings, conditioning, settings.obs_dim)
    student = StudentParams(init_params(settings.actor, key_actor, inputs, critic.ONE_TASK), conditioning)
    return LearnerState(student, critic.fresh_optimiser(settings, student), jnp.int32(0))  # type: ignore[arg-type]


@partial(jax.jit, static_argnames=("settings", "deterministic"))
def act(
    settings: Settings,
    params: StudentParams,
    obs: Array,
    task_ids: Array,
    key: jax.Array,
    step: Array,
    *,
    deterministic: bool,
) -> jax.Array:
    """Return actions `[N, A]` in (-1, 1): the policy's mode, or drawn.

    Args:
      settings: static.
      params: the student's.
      obs: `[N, O]`.
      task_ids: `[N]`.
      key: of the run's acting.
      step: a number that is folded into `key`.
      deterministic: whether the actions are the policy's mode, without noise.
    """
    chex.assert_rank([obs, task_ids], [2, 1])
    mean, log_std = distribution(settings, params, jnp.asarray(obs), jnp.asarray(task_ids))
    return gaussian_action(mean, log_std, key, step, deterministic)


def update_once(settings: Settings, state: LearnerState, batch: Demonstrations) -> tuple[LearnerState, Metrics]:
    """Do one gradient update on a batch `[B, ...]`; components beyond a task's own actions count for nothing."""
    widths = jnp.asarray(settings.action_widths)[batch.task_ids]
    own = jnp.arange(settings.action_dim) < widths[:, None]

    def per_component(values: jax.Array) -> jax.Array:
        return jnp.mean(jnp.sum(jnp.where(own, values, 0.0), axis=-1) / widths)

    def objective(params: StudentParams) -> tuple[jax.Array, jax.Array]:
        mean, log_std = distribution(settings, params, batch.obs, batch.task_ids)
        error = jnp.tanh(mean) - batch.action
        if settings.target == "policy":
            return per_component(policy_error(batch.mean, batch.log_std, mean, log_std)), error
        return per_component(jnp.square(error)), error

    (loss, error), grad = jax.value_and_grad(objective, has_aux=True)(state.student)
    updates, optimiser = settings.optimiser.update(grad, state.optimiser, state.student)  # type: ignore[arg-type]
    student: Any = optax.apply_updates(state.student, updates)  # type: ignore[arg-type]
    metrics = {
        "imitation/loss": loss,
        "imitation/abs_error": per_component(jnp.abs(error)),
        "actor/grad_norm": optax.tree.norm(grad),
    }
    return LearnerState(student, optimiser, state.update_steps + 1), metrics


@partial(jax.jit, static_argnames=("settings",), donate_argnames=("state",))
def update(
    settings: Settings, state: LearnerState, batches: Demonstrations, return_scale: Array
) -> tuple[LearnerState, Metrics]:
    """Do `U` updates in one compiled call.

    Args:
      settings: static.
      state: before the updates; its memory is taken.
      batches: `[U, B, ...]`.
      return_scale: of no effect, as there are no rewards.
    Returns:
      The new state, and each metric's mean over the `U` updates, on the device; the norm is the new parameters'.
    """
    chex.assert_shape(batches.obs, (*batches.task_ids.shape, settings.obs_dim))
    chex.assert_shape([batches.action, batches.mean], (*batches.task_ids.shape, settings.action_dim))
    state, collected = jax.lax.scan(partial(update_once, settings), state, batches)
    metrics = {name: values.mean() for name, values in collected.items()}
    return state, metrics | {"actor/param_norm": optax.tree.norm(state.student)}


def settings(config: RunConfig, specs: Sequence[TaskSpec]) -> Settings:
    """Return the static settings of a run."""
    return settings_of(Settings, config, specs)


LEARNER = Learner(
    settings=settings,
    init=init,
    acting_params=lambda state: state.student,
    act=act,
    update=update,
    task_embedding=lambda state: state.student.conditioning.get("embedding"),
)
