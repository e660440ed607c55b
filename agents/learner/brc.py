"""The learner for continuous actions: BRC's soft actor-critic. Pure functions of an explicit state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents.learner import critic as value
from agents.learner import losses
from agents.learner.critic import ValueSettings, expected_value, task_features
from agents.learner.networks import Actor, init_params
from agents.learner.types import Array, Batch, Metrics, Params

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


class Policy(NamedTuple):
    """What acting needs of a `LearnerState`: actor parameters and the conditioning part of the critic's."""

    actor: Params
    conditioning: Params


@dataclass(frozen=True, kw_only=True)
class LearnerSettings(ValueSettings):
    """Static settings of the two compiled functions: the agent's and model's configuration, and the tasks' sizes."""

    obs_dim: int
    actor_width: int
    actor_depth: int
    discount: float = 0.99
    init_temperature: float = 0.1
    temperature_learning_rate: float = 3e-4
    target_entropy_per_dim: float = -0.5
    actor_network: Literal["bronet", "mlp"] = "bronet"
    surplus_actions: Literal["keep", "zero"] = "keep"
    action_widths: tuple[int, ...] = ()

    @property
    def target_entropy(self) -> float:
        """In nats, of the padded action; BRC uses -A / 2."""
        return self.target_entropy_per_dim * self.action_dim

    @cached_property
    def critic_network(self) -> nn.Module:
        return value.critic_network(self, self.num_outputs)

    @cached_property
    def actor_network_module(self) -> nn.Module:
        return Actor(self.actor_network, self.actor_width, self.actor_depth, self.action_dim, self.num_heads)

    @cached_property
    def temperature_optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.temperature_learning_rate, b1=0.5)


def critic_outputs(
    settings: LearnerSettings, params: Params, obs: jax.Array, action: jax.Array, task_ids: jax.Array
) -> jax.Array:
    """Logits `[E, B, K]`, or values `[E, B, 1]` with the squared loss."""
    if settings.surplus_actions == "zero":
        own = jnp.arange(settings.action_dim) < jnp.asarray(settings.action_widths)[task_ids][:, None]
        action = jnp.where(own, action, 0.0)
    features = task_features(settings, params["conditioning"], task_ids)
    inputs = jnp.concatenate([obs, action, features], axis=-1)
    return settings.critic_network.apply({"params": params["ensemble"]}, inputs, task_ids)  # type: ignore[return-value]


