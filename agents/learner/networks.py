"""Flax modules: torsos, image encoder, critic ensemble and tanh-Gaussian actor, and how they start (BRC)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from agents.learner import architecture
from agents.learner.architecture import ENCODER_BLOCKS, ENCODER_STAGES, encoder_features, encoder_stage
from agents.learner.layers import Dense, LayerNorm
from agents.learner.types import Array

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0

KERNEL_SCALE: float = 2.0**0.5
"""Scale of an orthogonal initial kernel."""
KERNEL_SCALES: dict[str, float] = {"raw_log_std": 1.0}
"""Layers whose initial kernel has another scale; the release calls this one `log_std_scale`."""


class BroNet(nn.Module):
    """The residual torso maps `[B, I]` to `[B, width]` (Nauman et al. 2024, arXiv:2405.16158; BRC, networks).

    The first layer is Dense -> LayerNorm -> ReLU. Then follow `depth` blocks of Dense -> LayerNorm -> ReLU -> Dense ->
    LayerNorm, each of which is added to its input.
    """

    width: int
    depth: int
    layer_norm: bool
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(layer_norm(self, Dense(self.width, self.precision)(x)))
        for _ in range(self.depth):
            y = nn.relu(layer_norm(self, Dense(self.width, self.precision)(x)))
            x = x + layer_norm(self, Dense(self.width, self.precision)(y))
        return x


class PreNormNet(nn.Module):
    """The residual torso maps `[B, I]` to `[B, width]`, with norms before the layers (as SimBa, arXiv:2410.09754).

    After a dense layer follow `depth` blocks of LayerNorm -> Dense -> ReLU -> Dense, each of which is added to its
    input, and a LayerNorm at the end. SimBa's blocks are four times as wide inside and its inputs are divided by
    running statistics; here both are as in BroNet, so that torsos of one width have the same layers.
    """

    width: int
    depth: int
    layer_norm: bool
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Dense(self.width, self.precision)(x)
        for _ in range(self.depth):
            y = nn.relu(Dense(self.width, self.precision)(layer_norm(self, x)))
            x = x + Dense(self.width, self.precision)(y)
        return layer_norm(self, x)


class Mlp(nn.Module):
    """The plain torso maps `[B, I]` to `[B, width]` with as many dense layers as a BroNet has, and no LayerNorm."""

    width: int
    depth: int
    layer_norm: bool
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(1 + 2 * self.depth):
            x = nn.relu(Dense(self.width, self.precision)(x))
        return x


TORSOS: dict[str, type[BroNet | Mlp | PreNormNet]] = dict(
    zip(architecture.TORSOS, (BroNet, Mlp, PreNormNet), strict=True)
)


def layer_norm(torso: BroNet | PreNormNet, x: jax.Array) -> jax.Array:
    """Return `x` after a LayerNorm of the torso that calls; `x` itself where the torso goes without."""
    return LayerNorm()(x) if torso.layer_norm else x


def select_head(x: jax.Array, num_heads: int, task_ids: jax.Array) -> jax.Array:
    """Return each row's own head, `[B, H * F] -> [B, F]`; with one head, `x` itself."""
    if num_heads == 1:
        return x
    heads = x.reshape(*x.shape[:-1], num_heads, -1)
    return jnp.take_along_axis(heads, task_ids[..., None, None], axis=-2).squeeze(-2)


class Critic(nn.Module):
    """One member of the ensemble maps features `[B, I]` to outputs `[B, K]` (K = 1 with the squared loss)."""

    network: str
    layer_norm: bool
    width: int
    depth: int
    num_outputs: int
    num_heads: int
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array, task_ids: jax.Array) -> jax.Array:
        x = TORSOS[self.network](self.width, self.depth, self.layer_norm, self.precision)(x)
        return select_head(Dense(self.num_heads * self.num_outputs, self.precision)(x), self.num_heads, task_ids)


class Encoder(nn.Module):
    """The encoder maps frames `[B, stack, H, W]`, uint8, to features `[B, 16 * channels]` (Espeholt et al. 2018,
    arXiv:1802.01561).

    Each of three stages has a 3 x 3 convolution, 3 x 3 max-pooling with stride 2 and two residual blocks of two 3 x 3
    convolutions. Dense and LayerNorm follow. The first stage has `channels` channels, the others have twice as many.
    Where `stride` is above 1, the first convolution has that stride and a kernel of twice that size. `precision` is
    that of the dense layer; convolutions stay float32.
    """

    channels: int
    stride: int
    precision: str

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        x = jnp.moveaxis(frames, -3, -1).astype(jnp.float32) / 255
        for stage in range(ENCODER_STAGES):
            channels, kernel, stride = encoder_stage(self.channels, self.stride, stage)
            x = nn.Conv(channels, (kernel, kernel), (stride, stride))(x)
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
            for _ in range(ENCODER_BLOCKS):
                y = nn.Conv(channels, (3, 3))(nn.relu(x))
                x = x + nn.Conv(channels, (3, 3))(nn.relu(y))
        x = nn.relu(x).reshape(x.shape[0], -1)
        return LayerNorm()(Dense(encoder_features(self.channels), self.precision)(x))


