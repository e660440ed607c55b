"""The learner `brc_discrete`, for discrete actions and pixels: BRC's critic with a value for each action, no actor.

One image encoder for all tasks feeds the ensemble of BRC's residual, categorical critics; the task embedding joins its
features. Targets are those of distributional double Q-learning: the online critic chooses the next action, the target
critic says what it is worth (van Hasselt et al. 2016, arXiv:1509.06461; Bellemare et al. 2017, arXiv:1707.06887).
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

from agents.learner import critic, losses
from agents.learner.accumulate import in_parts
from agents.learner.critic import CriticSettings, Problem, expected_value, task_features
from agents.learner.networks import Encoder, init_params
from agents.learner.types import Array, Batch, Learner, Metrics, Params, check_batches, settings_of
from conf.agents import BrcDiscreteConfig
from conf.schema import RunConfig
from envs.spec import TaskSpec


class LearnerState(NamedTuple):
    """Everything that learning changes; a pytree of arrays.

    Attributes:
      critic, target_critic: network parameters: task embedding, image encoder, ensemble.
      critic_opt: optimiser state.
      key: the run's JAX key; never changed, each update folds its number into it.
      update_steps: int32 scalar, gradient updates so far.
    """

    critic: Params
    target_critic: Params
    critic_opt: Any
    key: jax.Array
    update_steps: jax.Array


@dataclass(frozen=True, kw_only=True)
class Settings(CriticSettings, BrcDiscreteConfig):
    """Static settings of the two compiled functions: agent and model of the configuration, and the tasks' sizes.

    Attributes:
      obs_shape: `(stack, H, W)`.
    """

    obs_shape: tuple[int, ...]
    encoder_channels: int
    encoder_stride: int

    @cached_property
    def encoder(self) -> nn.Module:
        """The image encoder, from frames `[B, stack, H, W]` to features."""
        return Encoder(self.encoder_channels, self.encoder_stride, self.precision)

    @cached_property
    def critic_ensemble(self) -> nn.Module:
        """The critics `[B, I] -> [E, B, A * K]`."""
        return critic.make_critic(self, self.action_dim * self.num_outputs)


def critic_outputs(settings: Settings, params: Params, obs: jax.Array, task_ids: jax.Array) -> jax.Array:
    """Return logits `[E, B, A, K]` of every action, or values `[E, B, A, 1]` with the squared loss.

    Args:
      settings: static.
      params: the parameters of encoder, embedding and ensemble.
      obs: `[B, stack, H, W]`.
      task_ids: `[B]`.
    """

    def apply(obs: jax.Array, task_ids: jax.Array) -> Any:
        features: Any = settings.encoder.apply({"params": params["encoder"]}, obs)
        inputs = jnp.concatenate([features, task_features(settings, params["conditioning"], task_ids)], axis=-1)
        return settings.critic_ensemble.apply({"params": params["ensemble"]}, inputs, task_ids)

    outputs = in_parts(apply, settings.accumulate, obs, task_ids, axis=1)
    return outputs.reshape(*outputs.shape[:-1], settings.action_dim, settings.num_outputs)


def init(settings: Settings, key: jax.Array) -> LearnerState:
    """Return a fresh state, which is a function of `settings` and `key` alone."""
    key_encoder, key_critic, key_table, key_updates = jax.random.split(key, 4)
    obs = jax.ShapeDtypeStruct((1, *settings.obs_shape), jnp.uint8)
    conditioning = critic.init_conditioning(settings, key_table)
    encoder = init_params(settings.encoder, key_encoder, obs)
    features: Any = jax.eval_shape(settings.encoder.apply, {"params": encoder}, obs)
    inputs = critic.input_shape(settings, conditioning, features.shape[-1])
    critic_params = {
        "conditioning": conditioning,
        "encoder": encoder,
        "ensemble": init_params(settings.critic_ensemble, key_critic, inputs, critic.ONE_TASK),
    }
    return LearnerState(
        critic=critic_params,
        target_critic=critic.copied(critic_params),
        critic_opt=critic.fresh_optimiser(settings, critic_params),
        key=jax.random.key_data(key_updates),
        update_steps=jnp.int32(0),
    )


def task_embedding(state: LearnerState) -> jax.Array | None:
    """The learned embeddings of the tasks `[T, D]`; None where the learner tells tasks apart in another way or not."""
    return state.critic["conditioning"].get("embedding")


def acting_params(state: LearnerState) -> Params:
    """Return the part of the state that acting reads: the critic."""
    return state.critic


def exploration(settings: Settings, env_steps: jax.Array) -> jax.Array:
    """Return the share of random actions: linear from 1 to `epsilon` over the run's first `epsilon_steps`."""
    fraction = jnp.minimum(env_steps / settings.epsilon_steps, 1.0)
    return 1.0 + fraction * (settings.epsilon - 1.0)


