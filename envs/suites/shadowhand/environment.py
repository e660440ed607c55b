# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""An object lies in the hand's palm and is to be turned to a goal: the environment of every object."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import mujoco
import numpy as np

from conf.schema import ShadowhandConfig
from envs.spec import TaskSpec
from envs.suites.shadowhand import scene, sources
from envs.suites.shadowhand.objects import table
from envs.suites.shared.mujoco_env import MujocoEnv, check_state

SUBSTEPS = 20
SETTLING = 10  # control steps before an episode, in which the object settles in the palm
JITTER = 0.005  # metres: standard deviation of where the object is let go
PALM = 0.04  # metres: an object whose origin has sunk to this height has missed the palm
MOST_DRAWS = 1000  # of a start, before an object is taken to be one that no palm holds
CLOSE = 0.1  # radians: the angle to the goal below which a step succeeds
RENDER_FPS = 25
HAND, OBJECT = 24, 7  # positions of the hand, then of the object


class ShadowHandEnv(MujocoEnv):
    """The hand and one object; the reward is 0 where the object is turned as the goal, else -1.

    All draws of an episode come from a generator of its reset seed: the angle and the place in which the object is let
    go, anew until the object has settled in the palm, and the angle of the goal.

    Attributes:
      draws: how many starts the last reset drew.
      goal: `[7]`, the goal's position, which does not count, and quaternion.
    """

    def __init__(self, spec: TaskSpec):
        super().__init__(spec, RENDER_FPS)
        self._name = spec.name
        self._model = copy.copy(_physics(spec.name, spec.options))
        self._data = mujoco.MjData(self._model)
        low, high = self._model.actuator_ctrlrange.T
        self._bounds, self._middle, self._reach = (low, high), (high + low) / 2, (high - low) / 2
        self._rng = np.random.default_rng()
        self._qpos, self._qvel, self._ctrl = self._data.qpos, self._data.qvel, self._data.ctrl
        self._centre = self._data.site("object:center").xpos
        self._warnings = self._data.warning.number
        self.draws = 0
        self.goal = self._qpos[HAND:].copy()

    @property
    def model(self) -> Any:
        return self._model

    @property
    def data(self) -> Any:
        return self._data

    def task_values(self) -> tuple[str, ...]:
        return ("goal",)

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray, goal: np.ndarray | None = None, **task: Any) -> None:
        """Put hand and object into a state, as every environment on MuJoCo can be, and choose the goal.

        Args:
          qpos: positions `[31]`: of the hand's joints `[24]`, then of the object.
          qvel: velocities `[30]`: of the hand's joints `[24]`, then of the object.
          goal: `[7]`, a position, which does not count, and a quaternion; None leaves the goal as it is.
          task: further values of the task, of which there are none.

        Raises:
          ValueError: an array has another length, or there is no value of a given name.
        """
        super().set_state(qpos, qvel, goal=goal, **task)

    def set_task(self, goal: np.ndarray | None = None, **_: Any) -> None:
        if goal is not None:
            self.goal = self._checked("goal", goal, (OBJECT,))

    def begin(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.draws = 1
        while not self._let_go():
            if self.draws == MOST_DRAWS:
                raise RuntimeError(f"{self._name}: {MOST_DRAWS} starts, and the object stayed in the palm after none")
            self.draws += 1
        angle = self._rng.uniform(-np.pi, np.pi)
        self.goal = np.concatenate([self._qpos[HAND : HAND + 3], about_z(angle)])
        return self._seen()

    def _let_go(self) -> bool:
        """Draw a start, let the object settle with the hand held open, and tell whether it lies in the palm then."""
        model, data = self._model, self._data
        mujoco.mj_resetData(model, data)
        mujoco.mj_forward(model, data)  # leaves its warm start
        self._qpos[HAND + 3 :] = about_z(self._rng.uniform(-np.pi, np.pi))
        self._qpos[HAND : HAND + 3] += self._rng.normal(size=3, scale=JITTER)
        self._ctrl[:] = self._middle
        mujoco.mj_step(model, data, SETTLING * SUBSTEPS)
        mujoco.mj_forward(model, data)
        return bool(self._centre[2] > PALM)

    def move(self, action: np.ndarray) -> None:
        np.clip(self._middle + np.clip(action, -1, 1) * self._reach, *self._bounds, out=self._ctrl)
        mujoco.mj_step(self._model, self._data, SUBSTEPS)
        check_state(self._warnings)

    def see(self) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        success = bool(angle_between(self._qpos[HAND + 3 :], self.goal[3:]) < CLOSE)
        return self._seen(), float(success) - 1.0, False, {"success": success}

    def _seen(self) -> np.ndarray:
        return np.concatenate([self._qpos[:HAND], self._qvel, self._qpos[HAND:], self.goal])


class SeenShadowHandEnv(ShadowHandEnv):
    """The same, with something to see: the same simulation, drawn in a second scene that has all there is to see."""

    def __init__(self, spec: TaskSpec):
        from envs.suites.shadowhand.picture import Picture

        super().__init__(spec)
        one = table()[spec.name]
        seen = sources.triangles(one, spec.options)
        self._picture = Picture(scene.picture(one, sources.shape(one, spec.options), seen))

    def render(self) -> np.ndarray:
        """A frame `[H, W, 3]` with the goal beside the object."""
        return self._picture.draw(self._qpos, self.goal)

    def close(self) -> None:
        self._picture.close()


@cache
def _physics(name: str, options: ShadowhandConfig) -> mujoco.MjModel:
    """The compiled scene of an object, of which environments take copies."""
    one = table()[name]
    return scene.physics(one, sources.shape(one, options))


def about_z(angle: float) -> np.ndarray:
    """The quaternion of a turn about the vertical, normalised twice, as gymnasium-robotics has it to the last bit."""
    quat = np.array([np.cos(angle / 2.0), 0.0, 0.0, np.sin(angle / 2.0)])
    quat /= np.linalg.norm(quat)
    return quat / np.linalg.norm(quat)


def angle_between(quat: np.ndarray, goal: np.ndarray) -> float:
    """The angle of the turn from one quaternion to another, in radians, from 0 to 2 pi.

    A quaternion and its negative are the same turn, yet lie 2 pi apart here: the benchmark has it so.
    """
    w, x, y, z = quat.tolist()
    goal_w, goal_x, goal_y, goal_z = goal.tolist()
    real = w * goal_w + x * goal_x + y * goal_y + z * goal_z
    return 2 * np.arccos(min(max(real, -1.0), 1.0))
