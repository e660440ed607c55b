# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Steps one task of HumanoidBench."""

from __future__ import annotations

import dataclasses
from typing import Any

import mujoco
import numpy as np

from envs.spec import TaskSpec
from envs.suites.humanoidbench import meshes, scene
from envs.suites.humanoidbench.quantities import Quantities
from envs.suites.humanoidbench.tasks import TASKS
from envs.suites.shared.mujoco_env import MujocoEnv, check_state

SUBSTEPS = 10
RENDER_FPS = 50
FRAME_SIZE = 240, 320  # height, width of a rendered frame


class HumanoidBenchEnv(MujocoEnv):
    """A robot in the scene of one task.

    An episode depends on its reset seed alone: the noise on its start is drawn from one stream, what the task draws
    from another; both begin anew at a seeded reset.

    Args:
      spec: the task.
      looks: whether there is something to see; the motion is the same.
    """

    def __init__(self, spec: TaskSpec, *, looks: bool = False):
        super().__init__(spec, RENDER_FPS)
        self._looks = looks
        robot, name = spec.name.split("-", 1)
        self._task = TASKS[name]
        self._model = scene.compiled(robot, self._task, meshes.upstream_files(spec.options), looks=looks)
        self._data = mujoco.MjData(self._model)
        self._now = Quantities(self._model, self._data, self._task.touches)
        self._warnings = self._data.warning.number
        self._noise, self._draws = np.random.default_rng(), np.random.RandomState()
        low, high = self._model.actuator_ctrlrange.astype(np.float32).T
        self._low, self._width = low, high - low
        self._renderer: mujoco.Renderer | None = None
        self._memory: Any = None
        self.begin(None)  # so that a state can be put in, and evaluated, before any episode

    @property
    def model(self) -> Any:
        return self._model

    @property
    def data(self) -> Any:
        return self._data

    def task_values(self) -> tuple[str, ...]:
        return tuple(self._task.values)

    def set_task(self, **values: Any) -> None:
        arrays = {name: self._checked(name, value, self._task.values[name]) for name, value in values.items()}
        if arrays:
            self._memory = dataclasses.replace(self._memory, **arrays)

    def begin(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._noise, self._draws = np.random.default_rng(seed), np.random.RandomState(seed)
        model, data, width = self._model, self._data, self._task.noise
        mujoco.mj_resetDataKeyframe(model, data, 0)
        mujoco.mj_forward(model, data)
        data.qpos += self._noise.uniform(-width, width, model.nq) if width else 0.0
        mujoco.mj_normalizeQuat(model, data.qpos)
        mujoco.mj_forward(model, data)
        self._memory = self._task.reset(self._now, self._draws)
        if self._looks:
            self._task.show(self._model, self._memory)  # before the forward pass, so that the first frame has it
        mujoco.mj_normalizeQuat(model, data.qpos)
        mujoco.mj_forward(model, data)
        return self._observation()

    def move(self, action: np.ndarray) -> None:
        # In the action's own precision, with bounds that are float32: HumanoidBench's numbers to the bit.
        self._data.ctrl[:] = (action + 1) / 2 * self._width + self._low
        mujoco.mj_step(self._model, self._data, SUBSTEPS)
        check_state(self._warnings)

    def see(self) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        observation = self._observation()
        reward, terminated, terms, self._memory = self._task.judge(self._now, self._memory)
        return observation, reward, bool(terminated), {"per_timestep_reward": reward, **terms}

    def _observation(self) -> np.ndarray:
        return np.concatenate(self._task.observe(self._now, self._memory), dtype=np.float32, casting="same_kind")

    def render(self) -> np.ndarray:
        """A frame `[H, W, 3]` of the task's camera, where made with looks; needs OpenGL."""
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, *FRAME_SIZE)
        self._task.show(self._model, self._memory)
        self._renderer.update_scene(self._data, self._task.camera)
        return self._renderer.render()

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
