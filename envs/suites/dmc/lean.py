# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false
# (fields are weak proxies, axes get an attribute)
"""dm_control's tasks with less Python between two physics steps: the same numbers, sooner."""

from __future__ import annotations

import math
import types
from typing import Any

import mujoco
import numpy as np
from dm_control import suite
from dm_control.mujoco import Physics
from dm_control.mujoco.index import Axes, FieldIndexer
from dm_control.rl import control
from dm_control.utils import rewards

from envs.divergence import DivergedError
from envs.suites.dmc import custom as dmc_custom
from envs.suites.dmc import physics as dmc_physics
from envs.suites.shared.rebinding import hstack, rebound, rebound_class

PACKAGES = ("dm_control.", "envs.suites.dmc.custom.")
NO_SENSORS = mujoco.mjtDisableBit.mjDSBL_SENSOR


def load(domain: str, task: str) -> control.Environment:
    """`dmc_custom.load`, of an environment that steps faster and has nothing to see."""
    physics = dmc_physics.LEAN.get(domain)
    if physics is None:
        env = dmc_custom.load(domain, task, task_kwargs={"random": 0})
    else:
        env = rebound(suite._DOMAINS[domain].SUITE[task], {"Physics": physics})(random=0)
    remember_names(env.physics)
    env.task.__class__ = rebound_class(type(env.task), PACKAGES, _STAND_INS)
    return env


class Stepper:
    """Advances an environment's physics by one control step, as `Physics.step` does.

    Of dm_control's simulation steps only the last one's sensors are ever read, so only that one computes them.
    """

    def __init__(self, env: control.Environment):
        physics = env.physics
        self._physics, self._steps = physics, env._n_sub_steps
        self._model, self._data, self._options = physics.model.ptr, physics.data.ptr, physics.model.ptr.opt
        self._warnings = physics.data.ptr.warning.number
        self._enabled = self._options.disableflags
        euler = self._options.integrator == mujoco.mjtIntegrator.mjINT_EULER
        self._quick = euler and self._steps > 1 and self._model.nsensor > 0

    def step(self) -> None:
        """Advance the physics.

        Raises:
          DivergedError: the state has become invalid.
        """
        if not self._quick:
            try:
                self._physics.step(self._steps)
            except control.PhysicsError as error:
                raise DivergedError(str(error)) from error
            return
        before = self._warnings.tobytes()
        model, data, options = self._model, self._data, self._options
        options.disableflags = self._enabled | NO_SENSORS
        mujoco.mj_step2(model, data)
        if self._steps > 2:
            mujoco.mj_step(model, data, self._steps - 2)
        mujoco.mj_step1(model, data)
        options.disableflags = self._enabled
        mujoco.mj_step2(model, data)
        mujoco.mj_step1(model, data)
        if self._warnings.tobytes() != before:
            raise DivergedError(f"MuJoCo warned of {self._warned(before)}")

    def _warned(self, before: bytes) -> str:
        new = self._warnings > np.frombuffer(before, self._warnings.dtype)
        return ", ".join(np.compress(new, list(mujoco.mjtWarning.__members__)[: len(new)]))


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
    if sigmoid == "quadratic" and lower == upper:
        return np.maximum(1 - (np.abs(x - lower) / margin * math.sqrt(1 - value_at_margin)) ** 2, 0.0)
    if sigmoid == "linear":
        return np.array([_tolerance(one, bounds, margin, sigmoid, value_at_margin) for one in x.tolist()])
    return rewards.tolerance(x, bounds, margin, sigmoid, value_at_margin)  # numpy squares otherwise than Python


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
