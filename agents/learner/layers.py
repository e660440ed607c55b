"""The layers that networks are made of: products in the configured precision, and norms with a gradient of few passes.

Parameters, norms, activations and gradients are float32 whatever the precision of products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-6


class Dense(nn.Module):
    """A dense layer maps `[B, I]` to `[B, features]`; parameters are a kernel and a bias.

    Attributes:
      features: the width of what comes out.
      precision: of the product and of the products of its gradient, `float32` or `bfloat16`.
    """

    features: int
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.zeros, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return (x @ kernel if self.precision == "float32" else bfloat16_product(x, kernel)) + bias


class LayerNorm(nn.Module):
    """A layer norm of `[B, I]` over `I`; parameters are a scale and a bias."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return layer_norm(x, scale, bias)


@jax.custom_vjp
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Return rows `[B, I]` of mean 0 and variance 1, times `scale` `[I]`, plus `bias` `[I]` (arXiv:1607.06450).

    The gradient by hand keeps one array of activations.
    """
    return _norm_forward(x, scale, bias)[0]


def _norm_forward(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, Any]:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.maximum(jnp.mean(jnp.square(x), axis=-1, keepdims=True) - jnp.square(mean), 0.0)
    inverse = jax.lax.rsqrt(variance + NORM_EPSILON)
    unit = (x - mean) * inverse
    return unit * scale + bias, (unit, inverse, scale)


def _norm_backward(kept: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    unit, inverse, scale = kept
    scaled = grad * scale
    along = jnp.mean(scaled * unit, axis=-1, keepdims=True)
    inward = inverse * (scaled - jnp.mean(scaled, axis=-1, keepdims=True) - unit * along)
    return inward, jnp.sum(grad * unit, axis=0), jnp.sum(grad, axis=0)


layer_norm.defvjp(_norm_forward, _norm_backward)


def _contraction(left_axis: int, right_axis: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Return the sum of products of two matrices over an axis of each: factors in bfloat16, sums in float32."""

    def plain(left: jax.Array, right: jax.Array) -> jax.Array:
        factors = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
        axes = (((left_axis,), (right_axis,)), ((), ()))
        return jax.lax.dot_general(*factors, axes, preferred_element_type=jnp.float32)

    contract = jax.custom_batching.custom_vmap(plain)

    @contract.def_vmap
    def _(size: int, batched: list[bool], left: jax.Array, right: jax.Array) -> tuple[jax.Array, bool]:
        if jax.default_backend() != "cpu":
            return jax.vmap(plain, [0 if one else None for one in batched])(left, right), True
        # XLA has no products of stacks of bfloat16 matrices on a CPU, so each member has its own.
        pick = lambda values, split, number: values[number] if split else values  # noqa: E731
        members = [contract(pick(left, batched[0], n), pick(right, batched[1], n)) for n in range(size)]
        return jnp.stack(members), True

    return contract


_forward, _to_inputs, _to_kernel = _contraction(1, 0), _contraction(1, 1), _contraction(0, 0)


@jax.custom_vjp
def bfloat16_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return `x` `[B, I]` times `kernel` `[I, O]`, float32, of factors in bfloat16 and sums in float32.

    The two products of the gradient are computed alike.
    """
    return _forward(x, kernel)


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    return _forward(x, kernel), (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))


def _product_backward(kept: Any, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    return _to_inputs(grad, kernel), _to_kernel(x, grad)


bfloat16_product.defvjp(_product_forward, _product_backward)