def critic_ensemble(ensemble_size: int, **kwargs) -> nn.Module:
    """Return `ensemble_size` independent critics, whose parameters are stacked on axis 0; outputs are `[E, B, K]`."""
    return nn.vmap(
        Critic,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=None,  # type: ignore[arg-type]
        out_axes=0,
        axis_size=ensemble_size,
    )(**kwargs)


class Actor(nn.Module):
    """The actor maps features `[B, I]` to mean and log standard deviation, each `[B, A]`, of a Gaussian before tanh."""

    network: str
    layer_norm: bool
    width: int
    depth: int
    action_dim: int
    num_heads: int
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array, task_ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = TORSOS[self.network](self.width, self.depth, self.layer_norm, self.precision)(x)
        mean = Dense(self.num_heads * self.action_dim, self.precision, name="mean")(x)
        raw_log_std = Dense(self.num_heads * self.action_dim, self.precision, name="raw_log_std")(x)
        mean, raw = (select_head(head, self.num_heads, task_ids) for head in (mean, raw_log_std))
        log_std = LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * 0.5 * (1 + jnp.tanh(raw))
        return mean, log_std


def init_params(network: nn.Module, key: jax.Array, *inputs: Any) -> Any:
    """Return initial parameters: orthogonal kernels scaled by sqrt(2) or `KERNEL_SCALES`, biases 0, norms 1.

    Of the inputs only shapes and types are looked at. Kernels `[E, I, O]` of an ensemble are drawn member by member, a
    convolution's `[H, W, I, O]` as one `[H W I, O]`. One decomposition is compiled and run at a time: several in one
    program can block XLA's CPU thread pool for ever (seen with jax 0.10.2 on 2 cores).
    """
    shapes = jax.eval_shape(network.init, key, *inputs)["params"]
    paths, structure = jax.tree_util.tree_flatten_with_path(shapes)
    leaves = [
        _init_leaf([part.key for part in path], leaf.shape, jax.random.fold_in(key, index))
        for index, (path, leaf) in enumerate(paths)
    ]
    return jax.tree.unflatten(structure, leaves)


def _init_leaf(path: Sequence[str], shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    *_, layer, name = path
    if name == "bias":
        return jax.device_put(np.zeros(shape, np.float32))  # which compiles nothing, whatever the shape
    if name == "scale":
        return jax.device_put(np.ones(shape, np.float32))
    return _init_kernel(shape, key, KERNEL_SCALES.get(layer, KERNEL_SCALE))


def _init_kernel(shape: tuple[int, ...], key: jax.Array, scale: float) -> jax.Array:
    if len(shape) == 2:
        return jax.block_until_ready(_orthogonal(key, shape, scale))  # which takes traced values too
    if len(shape) == 4:
        return _init_kernel((shape[0] * shape[1] * shape[2], shape[3]), key, scale).reshape(shape)
    return jnp.stack([_init_kernel(shape[1:], member, scale) for member in jax.random.split(key, shape[0])])


@partial(jax.jit, static_argnames=("shape",))
def _orthogonal(key: jax.Array, shape: tuple[int, int], scale: float) -> jax.Array:
    return scale * nn.initializers.orthogonal()(key, shape)


def num_params(params: Any) -> int:
    """Return the number of scalars in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def gaussian_action(mean: jax.Array, log_std: jax.Array, key: jax.Array, step: Array, deterministic: bool) -> jax.Array:
    """Return actions `[N, A]` in (-1, 1): the policy's mode, or drawn.

    Args:
      mean, log_std: `[N, A]`, a Gaussian before tanh.
      key: of the run's acting.
      step: a number that is folded into `key`.
      deterministic: whether the actions are the policy's mode, without noise.
    """
    if deterministic:
        return jnp.tanh(mean)
    noise = jax.random.normal(jax.random.fold_in(key, step), mean.shape)
    return jnp.tanh(mean + jnp.exp(log_std) * noise)
