"""What learners with a critic share: how the critic knows the task, the ensemble, the targets and the step (BRC)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from agents.learner import losses
from agents.learner.networks import critic_ensemble
from agents.learner.parts import critic_part, trained
from agents.learner.types import Batch, Metrics, Params
from conf.agents import AgentConfig, ModelConfig

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class CriticSettings(AgentConfig, ModelConfig):
    """Static settings of a critic and its updates: what the configuration says, and the tasks' sizes.

    Attributes:
      num_tasks: tasks of the run.
      action_dim: the padded width of a continuous action, or the number of discrete ones.
      frozen: the parts of the networks that are not trained.
    """

    num_tasks: int
    action_dim: int
    frozen: tuple[str, ...]

    @property
    def num_heads(self) -> int:
        """The number of output heads: one for each task with `conditioning=heads`, else one for all tasks."""
        return self.num_tasks if self.conditioning == "heads" else 1

    @property
    def num_outputs(self) -> int:
        """The number of outputs that describe one value."""
        return self.num_bins if self.value_loss == "categorical" else 1

    @property
    def bins(self) -> jax.Array:
        """The centres of the return bins `[K]`."""
        return losses.support(self.num_bins, self.v_max)

    @cached_property
    def optimiser(self) -> optax.GradientTransformation:
        """The optimiser of the critic and of the actor, AdamW."""
        return optax.adamw(self.learning_rate, weight_decay=self.weight_decay)


ONE_TASK = jax.ShapeDtypeStruct((1,), jnp.int32)
"""The task of one row."""


def make_critic(settings: CriticSettings, num_outputs: int) -> nn.Module:
    """Return the ensemble `[B, I] -> [E, B, num_outputs]`."""
    return critic_ensemble(
        settings.ensemble_size,
        network=settings.network,
        layer_norm=settings.layer_norm,
        width=settings.width,
        depth=settings.depth,
        num_outputs=num_outputs,
        num_heads=settings.num_heads,
        precision=settings.precision,
    )


def init_conditioning(settings: CriticSettings, key: jax.Array) -> Params:
    """Return the initial table of the task embedding, where there is one."""
    if settings.conditioning != "embedding":
        return {}
    shape = (settings.num_tasks, settings.embedding_dim)
    return {"embedding": nn.linear.default_embed_init(key, shape, jnp.float32)}


def input_shape(settings: CriticSettings, conditioning: Params, *widths: int) -> jax.ShapeDtypeStruct:
    """Return the shape of one row of a network's input: parts of these widths, and what tells the task."""
    features: Any = jax.eval_shape(partial(task_features, settings), conditioning, ONE_TASK)
    return jax.ShapeDtypeStruct((1, sum(widths) + features.shape[-1]), jnp.float32)


@jax.jit
def copied(params: Params) -> Params:
    """Return a copy with memory of its own, which a single program makes for all shapes."""
    return jax.tree.map(jnp.copy, params)


@partial(jax.jit, static_argnames=("settings",))
def fresh_optimiser(settings: Any, params: Params) -> Any:
    """Return the first state of the settings' optimiser, which is compiled once for all runs of these settings."""
    return settings.optimiser.init(params)


def task_features(settings: CriticSettings, conditioning: Params, task_ids: jax.Array) -> jax.Array:
    """Return what tells the networks the task, `[B, C]`: embeddings of norm 1, one-hot rows, or nothing (`C = 0`)."""
    if settings.conditioning == "embedding":
        rows = conditioning["embedding"][task_ids]
        order = 2 if settings.embedding_norm == "l2" else 1
        return rows / jnp.linalg.norm(rows, order, axis=-1, keepdims=True)
    if settings.conditioning == "one_hot":
        return jax.nn.one_hot(task_ids, settings.num_tasks)
    return jnp.zeros((*task_ids.shape, 0))


def expected_value(settings: CriticSettings, outputs: jax.Array) -> jax.Array:
    """Return `Q` `[...]`, normalised, of `outputs` `[E, ..., K]`: the members' mean expectation, or the least."""
    values = outputs[..., 0] if settings.value_loss == "squared" else losses.expectation(outputs, settings.bins)
    return reduce_ensemble(settings, values)


def reduce_ensemble(settings: CriticSettings, values: jax.Array) -> jax.Array:
    """Return the members' values `[E, ...]` as one `[...]`."""
    return jnp.min(values, axis=0) if settings.ensemble_target == "min" else jnp.mean(values, axis=0)


def target_probs(settings: CriticSettings, logits: jax.Array) -> jax.Array:
    """Return the target `[B, K]` of `logits` `[E, B, K]`: the ensemble's mean, or the member of least value."""
    probs = jax.nn.softmax(logits)
    if settings.ensemble_target == "mean":
        return jnp.mean(probs, axis=0)
    values = probs @ settings.bins
    return jnp.take_along_axis(probs, jnp.argmin(values, axis=0)[None, :, None], axis=0)[0]


