"""What the environments on MuJoCo have in common, whichever library steps them."""

from __future__ import annotations

import abc
from typing import Any

import gymnasium
import numpy as np

from envs.divergence import DivergedError
from envs.spec import TaskSpec
from envs.suites.shared.state import StateAtWill

BAD_STATES = ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC", "mjWARN_BADCTRL")


class MujocoEnv(StateAtWill, gymnasium.Env):
    """A task of vectors whose step comes in two halves, with float32 observations, that is cut at its own limit.

    A suite says how an episode begins (`begin`), how an action moves the physics (`move`) and what is seen then
    (`see`). The first half of a step is `move`, the second `see`. Each raises `DivergedError` where the simulation
    diverges.

    Args:
      spec: the task.
      render_fps: control steps a second.
    """

    def __init__(self, spec: TaskSpec, render_fps: int):
        import mujoco  # here, as to know a suite's tasks should take no simulator

        # MuJoCo would print its warnings and append them to a file in the working directory; its counters say the same.
        mujoco.set_mju_user_warning(_ignore)  # pyright: ignore[reportAttributeAccessIssue]
        self._limit = spec.max_episode_steps
        self._elapsed = 0
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, spec.obs_shape, np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": render_fps}

    @abc.abstractmethod
    def begin(self, seed: int | None) -> np.ndarray:
        """Begin the episode of a seed; the first observation `[O]`."""

    @abc.abstractmethod
    def move(self, action: np.ndarray) -> None:
        """Advance the physics by one control step under an action `[A]`."""

    @abc.abstractmethod
    def see(self) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        """Observation `[O]`, reward, whether the episode has terminated, and info, of the physics as they are."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        self._elapsed = 0
        return self.begin(seed).astype(np.float32, copy=False), {}

    def begin_step(self, action: np.ndarray) -> None:
        """The first half of `step`, which moves the physics."""
        self._elapsed += 1
        self.move(action)

    def end_step(self) -> tuple[np.ndarray, float, bool, bool, dict]:
        """The other half, which sees what has become of the physics."""
        obs, reward, terminated, info = self.see()
        return obs.astype(np.float32, copy=False), float(reward), terminated, self._elapsed >= self._limit, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.begin_step(action)
        return self.end_step()


def _ignore(_: str) -> None:
    pass


def check_state(warnings: np.ndarray) -> None:
    """Refuse a state that MuJoCo has begun anew because it held numbers that are not finite or far too large.

    MuJoCo does so by itself in a step and says it in these counters only. They are zero after a reset.

    Args:
      warnings: `data.warning.number`, a count for each kind of warning.

    Raises:
      DivergedError: MuJoCo has warned of the state.
    """
    if not warnings.tobytes().strip(b"\0"):  # all zero, found in a tenth of the time that `any` takes
        return
    import mujoco

    kinds = mujoco.mjtWarning.__members__  # pyright: ignore[reportAttributeAccessIssue]
    if bad := [name for name in BAD_STATES if warnings[int(kinds[name])]]:
        raise DivergedError(f"MuJoCo warned of {', '.join(bad)}")
