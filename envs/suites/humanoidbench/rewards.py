"""What the rewards of most tasks are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

INFINITE = math.inf
STANDING_HEIGHT = 1.65  # m, of the head
HANDS = ("left_hand", "right_hand")
"""The sites of the hands."""


def tolerance(
    x: float,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    kind: Literal["gaussian", "linear", "quadratic"] = "gaussian",
    at_margin: float = 0.1,
) -> float:
    """Return 1 for a value within bounds, and less the further it is outside: dm_control's `rewards.tolerance`.

    Args:
      x: the value.
      bounds: the least and the greatest value that count as 1.
      margin: the distance from the bounds at which the result is `at_margin`; where it is 0, so is the result outside.
      kind: the shape of the decline.
      at_margin: the result at the margin.
    """
    low, high = bounds
    if low <= x <= high:
        return 1.0
    if margin == 0.0:
        return 0.0
    distance = (low - x if x < low else x - high) / margin
    if kind == "gaussian":
        return at_margin ** (distance * distance)
    if kind == "linear":
        return max(0.0, 1.0 - (1.0 - at_margin) * distance)
    return max(0.0, 1.0 - (1.0 - at_margin) * distance * distance)


def distance(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Return how far two places `[3]` are from each other."""
    return math.dist(one, other)


def upness(now: Quantities) -> float:
    """Return how upright the torso is: the vertical component of its z axis."""
    return float(now.mat["torso_link"][8])


def standing(now: Quantities, margin: float = STANDING_HEIGHT / 4, height: float = STANDING_HEIGHT) -> float:
    """Return how well the head is at the height (m) of one who stands."""
    return tolerance(float(now.site["head"][2]), (height, INFINITE), margin)


def upright(now: Quantities, bound: float = 0.9, margin: float = 1.9) -> float:
    """Return how well the torso is upright."""
    return tolerance(upness(now), (bound, INFINITE), margin, "linear", 0.0)


def stand_reward(now: Quantities) -> float:
    """Return how well the robot stands upright."""
    return standing(now) * upright(now)


def small_control(now: Quantities) -> float:
    """Return 1 where no actuator exerts a force (N m), down to 0.8 where each exerts 10 or more."""
    shares = 1.0 - np.square(now.forces / 10.0)
    return (4.0 + float(np.maximum(shares, 0.0, out=shares).sum()) / len(shares)) / 5.0


def velocity(now: Quantities) -> tuple[float, float, float]:
    """Return the velocity (m/s) of the robot's centre of mass in world axes."""
    x, y, z = now.sensor["pelvis_subtreelinvel"].tolist()
    return x, y, z


def moving(now: Quantities, speed: float) -> float:
    """Return how well the robot moves along x at a speed (m/s) or faster."""
    return (5.0 * tolerance(velocity(now)[0], (speed, INFINITE), speed, "linear", 0.0) + 1.0) / 6.0


def staying(now: Quantities) -> float:
    """Return how well the robot stays where it is."""
    x, y, _ = velocity(now)
    return (tolerance(x, margin=2.0) + tolerance(y, margin=2.0)) / 2.0