def reward_factor(settings: CriticSettings, return_scale: jax.Array, entropy_return: jax.Array | float) -> jax.Array:
    """Return the factor `[T]` that turns raw into normalised rewards: `v_max / max(G_i + lambda_i, 1)`.

    `G_i` is `return_scale`, `lambda_i` is `entropy_return`. The floor of 1 is ours: returns can be all zero for long.
    """
    if settings.reward_scale == "off":
        return jnp.ones_like(return_scale)
    return settings.v_max / jnp.maximum(return_scale + entropy_return, 1.0)


def critic_target(
    settings: CriticSettings, next_outputs: jax.Array, reward: jax.Array, discount: jax.Array, bonus: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return what the critic is fitted to, without gradient, and its expectation `[B]`.

    Args:
      settings: static.
      next_outputs: `[E, B, K]`, the target critic at the next state and action.
      reward: `[B]`, normalised.
      discount: `[B]`, 0 where the episode terminated.
      bonus: `[B]`, added to the value of the next state.
    Returns:
      A distribution `[B, K]`, or the value `[B]` with the squared loss.
    """
    chex.assert_rank([next_outputs, reward], [3, 1])
    chex.assert_equal_shape([reward, discount, bonus])
    if settings.value_loss == "categorical":
        bins = settings.bins
        target = losses.categorical_target(target_probs(settings, next_outputs), reward, discount, bonus, bins)
        target = jax.lax.stop_gradient(target)
        return target, target @ bins
    target_value = jax.lax.stop_gradient(reward + discount * (reduce_ensemble(settings, next_outputs[..., 0]) + bonus))
    return target_value, target_value


class Problem(NamedTuple):
    """What the critic is to learn from one batch.

    Attributes:
      outputs_of: parameters -> outputs `[E, B, K]`.
      target, target_value: what `critic_target` returns.
    """

    outputs_of: Callable[[Params], jax.Array]
    target: jax.Array
    target_value: jax.Array


def critic_loss(settings: CriticSettings, outputs: jax.Array, target: jax.Array) -> jax.Array:
    """Return the configured loss of outputs `[E, B, K]`: mean over the batch, summed over members."""
    if settings.value_loss == "categorical":
        return losses.cross_entropy(outputs, target)
    return losses.squared_error(outputs[..., 0], target)


def fit_critic(
    settings: CriticSettings,
    outputs_of: Callable[[Params], jax.Array],
    target: jax.Array,
    target_value: jax.Array,
    critic: Params,
    target_critic: Params,
    optimiser_state: Any,
) -> tuple[Params, Params, Any, Metrics]:
    """Take one step of critic and target critic (towards the new critic).

    Args:
      settings: static.
      outputs_of: parameters -> outputs `[E, B, K]` for the batch.
      target, target_value: what `critic_target` returns.
      critic, target_critic, optimiser_state: what they are before the step.
    Returns:
      The three after the step, and metrics.
    """

    def objective(params: Params) -> tuple[jax.Array, jax.Array]:
        outputs = outputs_of(params)
        return critic_loss(settings, outputs, target), outputs

    (loss, outputs), grad = jax.value_and_grad(objective, has_aux=True)(critic)
    updates, optimiser_state = settings.optimiser.update(grad, optimiser_state, critic)
    critic = optax.apply_updates(critic, trained(updates, critic_part, settings.frozen))
    metrics = {
        "critic/loss": loss,
        "critic/target_mean": jnp.mean(target_value),
        "critic/abs_error": jnp.mean(jnp.abs(expected_value(settings, outputs) - target_value)),
        "critic/grad_norm": optax.tree.norm(grad),
    }
    return critic, optax.incremental_update(critic, target_critic, settings.tau), optimiser_state, metrics


def update_key(key_data: jax.Array, update_steps: jax.Array) -> jax.Array:
    """Return the key of one update: its number folded into the run's."""
    return jax.random.fold_in(jax.random.wrap_key_data(key_data), update_steps)


def scan_updates(update_once: Callable[[S, Any], tuple[S, Metrics]], state: S, inputs: Any) -> tuple[S, Metrics]:
    """Do `U` updates in one compiled loop, on `inputs` `[U, ...]`, such as batches; each metric is their mean."""
    state, metrics = jax.lax.scan(update_once, state, inputs)
    return state, {name: values.mean() for name, values in metrics.items()}


def unrolled_updates(
    update_once: Callable[[S, Batch], tuple[S, Metrics]], state: S, batches: Batch
) -> tuple[S, Metrics]:
    """Do the same as `scan_updates`, unrolled: in a loop, XLA runs a CPU's convolutions three times as slowly."""
    collected = []
    for number in range(len(batches.reward)):
        batch = jax.tree.map(lambda values, number=number: values[number], batches)
        state, metrics = update_once(state, batch)
        collected.append(metrics)
    return state, {name: jnp.stack([metrics[name] for metrics in collected]).mean() for name in collected[0]}
