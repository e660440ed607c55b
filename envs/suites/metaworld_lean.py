# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# (mujoco has no type stubs)
"""MetaWorld's tasks with less Python around the physics: the same numbers in about half the time.

Over half of a plain `SawyerXYZEnv.step` goes into name look-ups, generic numpy wrappers on scalars, loops over contacts
and rotations through scipy; nearly all of its construction into meshes and textures that are
only looked at. `lean` derives a class from a task's own in which these are replaced; physics, rewards, success and
the order of random draws are the library's.
"""

from __future__ import annotations

import copy
import math
import types
from functools import cache, cached_property
from typing import Any

import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils import reward_utils

from envs.suites.rebinding import rebound, rebound_methods

OBJECT_SLOTS = 14  # padded object poses in an observation
ROBOT_MESHES = "meshes/xyz_base/"
TETRAHEDRON = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 2, 1, 0, 3, 2, 0, 1, 3, 1, 2, 3]  # vertices, faces


def lean(task_class: type[SawyerXYZEnv]) -> type[SawyerXYZEnv]:
    """A subclass of a MetaWorld task class that steps and resets faster.

    It never truncates by itself. Observations equal the library's bit by bit and rewards to 1e-6 (some are computed in
    double instead of single precision).
    """
    methods = rebound_methods(task_class, ("metaworld.",), _STAND_INS)
    if checked := task_class.evaluate_state.__closure__:  # what its check that a task was set goes on to
        methods["evaluate_state"] = rebound(checked[0].cell_contents, _STAND_INS)
    own = {name: value for name, value in vars(_Lean).items() if not name.startswith("__")}
    return type(f"Lean{task_class.__name__}", (task_class,), methods | own)