def policy_distribution(
    settings: LearnerSettings, policy: Policy, obs: jax.Array, task_ids: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and log standard deviation `[B, A]` before tanh. The conditioning gets no gradient from here."""
    features = jax.lax.stop_gradient(task_features(settings, policy.conditioning, task_ids))
    inputs = jnp.concatenate([obs, features], axis=-1)
    return settings.actor_network_module.apply({"params": policy.actor}, inputs, task_ids)  # type: ignore[return-value]


def reward_factor(
    settings: LearnerSettings, return_scale: jax.Array, temperature: jax.Array, entropy: jax.Array
) -> jax.Array:
    """`value.reward_factor` `[T]` with the entropy that the return holds too.

    `lambda_i` is the release's `-temperature * target_entropy / (2 (1 - discount))` or the paper's
    `temperature * entropy_i / (1 - discount)`.
    """
    horizon = 1 / (1 - settings.discount)
    if settings.reward_scale == "paper":
        return value.reward_factor(settings, return_scale, temperature * entropy * horizon)
    if settings.reward_scale == "release":
        return value.reward_factor(settings, return_scale, -temperature * settings.target_entropy / 2 * horizon)
    return value.reward_factor(settings, return_scale, 0.0)


def init(settings: LearnerSettings, key: jax.Array) -> LearnerState:
    """A fresh state; everything in it is a function of `settings` and `key`."""
    key_critic, key_table, key_actor, key_updates = jax.random.split(key, 4)
    obs, action = jnp.zeros((1, settings.obs_dim)), jnp.zeros((1, settings.action_dim))
    task_ids = jnp.zeros((1,), jnp.int32)

    conditioning = value.init_conditioning(settings, key_table)
    features = task_features(settings, conditioning, task_ids)
    inputs = jnp.concatenate([obs, action, features], axis=-1)
    critic = {
        "conditioning": conditioning,
        "ensemble": init_params(settings.critic_network, key_critic, inputs, task_ids),
    }
    inputs = jnp.concatenate([obs, features], axis=-1)
    actor = init_params(settings.actor_network_module, key_actor, inputs, task_ids)
    log_temperature = jnp.log(jnp.float32(settings.init_temperature))
    return LearnerState(
        actor=actor,
        critic=critic,
        target_critic=jax.tree.map(jnp.copy, critic),
        log_temperature=log_temperature,
        actor_opt=settings.optimiser.init(actor),
        critic_opt=settings.optimiser.init(critic),
        temperature_opt=settings.temperature_optimiser.init(log_temperature),
        entropy=jnp.zeros(settings.num_tasks),
        key=jax.random.key_data(key_updates),
        update_steps=jnp.int32(0),
    )


def task_embedding(state: LearnerState) -> jax.Array | None:
    """The learned embeddings of the tasks `[T, D]`; None where the learner tells tasks apart in another way or not."""
    return state.critic["conditioning"].get("embedding")


def policy(state: LearnerState) -> Policy:
    """The part of the state that acting reads."""
    return Policy(state.actor, state.critic["conditioning"])


@partial(jax.jit, static_argnames=("settings", "deterministic"))
def act(
    settings: LearnerSettings,
    policy: Policy,
    obs: Array,
    task_ids: Array,
    key: jax.Array,
    step: Array,
    *,
    deterministic: bool,
) -> jax.Array:
    """Actions `[N, A]` in (-1, 1) for observations `[N, O]` of tasks `[N]`; the mode if `deterministic`.

    `step` is folded into `key`.
    """
    mean, log_std = policy_distribution(settings, policy, jnp.asarray(obs), jnp.asarray(task_ids))
    if deterministic:
        return jnp.tanh(mean)
    noise = jax.random.normal(jax.random.fold_in(key, step), mean.shape)
    return jnp.tanh(mean + jnp.exp(log_std) * noise)


def update_once(
    settings: LearnerSettings, state: LearnerState, batch: Batch, return_scale: jax.Array
) -> tuple[LearnerState, Metrics]:
    """One gradient update: critic, target critic (towards the new critic), actor (with the new critic), temperature."""
    key_target, key_actor = jax.random.split(value.update_key(state.key, state.update_steps))
    temperature = jnp.exp(state.log_temperature)

    # Critic
    factor = reward_factor(settings, return_scale, temperature, state.entropy)
    mean, log_std = policy_distribution(settings, policy(state), batch.next_obs, batch.task_ids)
    noise = jax.random.normal(key_target, mean.shape)
    next_action, next_log_prob = losses.sample_tanh_gaussian(mean, log_std, noise)
    next_outputs = critic_outputs(settings, state.target_critic, batch.next_obs, next_action, batch.task_ids)
    target, target_value = value.critic_target(
        settings, next_outputs, batch.reward * factor[batch.task_ids], batch.discount, -temperature * next_log_prob
    )
    critic, target_critic, critic_opt, metrics = value.fit_critic(
        settings,
        lambda params: critic_outputs(settings, params, batch.obs, batch.action, batch.task_ids),
        target,
        target_value,
        state.critic,
        state.target_critic,
        state.critic_opt,
    )

    # Actor
    def actor_objective(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        mean, log_std = policy_distribution(settings, Policy(params, critic["conditioning"]), batch.obs, batch.task_ids)
        noise = jax.random.normal(key_actor, mean.shape)
        action, log_prob = losses.sample_tanh_gaussian(mean, log_std, noise)
        q = expected_value(settings, critic_outputs(settings, critic, batch.obs, action, batch.task_ids))
        return losses.actor_loss(q, log_prob, temperature), (q, log_prob)

    (actor_loss, (q, log_prob)), actor_grad = jax.value_and_grad(actor_objective, has_aux=True)(state.actor)
    updates, actor_opt = settings.optimiser.update(actor_grad, state.actor_opt, state.actor)
    actor = optax.apply_updates(state.actor, updates)
    entropy = -jnp.mean(log_prob)

    # Temperature
    temperature_loss, temperature_grad = jax.value_and_grad(losses.temperature_loss)(
        state.log_temperature, entropy, settings.target_entropy
    )
    updates, temperature_opt = settings.temperature_optimiser.update(temperature_grad, state.temperature_opt)
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
        critic=critic,
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
    """`[T]`, moved towards each task's mean entropy in the batch; a task absent from the batch keeps its value."""
    one_hot = jax.nn.one_hot(task_ids, entropy.shape[0])
    count = one_hot.sum(axis=0)
    batch_mean = -(log_prob @ one_hot) / jnp.maximum(count, 1)
    return jnp.where(count > 0, ENTROPY_DECAY * entropy + (1 - ENTROPY_DECAY) * batch_mean, entropy)


@partial(jax.jit, static_argnames=("settings",), donate_argnames=("state",))
def update(
    settings: LearnerSettings, state: LearnerState, batches: Batch, return_scale: Array
) -> tuple[LearnerState, Metrics]:
    """`U` updates on `batches` `[U, B, ...]` with raw returns' magnitudes `return_scale` `[T]`.

    Returns the new state (the old one is donated) and each metric's mean over the `U` updates, on the device;
    parameter norms are of the new state.
    """
    once = lambda carry, batch: update_once(settings, carry, batch, jnp.asarray(return_scale))  # noqa: E731
    state, metrics = value.scan_updates(once, state, batches)
    norms = {"critic/param_norm": optax.tree.norm(state.critic), "actor/param_norm": optax.tree.norm(state.actor)}
    return state, metrics | norms