@partial(jax.jit, static_argnames=("settings", "deterministic"))
def act(
    settings: Settings,
    params: Params,
    obs: Array,
    task_ids: Array,
    key: jax.Array,
    step: Array,
    *,
    deterministic: bool,
) -> jax.Array:
    """Return actions `[N]`, int32: the best ones, now and then a random one, and -1 where a value is not finite.

    Args:
      settings: static.
      params: what acting needs.
      obs: `[N, stack, H, W]`.
      task_ids: `[N]`.
      key: of the run's acting.
      step: a number that is folded into `key`; in training the env steps so far, on which exploration depends.
      deterministic: whether the share of random actions is `eval_epsilon`.
    """
    chex.assert_rank([obs, task_ids], [4, 1])
    q = expected_value(settings, critic_outputs(settings, params, jnp.asarray(obs), jnp.asarray(task_ids)))
    epsilon = settings.eval_epsilon if deterministic else exploration(settings, jnp.asarray(step))
    key_whether, key_which = jax.random.split(jax.random.fold_in(key, step))
    random = jax.random.randint(key_which, q.shape[:1], 0, settings.action_dim)
    explores = jax.random.uniform(key_whether, q.shape[:1]) < epsilon
    chosen = jnp.where(explores, random, jnp.argmax(q, axis=-1))
    return jnp.where(jnp.isfinite(q).all(axis=-1), chosen, -1).astype(jnp.int32)


