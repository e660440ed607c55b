"""The environment as gymnasium-robotics steps it, on the same scene, to compare with."""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium_robotics.envs.shadow_dexterous_hand import MujocoManipulateEnv
from gymnasium_robotics.utils import mujoco_utils

from envs.spec import TaskSpec
from envs.suites.shadowhand.environment import ShadowHandEnv


class Manipulate(MujocoManipulateEnv):
    """The library's class on a given scene; each draw of a start begins with `mj_resetData`, as in the benchmark."""

    def __init__(self, model: Any):
        self._given = model
        super().__init__(
            model_path="hand/manipulate_block.xml",
            target_position="ignore",
            target_rotation="z",
            target_position_range=np.array([(-0.04, 0.04), (-0.06, 0.02), (0.0, 0.06)]),
            reward_type="sparse",
        )

    def _initialize_simulation(self) -> None:
        self.model, self.data = self._given, mujoco.MjData(self._given)  # pyright: ignore[reportAttributeAccessIssue]
        self._model_names = mujoco_utils.MujocoModelNames(self.model)
        self._env_setup(initial_qpos=self.initial_qpos)
        self.initial_time = self.data.time
        self.initial_qpos, self.initial_qvel = self.data.qpos.copy(), self.data.qvel.copy()

    def _reset_sim(self) -> bool:
        mujoco.mj_resetData(self.model, self.data)  # pyright: ignore[reportAttributeAccessIssue]
        return super()._reset_sim()


class PlainShadowHandEnv(gymnasium.Env):
    """One object, with the observation as one vector and the success under this repository's name."""

    def __init__(self, spec: TaskSpec):
        own = ShadowHandEnv(spec)
        self.observation_space, self.action_space = own.observation_space, own.action_space
        self._env = gymnasium.wrappers.TimeLimit(Manipulate(own.model), spec.max_episode_steps)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        obs, _ = self._env.reset(seed=seed)
        return _flat(obs), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self._env.step(action)
        return _flat(obs), float(reward), terminated, truncated, {"success": bool(info["is_success"])}

    def close(self) -> None:
        self._env.close()


def _flat(obs: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([obs["observation"], obs["desired_goal"]]).astype(np.float32)
