"""Measures how the tasks' gradients of the critic lie to each other: in one direction, across, or against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learner.critic import CriticSettings, Problem, critic_loss, expected_value
from agents.learner.types import Array, Batch, Params

SIGNS_KEY = 0
"""Seed of the projection's signs, which are the same in all runs and at all times."""


class Measured(NamedTuple):
    """What one measurement finds; each by task.

    Attributes:
      cosine: `[T, T]`, between the tasks' gradients; 0 where a gradient is.
      grad_norm: `[T]`.
      loss: `[T]`, the critic's.
      td_error: `[T]`, mean magnitude of target minus value, in normalised return.
      td_spread: `[T]`, standard deviation of target minus value.
    """

    cosine: jax.Array
    grad_norm: jax.Array
    loss: jax.Array
    td_error: jax.Array
    td_spread: jax.Array


def projected(vector: jax.Array, signs: jax.Array, width: int) -> jax.Array:
    """Return a random projection `[width]` of a vector `[P]`, whose products are those of vectors, but for noise.

    Each component gets a sign and is added to the sum that its place, modulo `width`, belongs to. The products of two
    projections have the mean of the vectors' own and a relative error of about `width^-1/2`. Nothing of `[width, P]` is
    ever made. A prime `width` shares no factor with the widths of layers, so that no column of a layer has a sum for
    itself.
    """
    signed = vector * signs
    return jnp.pad(signed, (0, -len(vector) % width)).reshape(-1, width).sum(axis=0)


def shared(params: Params) -> Params:
    """Return the part of a critic's parameters that all tasks use: all but the tasks' embeddings."""
    return {name: part for name, part in params.items() if name != "conditioning"}


@partial(jax.jit, static_argnames=("settings", "problem_of", "width"))
def measure(
    settings: CriticSettings,
    problem_of: Callable[[Any, Any, Batch, Array, jax.Array], Problem],
    state: Any,
    batches: Batch,
    return_scale: Array,
    key: jax.Array,
    width: int,
) -> Measured:
    """Measure the gradients of the critic's loss, one task after another, so that only their projections are kept.

    Args:
      settings: static.
      problem_of: what the critic learns from a batch, `Learner.critic_problem`.
      state: where learning stands; stays as it is.
      batches: `[T, n, ...]`, transitions of each task.
      return_scale: `[T]`, magnitudes of raw returns.
      key: of the noise.
      width: of the projection.
    """
    sizes = [leaf.size for leaf in jax.tree.leaves(shared(state.critic))]
    signs = jax.random.rademacher(jax.random.key(SIGNS_KEY), (sum(sizes),), jnp.int8)

    def of_task(task: tuple[Batch, jax.Array]) -> tuple[jax.Array, ...]:
        batch, number = task
        problem = problem_of(settings, state, batch, jnp.asarray(return_scale), jax.random.fold_in(key, number))

        def objective(params: Params) -> tuple[jax.Array, jax.Array]:
            outputs = problem.outputs_of(state.critic | params)
            return critic_loss(settings, outputs, problem.target), outputs

        (loss, outputs), grad = jax.value_and_grad(objective, has_aux=True)(shared(state.critic))
        error = problem.target_value - expected_value(settings, outputs)
        flat = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(grad)])
        norms = optax.tree.norm(grad), loss, jnp.mean(jnp.abs(error)), jnp.std(error)
        return projected(flat, signs, width), *norms

    rows, *others = jax.lax.map(of_task, (batches, jnp.arange(len(batches.reward))))
    unit = rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), jnp.finfo(rows.dtype).tiny)
    return Measured(jnp.clip(unit @ unit.T, -1, 1), *others)
