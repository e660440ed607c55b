"""The learner `brc`, for continuous actions: a soft actor-critic. Pure functions of an explicit state."""

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
from agents.learner.networks import Actor, gaussian_action, init_params
from agents.learner.parts import actor_part, trained
from agents.learner.types import Array, Batch, Learner, Metrics, Params, check_batches, settings_of
from conf.agents import BrcConfig
from conf.schema import RunConfig
from envs.spec import TaskSpec

ENTROPY_DECAY = 0.99  # of the running per-task policy entropy that the paper's reward scale needs


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


class ActingParams(NamedTuple):
    """What acting needs of a `LearnerState`: actor parameters and the conditioning part of the critic's."""

    actor: Params
    conditioning: Params


@dataclass(frozen=True, kw_only=True)
class Settings(CriticSettings, BrcConfig):
    """Static settings of the two compiled functions: agent and model of the configuration, and the tasks' sizes.

    Attributes:
      obs_dim: the padded width of an observation.
      action_widths: `[T]`, the components of each task's own actions.
    """

    obs_dim: int
    action_widths: tuple[int, ...]

    @property
    def target_entropy(self) -> float:
        """The target entropy in nats, over the padded action; BRC uses -A / 2."""
        return self.target_entropy_per_dim * self.action_dim

    @cached_property
    def critic_ensemble(self) -> nn.Module:
        """The critics `[B, I] -> [E, B, K]`."""
        return critic.make_critic(self, self.num_outputs)

    @cached_property
    def actor(self) -> nn.Module:
        """The actor, from features `[B, I]` to mean and log standard deviation, each `[B, A]`."""
        return Actor(
            self.actor_network,
            self.layer_norm,
            self.actor_width,
            self.actor_depth,
            self.action_dim,
            self.num_heads,
            self.precision,
        )

    @cached_property
    def temperature_optimiser(self) -> optax.GradientTransformation:
        """The optimiser of the logarithm of the temperature."""
        return optax.adam(self.temperature_learning_rate, b1=0.5)


def critic_outputs(
    settings: Settings, params: Params, obs: jax.Array, action: jax.Array, task_ids: jax.Array
) -> jax.Array:
    """Return logits `[E, B, K]`, or values `[E, B, 1]` with the squared loss.

    Args:
      settings: static.
      params: the critics' parameters.
      obs: `[B, O]`.
      action: `[B, A]`.
      task_ids: `[B]`.
    """
    if settings.surplus_actions == "zero":
        own = jnp.arange(settings.action_dim) < jnp.asarray(settings.action_widths)[task_ids][:, None]
        action = jnp.where(own, action, 0.0)
    features = task_features(settings, params["conditioning"], task_ids)
    inputs = jnp.concatenate([obs, action, features], axis=-1)
    apply = partial(settings.critic_ensemble.apply, {"params": params["ensemble"]})
    return in_parts(apply, settings.accumulate, inputs, task_ids, axis=1)


