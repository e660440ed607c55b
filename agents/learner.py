"""The BRC learner: `init`, `act` and `update`, pure functions of an explicit state (specs: BRC)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents import losses
from agents.networks import Actor, critic_ensemble, init_params
from agents.types import Array, Batch, LearnerState, Metrics, Params, Policy

ENTROPY_DECAY = 0.99  # of the running per-task policy entropy that the paper's reward scale needs


@dataclass(frozen=True)
class LearnerSettings:
    """Static settings of the two compiled functions: the agent's and model's configuration, and the tasks' sizes."""

    num_tasks: int
    obs_dim: int
    action_dim: int
    width: int
    depth: int
    actor_width: int
    actor_depth: int
    discount: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    init_temperature: float = 0.1
    temperature_learning_rate: float = 3e-4
    target_entropy_per_dim: float = -0.5
    num_bins: int = 101
    v_max: float = 10.0
    ensemble_size: int = 2
    ensemble_target: Literal["mean", "min"] = "mean"
    embedding_dim: int = 32
    value_loss: Literal["categorical", "squared"] = "categorical"
    conditioning: Literal["embedding", "one_hot", "none", "heads"] = "embedding"
    reward_scale: Literal["release", "paper", "off"] = "release"
    network: Literal["bronet", "mlp"] = "bronet"
    actor_network: Literal["bronet", "mlp"] = "bronet"

    @property
    def target_entropy(self) -> float:
        """In nats, of the padded action; BRC uses -A / 2."""
        return self.target_entropy_per_dim * self.action_dim

    @property
    def num_heads(self) -> int:
        return self.num_tasks if self.conditioning == "heads" else 1

    @property
    def num_outputs(self) -> int:
        return self.num_bins if self.value_loss == "categorical" else 1

    @cached_property
    def critic_network(self) -> nn.Module:
        return critic_ensemble(
            self.ensemble_size,
            network=self.network,
            width=self.width,
            depth=self.depth,
            num_outputs=self.num_outputs,
            num_heads=self.num_heads,
        )

    @cached_property
    def actor_network_module(self) -> nn.Module:
        return Actor(self.actor_network, self.actor_width, self.actor_depth, self.action_dim, self.num_heads)

    @cached_property
    def optimiser(self) -> optax.GradientTransformation:
        return optax.adamw(self.learning_rate, weight_decay=self.weight_decay)

    @cached_property
    def temperature_optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.temperature_learning_rate, b1=0.5)


def task_features(settings: LearnerSettings, conditioning: Params, task_ids: jax.Array) -> jax.Array:
    """What tells the networks the task, `[B, C]`: unit-norm embedding rows, one-hot rows, or nothing (`C = 0`)."""
    if settings.conditioning == "embedding":
        rows = conditioning["embedding"][task_ids]
        return rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    if settings.conditioning == "one_hot":
        return jax.nn.one_hot(task_ids, settings.num_tasks)
    return jnp.zeros((*task_ids.shape, 0))


def critic_outputs(
    settings: LearnerSettings, params: Params, obs: jax.Array, action: jax.Array, task_ids: jax.Array
) -> jax.Array:
    """Logits `[E, B, K]`, or values `[E, B, 1]` with the squared loss."""
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


def expected_value(settings: LearnerSettings, outputs: jax.Array) -> jax.Array:
    """`Q` `[B]`, normalised: expectation over bins of the ensemble's mean distribution (or its mean value)."""
    if settings.value_loss == "squared":
        return reduce_ensemble(settings, outputs[..., 0])
    bins = losses.support(settings.num_bins, settings.v_max)
    if settings.ensemble_target == "min":
        return jnp.min(jax.nn.softmax(outputs) @ bins, axis=0)
    return jnp.mean(jax.nn.softmax(outputs), axis=0) @ bins


def reduce_ensemble(settings: LearnerSettings, values: jax.Array) -> jax.Array:
    return jnp.min(values, axis=0) if settings.ensemble_target == "min" else jnp.mean(values, axis=0)


def target_probs(settings: LearnerSettings, logits: jax.Array) -> jax.Array:
    """Target distribution `[B, K]` of `logits` `[E, B, K]`: the ensemble's mean, or the member of least value."""
    probs = jax.nn.softmax(logits)
    if settings.ensemble_target == "mean":
        return jnp.mean(probs, axis=0)
    values = probs @ losses.support(settings.num_bins, settings.v_max)
    return jnp.take_along_axis(probs, jnp.argmin(values, axis=0)[None, :, None], axis=0)[0]


