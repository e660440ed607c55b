# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# (mujoco has no type stubs)
"""MetaWorld's tasks with less Python around the physics: the same numbers in less than half the time.

Over half of a plain `SawyerXYZEnv.step` goes into name look-ups, generic numpy wrappers on scalars, loops over contacts
and rotations through scipy; nearly all of its construction into meshes and textures that are
only looked at. `lean` derives a class from a task's own in which these are replaced; physics, rewards, success and
the order of random draws are the library's. A lean task's step comes in two halves: `begin_step` moves the physics,
`end_step` sees what has become of it.
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

from envs.suites.shared.rebinding import hstack, rebound, rebound_class
from envs.suites.shared.scenery import strip, touches

OBJECT_SLOTS = 14  # padded object poses in an observation
STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def lean(task_class: type[SawyerXYZEnv], *, complete: bool = False) -> Any:
    """A subclass of a MetaWorld task class that steps and resets faster; with what there is to see, if `complete`.

    It never truncates by itself. Observations equal the library's bit by bit and rewards to 1e-6 (some are computed in
    double instead of single precision).
    """
    own = {name: value for name, value in vars(_Lean).items() if not name.startswith("__")}
    if task_class._gripper_caging_reward is not SawyerXYZEnv._gripper_caging_reward:
        del own["_gripper_caging_reward"]
    if complete:
        del own["_initialize_simulation"]
    if checked := task_class.evaluate_state.__closure__:  # what its check that a task was set goes on to
        own["evaluate_state"] = rebound(checked[0].cell_contents, _STAND_INS)
    rebound_task = rebound_class(task_class, ("metaworld.",), _STAND_INS)
    return type(rebound_task.__name__, (rebound_task,), own)


class _Lean:
    """What replaces parts of `SawyerXYZEnv`; its attributes are copied into each lean class."""

    data: Any
    model: Any

    def _initialize_simulation(self: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = copy.copy(_physics_model(self.fullpath))
        return model, _Data(model)

    def begin_step(self: Any, action: np.ndarray) -> None:
        data, (hand, fingers) = self.data, self._controls
        hand += _clip(action[:3], -1, 1) * self.action_scale
        _clip(hand, self.mocap_low, self.mocap_high, hand)
        fingers[0] = close = action.item(3)
        fingers[1] = -close
        mujoco.mj_step(self.model, data, self.frame_skip)
        self.curr_path_length += 1
        for name, position in self._target_site_config:  # physics moves them
            data.site(name).xpos[:] = position[:3]
        mujoco.mj_forward(self.model, data)

    def end_step(self: Any, action: np.ndarray) -> tuple[np.ndarray, float, dict[str, Any]]:
        """Observation, reward and info after `begin_step(action)`."""
        obs = self._get_obs()
        _clip(obs, *self._observation_bounds, obs)
        self._last_stable_obs = obs
        return obs, *self.evaluate_state(obs, action)

    def step(self: Any, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.begin_step(action)
        obs, reward, info = self.end_step(action)
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

    def close(self: Any) -> None:
        MujocoEnv.close(self)
        if isinstance(self.data, _Data):
            self.data.forget()

    def _reset_hand(self: Any, steps: int = 50) -> None:
        """As the library's, in which the hand settles in simulation; an equal start resumes before the last step."""
        if self._settles:
            start = (steps, *(part.tobytes() for part in (self.hand_init_pos, self.model.body_pos, self._state())))
            if self._settled[0] == start:
                mujoco.mj_setState(self.model, self.data, self._settled[1], STATE)
            else:
                SawyerXYZEnv._reset_hand(self, steps - 1)
                self.do_simulation([-1, 1], self.frame_skip - 1)
                self._settled = start, self._state()
            self.do_simulation([-1, 1], 1)
        self.init_tcp = self.tcp_center

    _settled: tuple[Any, Any] = None, None

    def _state(self: Any) -> np.ndarray:
        """All that determines, beside the model, how the physics go on."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, self.data, state, STATE)
        return state

    @cached_property
    def _controls(self: Any) -> tuple[np.ndarray, np.ndarray]:
        """Views of the hand's target position and of the fingers' actuators."""
        return self.data.mocap_pos[0], self.data.ctrl

    @cached_property
    def _observation_bounds(self: Any) -> tuple[np.ndarray, np.ndarray]:
        space = self.sawyer_observation_space
        return space.low, space.high

    @property
    def tcp_center(self: Any) -> np.ndarray:
        site = self.data.site
        return (site("rightEndEffector").xpos + site("leftEndEffector").xpos) / 2.0

    def touching_object(self: Any, object_geom_id: int) -> bool:
        contacts = self.data.contact
        pairs = contacts.geom.tolist()
        for pad in (self.data.geom("leftpad_geom").id, self.data.geom("rightpad_geom").id):
            both = [row for row, pair in enumerate(pairs) if pad in pair and object_geom_id in pair]
            if not both or not sum(self.data.efc_force[contacts.efc_address[both]].tolist()) > 0:
                return False
        return True

    def _gripper_caging_reward(
        self: Any,
        action: np.ndarray,
        obj_pos: np.ndarray,
        obj_radius: float,
        pad_success_thresh: float,
        object_reach_radius: float,
        xz_thresh: float,
        desired_gripper_effort: float = 1.0,
        high_density: bool = False,
        medium_density: bool = False,
    ) -> float:
        """As the library's, in Python's own numbers."""
        x, y, z = map(float, obj_pos)
        start_x, start_y, start_z = map(float, self.obj_init_pos)
        tcp_x, tcp_y, tcp_z = self.tcp_center.tolist()
        first_x, first_y, first_z = self.init_tcp.tolist()
        sides = []
        for pad in ("leftpad", "rightpad"):
            pad_y = self.data.body(pad).xpos.item(1)
            margin = abs(abs(pad_y - start_y) - pad_success_thresh)
            sides.append(_tolerance(abs(pad_y - y), (obj_radius, pad_success_thresh), margin, "long_tail"))
        margin = math.sqrt((start_x - first_x) ** 2 + (start_z - first_z) ** 2) - xz_thresh
        distance = math.sqrt((tcp_x - x) ** 2 + (tcp_z - z) ** 2)
        between = _tolerance(distance, (0, xz_thresh), margin, "long_tail")
        caging = reward_utils.hamacher_product(reward_utils.hamacher_product(*sides), float(between))
        closed = min(max(0, action.item(-1)), desired_gripper_effort) / desired_gripper_effort
        reward = reward_utils.hamacher_product(caging, closed if caging > 0.97 else 0.0)
        if high_density:
            reward = (reward + caging) / 2
        if medium_density:
            begun = math.sqrt((start_x - first_x) ** 2 + (start_y - first_y) ** 2 + (start_z - first_z) ** 2)
            distance = math.sqrt((x - tcp_x) ** 2 + (y - tcp_y) ** 2 + (z - tcp_z) ** 2)
            margin = abs(begun - object_reach_radius)
            reward = (reward + float(_tolerance(distance, (0, object_reach_radius), margin, "long_tail"))) / 2
        return reward

    def _get_curr_obs_combined_no_goal(self: Any) -> np.ndarray:
        obs = np.zeros(4 + OBJECT_SLOTS)
        body = self.data.body
        obs[:3] = body("hand").xpos
        obs[3] = min(max(_norm(body("rightclaw").xpos - body("leftclaw").xpos) / 0.1, 0.0), 1.0)
        position, quaternion = self._get_pos_objects(), self._get_quat_objects()
        for index in range(len(position) // 3):
            start = 4 + 7 * index
            obs[start : start + 3] = position[3 * index : 3 * index + 3]
            obs[start + 3 : start + 7] = quaternion[4 * index : 4 * index + 4]
        return obs

    def _get_obs(self: Any) -> np.ndarray:
        obs = np.empty(2 * (4 + OBJECT_SLOTS) + 3)
        obs[:18] = current = self._get_curr_obs_combined_no_goal()
        obs[18:36] = self._prev_obs
        obs[36:] = self._get_pos_goal()
        self._prev_obs = current
        return obs


class _Data(mujoco.MjData):
    """Finds the bodies, sites and geoms of a name once; what is found keeps it alive until it is told to `forget`."""

    def __init__(self, model: mujoco.MjModel):
        super().__init__(model)
        self.body = cache(super().body)
        self.site = cache(super().site)
        self.geom = cache(super().geom)

    def forget(self) -> None:
        vars(self).clear()


@cache
def _physics_model(path: str) -> mujoco.MjModel:
    """The compiled scene without what neither touches anything nor counts for inertia nor has a name to ask for.

    Quick to compile, and small; every number that remains is as in the library's.
    """
    spec = mujoco.MjSpec.from_file(path)
    first, last = spec.compiler.inertiagrouprange
    strip(spec, lambda geom: not (touches(geom) or first <= geom.group <= last or geom.name))
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
    if axis is None and (ord is None or ord == 2) and type(x) is np.ndarray and x.dtype == np.float64 and x.ndim == 1:
        return np.float64(math.sqrt(x.dot(x)))  # whose `item` tasks call
    return np.linalg.norm(x, ord, axis)


_clip = np._core.umath.clip  # without what `np.clip` does about absent bounds


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

_LINALG = types.SimpleNamespace(**vars(np.linalg) | {"norm": _norm})
_STAND_INS = {
    "np": types.SimpleNamespace(**vars(np) | {"hstack": hstack, "linalg": _LINALG}),
    "reward_utils": types.SimpleNamespace(**vars(reward_utils) | {"tolerance": _tolerance}),
    "Rotation": _Rotation,
}
