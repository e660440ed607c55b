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

from envs.suites.rebinding import rebound_methods

PACKAGES = ("dm_control.", "envs.suites.dmc_custom.")


def make_lean(env: control.Environment) -> None:
    """Let an environment translate names of `physics.named` once, and compute its rewards from plain scalars."""
    remember_names(env.physics)
    task = env.task
    task_class = type(task)
    methods = rebound_methods(task_class, PACKAGES, {"rewards": _REWARDS})
    task.__class__ = type(f"Lean{task_class.__name__}", (task_class,), methods)


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
            name = (list, *key) if type(key) is list else key
            index = known.get(name)
        except TypeError:  # arrays, slices and lists inside a tuple
            return self._field[self._convert_key(key)]
        if index is None:
            index = known[name] = self._convert_key(key)
        return self._field[index]


def _tolerance(
    x: Any,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> Any:
    """`rewards.tolerance`, quick for a scalar."""
    lower, upper = bounds
    if not isinstance(x, float) or margin < 0 or lower > upper or sigmoid not in _SIGMOIDS:
        return rewards.tolerance(x, bounds, margin, sigmoid, value_at_margin)
    if lower <= x <= upper:
        return 1.0
    if margin == 0:
        return 0.0
    return float(_SIGMOIDS[sigmoid]((lower - x if x < lower else x - upper) / margin, value_at_margin))


def _gaussian(x: Any, value_at_1: float) -> Any:
    return np.exp(-0.5 * (x * math.sqrt(-2 * math.log(value_at_1))) ** 2)


def _linear(x: Any, value_at_1: float) -> Any:
    scaled = x * (1 - value_at_1)
    return 1 - scaled if abs(scaled) < 1 else 0.0


def _quadratic(x: Any, value_at_1: float) -> Any:
    scaled = x * math.sqrt(1 - value_at_1)
    return 1 - scaled**2 if abs(scaled) < 1 else 0.0


_SIGMOIDS = {"gaussian": _gaussian, "linear": _linear, "quadratic": _quadratic}
_REWARDS = types.SimpleNamespace(**vars(rewards) | {"tolerance": _tolerance})