class _Lean:
    """What replaces parts of `SawyerXYZEnv`; its attributes are copied into each lean class."""

    data: Any
    model: Any

    def _initialize_simulation(self: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = copy.copy(_physics_model(self.fullpath))
        return model, mujoco.MjData(model)

    def step(self: Any, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        data, (hand, fingers) = self.data, self._controls
        target = hand + np.minimum(np.maximum(action[:3], -1), 1) * self.action_scale
        hand[:] = np.minimum(np.maximum(target, self.mocap_low), self.mocap_high)
        fingers[:] = action[3], -action[3]
        mujoco.mj_step(self.model, data, self.frame_skip)
        self.curr_path_length += 1
        for name, position in self._target_site_config:  # physics moves them
            self._site_position(name)[:] = position[:3]
        mujoco.mj_forward(self.model, data)
        low, high = self._observation_bounds
        obs = np.minimum(np.maximum(self._get_obs(), low), high)
        self._last_stable_obs = obs
        reward, info = self.evaluate_state(obs, action)
        return obs, reward, False, False, info

    def reset(self: Any, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """As the library's, which resets the model twice: of the first time only the random draws remain."""
        self.curr_path_length = 0
        self._settles = False
        self.reset_model()
        self._settles = True
        obs, info = MujocoEnv.reset(self)
        self._prev_obs = obs[:18].copy()
        obs[18:36] = self._prev_obs
        return obs, info

    def _reset_hand(self: Any, steps: int = 50) -> None:
        if self._settles:
            SawyerXYZEnv._reset_hand(self, steps)
        else:
            self.init_tcp = self.tcp_center

    @cached_property
    def _controls(self: Any) -> tuple[np.ndarray, np.ndarray]:
        """Views of the hand's target position and of the fingers' actuators."""
        return self.data.mocap_pos[0], self.data.ctrl

    @cached_property
    def _observation_bounds(self: Any) -> tuple[np.ndarray, np.ndarray]:
        space = self.sawyer_observation_space
        return space.low, space.high

    @cached_property
    def _positions(self: Any) -> dict[str, np.ndarray]:
        """Live views of bodies' positions by name."""
        return {}

    @cached_property
    def _site_positions(self: Any) -> dict[str, np.ndarray]:
        return {}

    def get_body_com(self: Any, body_name: str) -> np.ndarray:
        if body_name not in self._positions:
            self._positions[body_name] = self.data.body(body_name).xpos
        return self._positions[body_name]

    def _site_position(self: Any, name: str) -> np.ndarray:
        if name not in self._site_positions:
            self._site_positions[name] = self.data.site(name).xpos
        return self._site_positions[name]

    def get_endeff_pos(self: Any) -> np.ndarray:
        return self.get_body_com("hand")

    @property
    def tcp_center(self: Any) -> np.ndarray:
        return (self._site_position("rightEndEffector") + self._site_position("leftEndEffector")) / 2.0

    @cached_property
    def _pads(self: Any) -> tuple[int, int]:
        return self.data.geom("leftpad_geom").id, self.data.geom("rightpad_geom").id

    def touching_object(self: Any, object_geom_id: int) -> bool:
        contacts = self.data.contact
        pairs = contacts.geom
        with_object = (pairs == object_geom_id).any(1)
        if not with_object.any():
            return False
        for pad in self._pads:
            rows = contacts.efc_address[with_object & (pairs == pad).any(1)]
            if not sum(self.data.efc_force[rows]) > 0:
                return False
        return True

    def _get_curr_obs_combined_no_goal(self: Any) -> np.ndarray:
        obs = np.zeros(4 + OBJECT_SLOTS)
        obs[:3] = self.get_body_com("hand")
        apart = self.get_body_com("rightclaw") - self.get_body_com("leftclaw")
        obs[3] = min(max(_norm(apart) / 0.1, 0.0), 1.0)
        position, quaternion = self._get_pos_objects(), self._get_quat_objects()
        for index in range(len(position) // 3):
            start = 4 + 7 * index
            obs[start : start + 3] = position[3 * index : 3 * index + 3]
            obs[start + 3 : start + 7] = quaternion[4 * index : 4 * index + 4]
        return obs

    def _get_obs(self: Any) -> np.ndarray:
        obs = np.empty(2 * (4 + OBJECT_SLOTS) + 3)
        obs[:18] = self._get_curr_obs_combined_no_goal()
        obs[18:36] = self._prev_obs
        obs[36:] = self._get_pos_goal()
        self._prev_obs = obs[:18].copy()
        return obs


@cache
def _physics_model(path: str) -> mujoco.MjModel:
    """The compiled scene without textures, and with the robot's visual meshes replaced by tetrahedra.

    Those geoms neither collide nor count for inertia nor appear in an observation; every other number of the model is
    as in the library's. A sixth of the memory, and a fifth of the time.
    """
    spec = mujoco.MjSpec.from_file(path)
    for material in spec.materials:
        material.textures = [""] * len(material.textures)
    for texture in list(spec.textures):
        texture.delete()
    first, last = spec.compiler.inertiagrouprange
    physical = {geom.meshname for geom in spec.geoms if geom.contype or geom.conaffinity or first <= geom.group <= last}
    for mesh in spec.meshes:
        if ROBOT_MESHES in mesh.file and mesh.name not in physical:
            mesh.file, mesh.uservert, mesh.userface = "", *TETRAHEDRON
    return spec.compile()


class _Rotation:
    """The one way in which the tasks use `scipy.spatial.transform.Rotation`."""

    def __init__(self, quaternion: np.ndarray):
        self._quaternion = quaternion

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> _Rotation:
        """Of a proper rotation `[3, 3]` (or `[9]`), scalar last; the largest component is computed first."""
        (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix.reshape(3, 3).tolist()
        trace = xx + yy + zz
        largest = max(xx, yy, zz, trace)
        if largest == xx:
            q = (1 - trace + 2 * xx, yx + xy, zx + xz, zy - yz)
        elif largest == yy:
            q = (yx + xy, 1 - trace + 2 * yy, zy + yz, xz - zx)
        elif largest == zz:
            q = (zx + xz, zy + yz, 1 - trace + 2 * zz, yx - xy)
        else:
            q = (zy - yz, xz - zx, yx - xy, 1 + trace)
        size = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
        return cls(np.array([q[0] / size, q[1] / size, q[2] / size, q[3] / size]))

    def as_quat(self) -> np.ndarray:
        return self._quaternion


def _norm(x: np.ndarray, ord: int | None = None, axis: int | None = None) -> Any:
    """`np.linalg.norm`, quick for a vector."""
    if axis is None and ord in (None, 2) and isinstance(x, np.ndarray) and x.dtype == np.float64 and x.ndim == 1:
        return np.sqrt(x.dot(x))
    return np.linalg.norm(x, ord, axis)


def _tolerance(
    x: Any, bounds: tuple[float, float] = (0.0, 0.0), margin: Any = 0.0, sigmoid: Any = "gaussian", **rest: Any
) -> Any:
    """`reward_utils.tolerance`, quick for a scalar with the long-tailed sigmoid that nearly all calls ask for."""
    lower, upper = bounds
    if sigmoid != "long_tail" or rest or lower > upper or margin <= 0 or getattr(x, "ndim", 0):
        return reward_utils.tolerance(x, bounds, margin, sigmoid, **rest)
    if lower <= x <= upper:
        return 1.0
    distance = (lower - x if x < lower else x - upper) / margin
    return 1 / ((distance * _LONG_TAIL_SCALE) ** 2 + 1)


_LONG_TAIL_SCALE = math.sqrt(1 / 0.1 - 1)  # a tenth is left at the margin

_STAND_INS = {
    "np": types.SimpleNamespace(**vars(np) | {"linalg": types.SimpleNamespace(**vars(np.linalg) | {"norm": _norm})}),
    "reward_utils": types.SimpleNamespace(**vars(reward_utils) | {"tolerance": _tolerance}),
    "Rotation": _Rotation,
}