def next_value(settings: Settings, next_outputs: jax.Array, next_q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return what the next state is worth by the configured backup.

    Args:
      settings: static.
      next_outputs: `[E, B, A, K]`, from the target critic.
      next_q: `[B, A]`, values of the online critic, which choose the action.
    Returns:
      Outputs `[E, B, K]` and an entropy bonus `[B]` (0 with the greedy backup).
    """
    if settings.backup == "greedy":
        return losses.of_action(next_outputs, jnp.argmax(next_q, axis=-1)), jnp.zeros(next_q.shape[0])
    assert settings.soft_temperature is not None
    log_policy = jax.nn.log_softmax(next_q / settings.soft_temperature)
    action_probs = jnp.exp(log_policy)
    bonus = -settings.soft_temperature * jnp.sum(action_probs * log_policy, axis=-1)
    if settings.value_loss == "squared":
        return jnp.sum(next_outputs * action_probs[None, :, :, None], axis=-2), bonus
    return losses.mixed_over_actions(next_outputs, log_policy), bonus


def shifted(frames: jax.Array, key: jax.Array, pixels: int) -> jax.Array:
    """Return images `[B, stack, H, W]`, each moved by up to `pixels` either way, its edge repeated.

    Kostrikov et al. 2020 (arXiv:2004.13649). All frames of a stack move alike.
    """
    if pixels == 0:
        return frames
    padded = jnp.pad(frames, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
    corners = jax.random.randint(key, (frames.shape[0], 2), 0, 2 * pixels + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (0, corner[0], corner[1]), frames.shape[1:])

    return jax.vmap(crop)(padded, corners)


def critic_problem(
    settings: Settings, state: LearnerState, batch: Batch, return_scale: jax.Array, key: jax.Array
) -> Problem:
    """Return what the critic is to learn from a batch.

    Args:
      settings: static.
      state: before the update.
      batch: `[B, ...]`.
      return_scale: `[T]`, magnitudes of raw returns.
      key: of the images' shifts.
    """
    return _problem_and_values(settings, state, batch, return_scale, key)[0]


def _problem_and_values(
    settings: Settings, state: LearnerState, batch: Batch, return_scale: jax.Array, key: jax.Array
) -> tuple[Problem, jax.Array]:
    """What the critic is to learn, and the online critic's values `[B, A]` of the next state's actions."""
    key_obs, key_next = jax.random.split(key)
    obs = shifted(batch.obs, key_obs, settings.image_shift)
    next_obs = shifted(batch.next_obs, key_next, settings.image_shift)
    next_q = expected_value(settings, critic_outputs(settings, state.critic, next_obs, batch.task_ids))
    target_outputs = critic_outputs(settings, state.target_critic, next_obs, batch.task_ids)
    next_outputs, bonus = next_value(settings, target_outputs, next_q)
    factor = critic.reward_factor(settings, return_scale, 0.0)
    target, target_value = critic.critic_target(
        settings, next_outputs, batch.reward * factor[batch.task_ids], batch.discount, bonus
    )

    def outputs_of(params: Params) -> jax.Array:
        return losses.of_action(critic_outputs(settings, params, obs, batch.task_ids), batch.action)

    return Problem(outputs_of, target, target_value), next_q


def update_once(
    settings: Settings, state: LearnerState, batch: Batch, return_scale: jax.Array
) -> tuple[LearnerState, Metrics]:
    """Do one gradient update: critic, target critic (towards the new critic).

    Args:
      settings: static.
      state: before the update.
      batch: `[B, ...]`.
      return_scale: `[T]`, magnitudes of raw returns.
    """
    key = critic.update_key(state.key, state.update_steps)
    problem, next_q = _problem_and_values(settings, state, batch, return_scale, key)
    critic_params, target_critic, critic_opt, metrics = critic.fit_critic(
        settings,
        *problem,
        state.critic,
        state.target_critic,
        state.critic_opt,
    )
    best = jnp.max(next_q, axis=-1)
    metrics |= {"critic/q_mean": jnp.mean(best), "critic/q_std": jnp.std(best)}
    return LearnerState(critic_params, target_critic, critic_opt, state.key, state.update_steps + 1), metrics


@partial(jax.jit, static_argnames=("settings",), donate_argnames=("state",))
def update(
    settings: Settings, state: LearnerState, batches: Batch, return_scale: Array
) -> tuple[LearnerState, Metrics]:
    """Do `U` updates in one compiled call.

    Args:
      settings: static.
      state: before the updates; its memory is taken.
      batches: `[U, B, ...]`.
      return_scale: `[T]`, magnitudes of raw returns.
    Returns:
      The new state, and each metric's mean over the `U` updates, on the device; parameter norms are the new state's.
    """
    check_batches(batches, settings.num_tasks, return_scale)
    chex.assert_shape(batches.obs, (*batches.reward.shape, *settings.obs_shape))
    chex.assert_shape(batches.action, batches.reward.shape)
    once = lambda carry, batch: update_once(settings, carry, batch, jnp.asarray(return_scale))  # noqa: E731
    state, metrics = critic.unrolled_updates(once, state, batches)
    return state, metrics | {"critic/param_norm": optax.tree.norm(state.critic)}


def settings(config: RunConfig, specs: Sequence[TaskSpec]) -> Settings:
    """Return the static settings of a run."""
    return settings_of(Settings, config, specs)


LEARNER = Learner(settings, init, acting_params, act, update, task_embedding, critic_problem=critic_problem)
