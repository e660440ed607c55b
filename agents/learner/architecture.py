"""How the networks are built, layer by layer, as numbers: for the networks themselves, and for plans without JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ENCODER_STAGES, ENCODER_BLOCKS = 3, 2
TORSOS = ("bronet", "mlp", "prenorm")


@dataclass(frozen=True)
class Size:
    """How large a part of a network is.

    Attributes:
      params: numbers that are learned.
      products: multiplications of one input's way through; a convolution uses each of its numbers often.
    """

    params: int
    products: int

    def __add__(self, other: Size) -> Size:
        return Size(self.params + other.params, self.products + other.products)

    def __mul__(self, times: int) -> Size:
        return Size(times * self.params, times * self.products)


def dense(inputs: int, outputs: int) -> Size:
    """Return the size of a dense layer with biases."""
    return Size(inputs * outputs + outputs, inputs * outputs)


def layer_norm(width: int) -> Size:
    """Return the size of a layer norm with scale and bias."""
    return Size(2 * width, width)


def torso(network: str, inputs: int, width: int, depth: int, layer_norms: bool) -> Size:
    """Return the size of a torso, which turns `inputs` numbers into `width`.

    Args:
      network: one of `TORSOS`.
      inputs: the width of what goes in.
      width: the width of each layer.
      depth: blocks of two layers after the first layer.
      layer_norms: whether the torso keeps its norms, of which an mlp has none.
    Raises:
      ValueError: there is no such torso.
    """
    if network not in TORSOS:
        raise ValueError(f"no torso {network!r}; torsos: {', '.join(TORSOS)}")
    norms = {"bronet": 1 + 2 * depth, "mlp": 0, "prenorm": depth + 1}[network] if layer_norms else 0
    return dense(inputs, width) + dense(width, width) * (2 * depth) + layer_norm(width) * norms


def encoder_features(channels: int) -> int:
    """Return the width of the image encoder's output; 256 for Impala's own 16 channels."""
    return 16 * channels


def encoder_stage(channels: int, stride: int, stage: int) -> tuple[int, int, int]:
    """Return the channels, the kernel's size and the stride of a stage's first convolution."""
    if stage == 0:
        return channels, 3 if stride == 1 else 2 * stride, stride
    return 2 * channels, 3, 1


def encoder(obs_shape: Sequence[int], channels: int, stride: int) -> Size:
    """Return the size of the image encoder (`agents.learner.networks.Encoder`).

    Args:
      obs_shape: `(stack, H, W)`.
      channels: channels of the first stage.
      stride: stride of the first convolution.
    """
    width, height, side = obs_shape[0], *obs_shape[1:]
    size = Size(0, 0)
    for stage in range(ENCODER_STAGES):
        out, kernel, step = encoder_stage(channels, stride, stage)
        height, side = -(-height // step), -(-side // step)
        first = kernel**2 * width * out
        size += Size(first + out, first * height * side)
        height, side = -(-height // 2), -(-side // 2)  # pooled
        blocks = 2 * ENCODER_BLOCKS * 9 * out**2
        size += Size(blocks + 2 * ENCODER_BLOCKS * out, blocks * height * side)
        width = out
    features = encoder_features(channels)
    return size + dense(height * side * width, features) + layer_norm(features)
