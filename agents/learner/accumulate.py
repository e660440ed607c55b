"""Computes a network on a batch part by part, so that no more than a part's activations are ever held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.learner.types import Array


def in_parts(function: Callable[..., Any], parts: int, *inputs: Array, axis: int = 0) -> Any:
    """Return `function(*inputs)`, computed one part of the rows after another; gradients are summed over the parts.

    The gradient computes each part's activations again instead of keeping them. Values are the same whatever the number
    of parts, gradients up to the order of sums. A part takes every `parts`-th row, so that a batch which is split over
    devices stays where it is. Where the rows do not divide into equal parts, as when a policy acts, they are one part.

    Args:
      function: maps `inputs` to an array or a tree of arrays, row by row.
      parts: how many there are.
      inputs: `[B, ...]`.
      axis: the axis of the rows in what `function` returns.
    """
    rows = inputs[0].shape[0]
    if parts == 1 or rows % parts:
        return function(*inputs)
    split = [jnp.moveaxis(jnp.reshape(one, (rows // parts, parts, *one.shape[1:])), 1, 0) for one in inputs]
    computed = jax.lax.map(jax.checkpoint(lambda part: function(*part)), tuple(split))

    def joined(values: jax.Array) -> jax.Array:  # [parts, ..., rows / parts, ...]
        last = jnp.moveaxis(values, 0, axis + 1)
        return jnp.reshape(last, (*last.shape[:axis], rows, *last.shape[axis + 2 :]))

    return jax.tree.map(joined, computed)
