"""Pure functions of one update: return distributions, policies and losses (specs: BRC, losses)."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp


def support(num_bins: int, v_max: float) -> jax.Array:
    """Return the centres of the return bins, `[K]`, evenly spaced on [-v_max, v_max], in normalised return."""
    return jnp.linspace(-v_max, v_max, num_bins)


def project(probs: jax.Array, atoms: jax.Array, support: jax.Array) -> jax.Array:
    """Move the mass at shifted atoms onto the two nearest bins of a fixed support.

    Bellemare et al. 2017, algorithm 1 (arXiv:1707.06887). A CPU scatters the `B x K` masses, several times as fast as
    the sum over all pairs of bins, which suits accelerators: it fuses into one loop that never stores `[B, K, K]`,
    and its order is fixed.

    Args:
      probs: `[B, K]`, rows sum to 1.
      atoms: `[B, K]`, where each bin's mass lands, in normalised return; clipped to the support.
      support: `[K]`, evenly spaced, increasing.
    Returns:
      `[B, K]`, rows sum to 1. Gradients are not stopped here.
    """
    chex.assert_equal_shape([probs, atoms])
    chex.assert_shape(support, probs.shape[-1:])
    num_bins = support.shape[0]
    spacing = (support[-1] - support[0]) / (num_bins - 1)
    position = jnp.clip((atoms - support[0]) / spacing, 0, num_bins - 1)
    return jax.lax.platform_dependent(probs, position, cpu=spread_by_scatter, default=spread_by_sum)


def spread_by_sum(probs: jax.Array, position: jax.Array) -> jax.Array:
    """Split mass `[B, K]` at fractional bin numbers `position` `[B, K]` between the two bins around each number."""
    distance = jnp.abs(position[:, :, None] - jnp.arange(probs.shape[1], dtype=position.dtype))
    return jnp.sum(probs[:, :, None] * jnp.clip(1 - distance, 0, 1), axis=1)


def spread_by_scatter(probs: jax.Array, position: jax.Array) -> jax.Array:
    """Do what `spread_by_sum` does, quickly on a CPU."""
    rows, num_bins = probs.shape
    lower = jnp.floor(position)
    upper_share = position - lower
    bins = lower.astype(jnp.int32)
    # Where the upper neighbour would be outside, its share is 0.
    upper = jnp.minimum(bins + 1, num_bins - 1)
    row = jnp.arange(rows)[:, None]
    spread = jnp.zeros_like(probs).at[row, bins].add(probs * (1 - upper_share), mode="promise_in_bounds")
    return spread.at[row, upper].add(probs * upper_share, mode="promise_in_bounds")


def categorical_target(
    probs: jax.Array, reward: jax.Array, discount: jax.Array, entropy_bonus: jax.Array, support: jax.Array
) -> jax.Array:
    """Return the target distribution `[B, K]`: bin `z` moves to `reward + discount * (z + entropy_bonus)`.

    Args:
      probs: `[B, K]`, the target critic at the next state and action, mean over the ensemble.
      reward: `[B]`, normalised.
      discount: `[B]`, 0 where the episode terminated.
      entropy_bonus: `[B]`, `-temperature * log_prob` of the next action.
      support: `[K]`.
    """
    atoms = reward[:, None] + discount[:, None] * (support + entropy_bonus[:, None])
    return project(probs, atoms, support)


def exponentials(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return logits `[..., K]` less their largest, the exponentials of that, and their sums `[..., 1]`."""
    shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
    powers = jnp.exp(shifted)
    return shifted, powers, jnp.sum(powers, axis=-1, keepdims=True)


@jax.custom_vjp
def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Return the cross-entropy of `logits` `[E, B, K]` to `target` `[B, K]`: mean over batch, summed over members.

    The rows of `target` sum to 1, and get no gradient.
    """
    return _cross_entropy_forward(logits, target)[0]


def _cross_entropy_forward(logits: jax.Array, target: jax.Array) -> tuple[jax.Array, Any]:
    chex.assert_shape(target, logits.shape[1:])
    shifted, powers, total = exponentials(logits)
    each = jnp.log(total[..., 0]) - jnp.sum(target * shifted, axis=-1)
    return jnp.sum(jnp.mean(each, axis=-1)), (powers, total, target)


def _cross_entropy_backward(kept: Any, grad: jax.Array) -> tuple[jax.Array, None]:
    powers, total, target = kept
    return (powers / total - target) * (grad / len(target)), None


cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


@jax.custom_vjp
def expectation(logits: jax.Array, support: jax.Array) -> jax.Array:
    """Return the mean `[...]` of distributions by `logits` `[..., K]` on bins `support` `[K]`, that get no gradient."""
    return _expectation_forward(logits, support)[0]


def _expectation_forward(logits: jax.Array, support: jax.Array) -> tuple[jax.Array, Any]:
    _, powers, total = exponentials(logits)
    mean = jnp.sum(powers * support, axis=-1) / total[..., 0]
    return mean, (powers, total, mean, support)


def _expectation_backward(kept: Any, grad: jax.Array) -> tuple[jax.Array, None]:
    powers, total, mean, support = kept
    return powers * (support - mean[..., None]) * (grad[..., None] / total), None


expectation.defvjp(_expectation_forward, _expectation_backward)


def squared_error(values: jax.Array, target: jax.Array) -> jax.Array:
    """Return the squared error of `values` `[E, B]` to `target` `[B]`: mean over the batch, summed over members."""
    chex.assert_shape(target, values.shape[1:])
    return jnp.sum(jnp.mean(jnp.square(values - target), axis=-1))


def of_action(outputs: jax.Array, action: jax.Array) -> jax.Array:
    """Return the chosen action's part `[E, B, K]` of `outputs` `[E, B, A, K]`; `action` is `[B]`."""
    return jnp.take_along_axis(outputs, action[None, :, None, None], axis=-2).squeeze(-2)


def mixed_over_actions(logits: jax.Array, log_policy: jax.Array) -> jax.Array:
    """Mix the actions' distributions, `logits` `[E, B, A, K]`, by a policy `[B, A]` into logits `[E, B, K]`."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_policy[None, :, :, None], axis=-2)


def sample_tanh_gaussian(mean: jax.Array, log_std: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return an action `[B, A]` in (-1, 1) and its log-probability `[B]`.

    The tanh correction uses log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), which does not overflow.

    Args:
      mean: `[B, A]`, before tanh.
      log_std: `[B, A]`.
      noise: `[B, A]`, standard normal.
    """
    pre_tanh = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * jnp.square(noise) - log_std - 0.5 * jnp.log(2 * jnp.pi)
    correction = 2 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2 * pre_tanh))
    return jnp.tanh(pre_tanh), jnp.sum(gaussian - correction, axis=-1)


def actor_loss(q: jax.Array, log_prob: jax.Array, temperature: jax.Array) -> jax.Array:
    """Return `mean(temperature * log_prob - Q)` over the batch; `q` and `log_prob` are `[B]`."""
    chex.assert_equal_shape([q, log_prob])
    chex.assert_rank([q, temperature], [1, 0])
    return jnp.mean(temperature * log_prob - q)


def temperature_loss(log_temperature: jax.Array, entropy: jax.Array, target_entropy: float) -> jax.Array:
    """Return `temperature * (entropy - target_entropy)`; `entropy` is the batch mean, in nats."""
    return jnp.exp(log_temperature) * (entropy - target_entropy)