def reward_scale(
    settings: LearnerSettings, return_scale: jax.Array, temperature: jax.Array, entropy: jax.Array
) -> jax.Array:
    """Factor `[T]` that turns raw into normalised rewards: `v_max / max(G_i + lambda_i, 1)`.

    `G_i` is `return_scale`; `lambda_i` is the release's `-temperature * target_entropy / (2 (1 - discount))` or the
    paper's `temperature * entropy_i / (1 - discount)`. The floor of 1 is ours: returns can be all zero for long.
    """
    if settings.reward_scale == "off":
        return jnp.ones_like(return_scale)
    horizon = 1 / (1 - settings.discount)
    if settings.reward_scale == "paper":
        entropy_return = temperature * entropy * horizon
    else:
        entropy_return = -temperature * settings.target_entropy / 2 * horizon
    return settings.v_max / jnp.maximum(return_scale + entropy_return, 1.0)


def init(settings: LearnerSettings, key: jax.Array) -> LearnerState:
    """A fresh state; everything in it is a function of `settings` and `key`."""
    key_critic, key_table, key_actor, key_updates = jax.random.split(key, 4)
    obs, action = jnp.zeros((1, settings.obs_dim)), jnp.zeros((1, settings.action_dim))
    task_ids = jnp.zeros((1,), jnp.int32)

    conditioning = {}
    if settings.conditioning == "embedding":
        shape = (settings.num_tasks, settings.embedding_dim)
        conditioning = {"embedding": nn.linear.default_embed_init(key_table, shape, jnp.float32)}
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
    *,
    deterministic: bool,
) -> jax.Array:
    """Actions `[N, A]` in (-1, 1) for observations `[N, O]` of tasks `[N]`; the mode if `deterministic`."""
    mean, log_std = policy_distribution(settings, policy, jnp.asarray(obs), jnp.asarray(task_ids))
    if deterministic:
        return jnp.tanh(mean)
    return jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))


def update_once(
    settings: LearnerSettings, state: LearnerState, batch: Batch, return_scale: jax.Array
) -> tuple[LearnerState, Metrics]:
    """One gradient update: critic, target critic (towards the new critic), actor (with the new critic), temperature."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.update_steps)
    key_target, key_actor = jax.random.split(key)
    temperature = jnp.exp(state.log_temperature)
    bins = losses.support(settings.num_bins, settings.v_max)

    # Critic
    scale = reward_scale(settings, return_scale, temperature, state.entropy)
    reward = batch.reward * scale[batch.task_ids]
    discount = settings.discount * batch.mask
    mean, log_std = policy_distribution(settings, policy(state), batch.next_obs, batch.task_ids)
    noise = jax.random.normal(key_target, mean.shape)
    next_action, next_log_prob = losses.sample_tanh_gaussian(mean, log_std, noise)
    entropy_bonus = -temperature * next_log_prob
    next_outputs = critic_outputs(settings, state.target_critic, batch.next_obs, next_action, batch.task_ids)
    if settings.value_loss == "categorical":
        next_probs = target_probs(settings, next_outputs)
        target = losses.categorical_target(next_probs, reward, discount, entropy_bonus, bins)
        target_value = target @ bins
    else:
        next_value = reduce_ensemble(settings, next_outputs[..., 0])
        target = target_value = reward + discount * (next_value + entropy_bonus)
    target = jax.lax.stop_gradient(target)

    def critic_objective(params: Params) -> tuple[jax.Array, jax.Array]:
        outputs = critic_outputs(settings, params, batch.obs, batch.action, batch.task_ids)
        if settings.value_loss == "categorical":
            return losses.cross_entropy(outputs, target), outputs
        return losses.squared_error(outputs[..., 0], target), outputs

    (critic_loss, outputs), critic_grad = jax.value_and_grad(critic_objective, has_aux=True)(state.critic)
    updates, critic_opt = settings.optimiser.update(critic_grad, state.critic_opt, state.critic)
    critic: Params = optax.apply_updates(state.critic, updates)
    target_critic = optax.incremental_update(critic, state.target_critic, settings.tau)

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

    metrics = {
        "critic/loss": critic_loss,
        "critic/q_mean": jnp.mean(q),
        "critic/q_std": jnp.std(q),
        "critic/target_mean": jnp.mean(target_value),
        "critic/abs_error": jnp.mean(jnp.abs(expected_value(settings, outputs) - target_value)),
        "critic/grad_norm": optax.tree.norm(critic_grad),
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
    state, metrics = jax.lax.scan(
        lambda carry, batch: update_once(settings, carry, batch, jnp.asarray(return_scale)), state, batches
    )
    norms = {"critic/param_norm": optax.tree.norm(state.critic), "actor/param_norm": optax.tree.norm(state.actor)}
    return state, {name: values.mean() for name, values in metrics.items()} | norms


def num_params(params: Params) -> int:
    """Number of scalars in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
