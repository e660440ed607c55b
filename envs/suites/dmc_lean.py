# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false
# (fields are weak proxies, axes get an attribute)
"""dm_control's tasks with less Python between two physics steps: the same numbers, sooner."""

from __future__ import annotations

import math
import types
from typing import Any

import numpy as np
from dm_control.mujoco import Physics
from dm_control.mujoco.index import Axes, FieldIndexer
from dm_control.rl import control
from dm_control.utils import rewards

from envs.suites.rebinding import hstack, rebound_class

PACKAGES = ("dm_control.", "envs.suites.dmc_custom.")


def make_lean(env: control.Environment) -> None:
    """Let an environment translate names of `physics.named` once, and compute its rewards without ceremony."""
    remember_names(env.physics)
    env.task.__class__ = rebound_class(type(env.task), PACKAGES, _STAND_INS)


def remember_names(physics: Physics) -> None:
    """Rewards and observations look up the same few names at every step."""
    for struct in (physics.named.data, physics.named.model):
        for field in struct._asdict().values():
            field._axes = RememberingAxes(*field._axes)
            field._axes.known = {}
            field.__class__ = RememberingIndexer


class RememberingAxes(Axes):
    """The axes of a field, and the indices of the names that were asked for."""

    known: dict[Any, Any]


class RememberingIndexer(FieldIndexer):
    """Named access to a field that converts a name, a list of names or a tuple of them once."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        known = self._axes.known
        try:
            name = _hashable(key)
            index = known.get(name)
        except TypeError:  # arrays and slices
            return self._field[self._convert_key(key)]
        if index is None:
            index = known[name] = self._convert_key(key)
        return self._field[index]


def _hashable(key: Any) -> Any:
    """A name, or names in lists and tuples, as what a dictionary can hold; a list differs from a tuple."""
    if type(key) is list:
        return (list, *key)
    if type(key) is tuple:
        return tuple([(list, *one) if type(one) is list else one for one in key])
    return key


def _tolerance(
    x: Any,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> Any:
    """`rewards.tolerance`, quick for what most rewards ask of it."""
    lower, upper = bounds
    quick = _SIGMOIDS.get(sigmoid)
    if quick is None or margin < 0 or lower > upper:
        return rewards.tolerance(x, bounds, margin, sigmoid, value_at_margin)
    if isinstance(x, float):
        if lower <= x <= upper:
            return 1.0
        if margin == 0:
            return 0.0
        return float(quick((lower - x if x < lower else x - upper) / margin, value_at_margin))
    if margin == 0 or type(x) is not np.ndarray or x.ndim != 1:
        return rewards.tolerance(x, bounds, margin, sigmoid, value_at_margin)
    return np.array([_tolerance(one, bounds, margin, sigmoid, value_at_margin) for one in x.tolist()])


def _gaussian(x: Any, value_at_1: float) -> Any:
    return np.exp(-0.5 * (x * math.sqrt(-2 * math.log(value_at_1))) ** 2)


def _linear(x: Any, value_at_1: float) -> Any:
    scaled = x * (1 - value_at_1)
    return 1 - scaled if abs(scaled) < 1 else 0.0


def _quadratic(x: Any, value_at_1: float) -> Any:
    scaled = x * math.sqrt(1 - value_at_1)
    return 1 - scaled**2 if abs(scaled) < 1 else 0.0


_SIGMOIDS = {"gaussian": _gaussian, "linear": _linear, "quadratic": _quadratic}
_STAND_INS = {
    "np": types.SimpleNamespace(**vars(np) | {"hstack": hstack, "prod": np.multiply.reduce}),
    "rewards": types.SimpleNamespace(**vars(rewards) | {"tolerance": _tolerance}),
}