def policy_distribution(
    settings: Settings, params: ActingParams, obs: jax.Array, task_ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return mean and log standard deviation `[B, A]` before tanh; the conditioning gets no gradient from here.

    Args:
      settings: static.
      params: what acting needs.
      obs: `[B, O]`.
      task_ids: `[B]`.
    """
    features = jax.lax.stop_gradient(task_features(settings, params.conditioning, task_ids))
    inputs = jnp.concatenate([obs, features], axis=-1)
    return in_parts(partial(settings.actor.apply, {"params": params.actor}), settings.accumulate, inputs, task_ids)


def entropy_reward_factor(
    settings: Settings, return_scale: jax.Array, temperature: jax.Array, entropy: jax.Array
) -> jax.Array:
    """Return `critic.reward_factor` `[T]`, where the return holds the entropy too.

    `lambda_i` is the release's `-temperature * target_entropy / (2 (1 - discount))` or the paper's
    `temperature * entropy_i / (1 - discount)`.

    Args:
      settings: static.
      return_scale: `[T]`, magnitudes of raw returns.
      temperature: scalar.
      entropy: `[T]`, each task's policy entropy in nats.
    """
    horizon = 1 / (1 - settings.discount)
    if settings.reward_scale == "paper":
        return critic.reward_factor(settings, return_scale, temperature * entropy * horizon)
    if settings.reward_scale == "release":
        return critic.reward_factor(settings, return_scale, -temperature * settings.target_entropy / 2 * horizon)
    return critic.reward_factor(settings, return_scale, 0.0)


@partial(jax.jit, static_argnames=("settings",))
def value(settings: Settings, state: LearnerState, obs: Array, task_ids: Array, return_scale: Array) -> jax.Array:
    """Return what the critics expect of the policy's mode `[N]`, in raw return.

    Args:
      settings: static.
      state: where learning stands.
      obs: `[N, O]`.
      task_ids: `[N]`.
      return_scale: `[T]`, magnitudes of raw returns.
    """
    obs, task_ids = jnp.asarray(obs), jnp.asarray(task_ids)
    mean, _ = policy_distribution(settings, acting_params(state), obs, task_ids)
    q = expected_value(settings, critic_outputs(settings, state.critic, obs, jnp.tanh(mean), task_ids))
    temperature = jnp.exp(state.log_temperature)
    return q / entropy_reward_factor(settings, jnp.asarray(return_scale), temperature, state.entropy)[task_ids]


def init(settings: Settings, key: jax.Array) -> LearnerState:
    """Return a fresh state, which is a function of `settings` and `key` alone."""
    key_critic, key_table, key_actor, key_updates = jax.random.split(key, 4)
    conditioning = critic.init_conditioning(settings, key_table)
    inputs = critic.input_shape(settings, conditioning, settings.obs_dim, settings.action_dim)
    critic_params = {
        "conditioning": conditioning,
        "ensemble": init_params(settings.critic_ensemble, key_critic, inputs, critic.ONE_TASK),
    }
    inputs = critic.input_shape(settings, conditioning, settings.obs_dim)
    actor = init_params(settings.actor, key_actor, inputs, critic.ONE_TASK)
    log_temperature = jnp.log(jnp.float32(settings.init_temperature))
    return LearnerState(
        actor=actor,
        critic=critic_params,
        target_critic=critic.copied(critic_params),
        log_temperature=log_temperature,
        actor_opt=critic.fresh_optimiser(settings, actor),
        critic_opt=critic.fresh_optimiser(settings, critic_params),
        temperature_opt=settings.temperature_optimiser.init(log_temperature),
        entropy=jnp.zeros(settings.num_tasks),
        key=jax.random.key_data(key_updates),
        update_steps=jnp.int32(0),
    )


def task_embedding(state: LearnerState) -> jax.Array | None:
    """Return the learned embeddings of the tasks `[T, D]`; None where the learner has none."""
    return state.critic["conditioning"].get("embedding")


def acting_params(state: LearnerState) -> ActingParams:
    """Return the part of the state that acting reads."""
    return ActingParams(state.actor, state.critic["conditioning"])


@partial(jax.jit, static_argnames=("settings", "deterministic"))
def act(
    settings: Settings,
    params: ActingParams,
    obs: Array,
    task_ids: Array,
    key: jax.Array,
    step: Array,
    *,
    deterministic: bool,
) -> jax.Array:
    """Return actions `[N, A]` in (-1, 1).

    Args:
      settings: static.
      params: what acting needs.
      obs: `[N, O]`.
      task_ids: `[N]`.
      key: of the run's acting.
      step: a number that is folded into `key`.
      deterministic: whether the actions are the policy's mode, without noise.
    """
    chex.assert_rank([obs, task_ids], [2, 1])
    chex.assert_axis_dimension(obs, 1, settings.obs_dim)
    mean, log_std = policy_distribution(settings, params, jnp.asarray(obs), jnp.asarray(task_ids))
    return gaussian_action(mean, log_std, key, step, deterministic)


def critic_problem(
    settings: Settings, state: LearnerState, batch: Batch, return_scale: jax.Array, key: jax.Array
) -> Problem:
    """Return what the critic is to learn from a batch.

    Args:
      settings: static.
      state: before the update.
      batch: `[B, ...]`.
      return_scale: `[T]`, magnitudes of raw returns.
      key: of the next actions' noise.
    """
    noise = jax.random.normal(key, (len(batch.reward), settings.action_dim))
    return _problem(settings, state, batch, return_scale, noise)


def _problem(
    settings: Settings, state: LearnerState, batch: Batch, return_scale: jax.Array, noise: jax.Array
) -> Problem:
    """What `critic_problem` returns, with the noise `[B, A]` of the next actions."""
    temperature = jnp.exp(state.log_temperature)
    factor = entropy_reward_factor(settings, return_scale, temperature, state.entropy)
    mean, log_std = policy_distribution(settings, acting_params(state), batch.next_obs, batch.task_ids)
    next_action, next_log_prob = losses.sample_tanh_gaussian(mean, log_std, noise)
    next_outputs = critic_outputs(settings, state.target_critic, batch.next_obs, next_action, batch.task_ids)
    target, target_value = critic.critic_target(
        settings, next_outputs, batch.reward * factor[batch.task_ids], batch.discount, -temperature * next_log_prob
    )
    outputs_of = lambda params: critic_outputs(settings, params, batch.obs, batch.action, batch.task_ids)  # noqa: E731
    return Problem(outputs_of, target, target_value)


def update_noise(settings: Settings, state: LearnerState, num_updates: int, batch_size: int) -> jax.Array:
    """Return the noise `[U, 2, B, A]` of the next updates: of the next actions, and of the actor's.

    Each update's is a function of the run's key and the update's number. One call draws all of them, since the rounds
    of the generator are a loop, which takes as long for few numbers as for many.

    Args:
      settings: static.
      state: before the updates.
      num_updates: `U`.
      batch_size: `B`.
    """
    shape = (2, batch_size, settings.action_dim)
    draw = lambda number: jax.random.normal(critic.update_key(state.key, number), shape)  # noqa: E731
    return jax.vmap(draw)(state.update_steps + jnp.arange(num_updates))


def update_once(
    settings: Settings, state: LearnerState, batch: Batch, noise: jax.Array, return_scale: jax.Array
) -> tuple[LearnerState, Metrics]:
    """Do one gradient update: critic, target critic (towards the new critic), actor (with the new critic), temperature.

    Args:
      settings: static.
      state: before the update.
      batch: `[B, ...]`.
      noise: `[2, B, A]`, of the next actions and of the actor's.
      return_scale: `[T]`, magnitudes of raw returns.
    """
    temperature = jnp.exp(state.log_temperature)

    # Critic
    critic_params, target_critic, critic_opt, metrics = critic.fit_critic(
        settings,
        *_problem(settings, state, batch, return_scale, noise[0]),
        state.critic,
        state.target_critic,
        state.critic_opt,
    )

    # Actor
    def actor_objective(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        acting = ActingParams(params, critic_params["conditioning"])
        mean, log_std = policy_distribution(settings, acting, batch.obs, batch.task_ids)
        action, log_prob = losses.sample_tanh_gaussian(mean, log_std, noise[1])
        q = expected_value(settings, critic_outputs(settings, critic_params, batch.obs, action, batch.task_ids))
        return losses.actor_loss(q, log_prob, temperature), (q, log_prob)

    (actor_loss, (q, log_prob)), actor_grad = jax.value_and_grad(actor_objective, has_aux=True)(state.actor)
    updates, actor_opt = settings.optimiser.update(actor_grad, state.actor_opt, state.actor)
    actor = optax.apply_updates(state.actor, trained(updates, actor_part, settings.frozen))
    entropy = -jnp.mean(log_prob)

    # Temperature
    temperature_loss, temperature_grad = jax.value_and_grad(losses.temperature_loss)(
        state.log_temperature, entropy, settings.target_entropy
    )
    updates, temperature_opt = settings.temperature_optimiser.update(temperature_grad, state.temperature_opt)
    updates = trained(updates, lambda _: "temperature", settings.frozen)
    log_temperature = optax.apply_updates(state.log_temperature, updates)

    metrics |= {
        "critic/q_mean": jnp.mean(q),
        "critic/q_std": jnp.std(q),
        "actor/loss": actor_loss,
        "actor/entropy": entropy,
        "actor/grad_norm": optax.tree.norm(actor_grad),
        "temperature/value": temperature,
        "temperature/loss": temperature_loss,
    }
    state = LearnerState(
        actor=actor,
        critic=critic_params,
        target_critic=target_critic,
        log_temperature=log_temperature,  # type: ignore[arg-type]
        actor_opt=actor_opt,
        critic_opt=critic_opt,
        temperature_opt=temperature_opt,
        entropy=running_entropy(state.entropy, log_prob, batch.task_ids),
        key=state.key,
        update_steps=state.update_steps + 1,
    )
    return state, metrics


def running_entropy(entropy: jax.Array, log_prob: jax.Array, task_ids: jax.Array) -> jax.Array:
    """Return the entropies `[T]`, moved towards each task's mean in the batch; other tasks keep their values."""
    one_hot = jax.nn.one_hot(task_ids, entropy.shape[0])
    count = one_hot.sum(axis=0)
    batch_mean = -(log_prob @ one_hot) / jnp.maximum(count, 1)
    return jnp.where(count > 0, ENTROPY_DECAY * entropy + (1 - ENTROPY_DECAY) * batch_mean, entropy)


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
    chex.assert_shape([batches.obs, batches.next_obs], (*batches.reward.shape, settings.obs_dim))
    chex.assert_shape(batches.action, (*batches.reward.shape, settings.action_dim))
    num_updates, batch_size = batches.reward.shape
    noise = update_noise(settings, state, num_updates, batch_size)
    once = lambda carry, xs: update_once(settings, carry, xs[0], xs[1], jnp.asarray(return_scale))  # noqa: E731
    state, metrics = critic.scan_updates(once, state, (batches, noise))
    norms = {"critic/param_norm": optax.tree.norm(state.critic), "actor/param_norm": optax.tree.norm(state.actor)}
    return state, metrics | norms


def settings(config: RunConfig, specs: Sequence[TaskSpec]) -> Settings:
    """Return the static settings of a run."""
    return settings_of(Settings, config, specs)


LEARNER = Learner(settings, init, acting_params, act, update, task_embedding, value, critic_problem)
