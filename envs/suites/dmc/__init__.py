"""DeepMind Control tasks, stock and custom: 1,000 steps, no action repeat, always ended by truncation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from envs.divergence import DivergedError
from envs.spec import TaskSpec
from envs.suites.shared.mujoco_env import MujocoEnv
from envs.suites.shared.state import StateAtWill

if TYPE_CHECKING:
    from dm_control.rl import control

PRELOAD = ("envs.suites.dmc.lean",)
NEEDS_GL = True
MAX_EPISODE_STEPS = 1000
FRAME_SIZE = 240, 320  # height, width of a rendered frame
SOURCE = (
    "dm_control 1.0.28; random_return: mean of 100 episodes (20 of dogs and humanoids), `python -m envs.random_return`"
)

# name: (obs_dim, action_dim, random_return)
_SIZES: dict[str, tuple[int, int, float]] = {
    "dog-stand": (223, 38, 20.5),
    "dog-walk": (223, 38, 7.2),
    "dog-trot": (223, 38, 6.5),
    "dog-run": (223, 38, 5.3),
    "humanoid-stand": (67, 21, 5.7),
    "humanoid-walk": (67, 21, 1.1),
    "humanoid-run": (67, 21, 0.8),
    "walker-stand": (24, 6, 128.3),
    "walker-walk": (24, 6, 33.2),
    "walker-run": (24, 6, 23.1),
    "cheetah-run": (17, 6, 3.6),
    "reacher-easy": (6, 2, 58.7),
    "reacher-hard": (6, 2, 10.6),
    "acrobot-swingup": (6, 1, 3.9),
    "pendulum-swingup": (3, 1, 0.9),
    "cartpole-balance": (5, 1, 358.0),
    "cartpole-balance_sparse": (5, 1, 50.5),
    "cartpole-swingup": (5, 1, 26.0),
    "cartpole-swingup_sparse": (5, 1, 0.0),
    "ball_in_cup-catch": (8, 2, 127.3),
    "finger-spin": (9, 2, 0.4),
    "finger-turn_easy": (12, 2, 165.1),
    "finger-turn_hard": (12, 2, 74.0),
    "fish-swim": (24, 5, 81.5),
    "hopper-stand": (15, 4, 1.5),
    "hopper-hop": (15, 4, 0.1),
    "cheetah-run_backwards": (17, 6, 24.8),
    "cheetah-run_front": (17, 6, 6.5),
    "cheetah-run_back": (17, 6, 6.4),
    "cheetah-jump": (17, 6, 176.7),
    "walker-walk_backwards": (24, 6, 36.5),
    "walker-run_backwards": (24, 6, 23.2),
    "hopper-hop_backwards": (15, 4, 0.1),
    "reacher-three_easy": (8, 3, 13.0),
    "reacher-three_hard": (8, 3, 2.1),
    "ball_in_cup-spin": (8, 2, 35.6),
    "pendulum-spin": (3, 1, 103.1),
}

# Milliseconds that a step takes with its share of a reset, by domain, on one core that steps 80 tasks in turn.
_STEP_MS = {
    "dog": 0.56, "humanoid": 0.22, "walker": 0.14, "cheetah": 0.07, "reacher": 0.07, "acrobot": 0.07, "pendulum": 0.04,
    "cartpole": 0.09, "ball_in_cup": 0.09, "finger": 0.07, "fish": 0.11, "hopper": 0.07,
}  # fmt: skip


def _spec(name: str, obs_dim: int, action_dim: int, random_return: float) -> TaskSpec:
    return TaskSpec(
        id=f"dmc/{name}",
        obs_shape=(obs_dim,),
        action_dim=action_dim,
        max_episode_steps=MAX_EPISODE_STEPS,
        score_metric="return",
        norm_low=0.0,
        norm_high=1000.0,
        random_return=random_return,
        step_ms=_STEP_MS[name.split("-")[0]],
        source=SOURCE,
    )


TASKS = {name: _spec(name, *sizes) for name, sizes in _SIZES.items()}


class DmcState(StateAtWill):
    """The state of a dm_control environment, `_env`."""

    _env: control.Environment

    @property
    def model(self) -> Any:
        return self._env.physics.model.ptr

    @property
    def data(self) -> Any:
        return self._env.physics.data.ptr


class PlainDmcEnv(DmcState, gymnasium.Env):
    """One dm_control task as a gymnasium environment, as dm_control steps it; actions are in [-1, 1] already."""

    def __init__(self, spec: TaskSpec):
        from envs.suites.dmc import custom

        self._env = custom.load(*spec.name.split("-", 1), task_kwargs={"random": 0})
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, spec.obs_shape, np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": frames_per_second(self._env)}

    def reset(self, *, seed: int | None = None, options=None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self._env.task._random = np.random.RandomState(seed)
        return flatten(self._env.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        from dm_control.rl import control

        try:
            timestep = self._env.step(action)
        except control.PhysicsError as error:
            raise DivergedError(str(error)) from error
        terminated = timestep.last() and timestep.discount == 0.0
        truncated = timestep.last() and not terminated
        return flatten(timestep.observation), float(timestep.reward), terminated, truncated, {}

    def render(self) -> np.ndarray:
        """A frame of the task's first camera, `[H, W, 3]`; needs MUJOCO_GL set before dm_control is imported."""
        return self._env.physics.render(*FRAME_SIZE, camera_id=0)

    def close(self) -> None:
        self._env.close()


class DmcEnv(DmcState, MujocoEnv):
    """The numbers of `PlainDmcEnv` sooner, and nothing to see. All tasks end by truncation only."""

    def __init__(self, spec: TaskSpec):
        from envs.suites.dmc import lean

        self._env = lean.load(*spec.name.split("-", 1))
        self._stepper = lean.Stepper(self._env)
        super().__init__(spec, frames_per_second(self._env))

    def begin(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._env.task._random = np.random.RandomState(seed)
        return flatten(self._env.reset().observation)

    def move(self, action: np.ndarray) -> None:
        self._env.task.before_step(action, self._env.physics)
        self._stepper.step()

    def see(self) -> tuple[np.ndarray, float, bool, dict]:
        task, physics = self._env.task, self._env.physics
        task.after_step(physics)
        reward, observation = task.get_reward(physics), task.get_observation(physics)
        return flatten(observation), reward, False, {}

    def close(self) -> None:
        self._env.close()


def frames_per_second(env: control.Environment) -> int:
    """Control steps a second of an environment, at which a film of it is in real time."""
    return round(1 / env.control_timestep())


def flatten(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Entries in alphabetical order of their keys, each raveled in C order, as float32 `[O]`."""
    return np.concatenate([np.ravel(observation[key]) for key in sorted(observation)]).astype(np.float32)


def make(spec: TaskSpec, *, render: bool = False) -> DmcEnv | PlainDmcEnv:
    """An environment of the task; one that renders is dm_control's own, which has something to see."""
    return PlainDmcEnv(spec) if render else DmcEnv(spec)


def plain(spec: TaskSpec) -> PlainDmcEnv:
    """The task as dm_control steps it, to compare with."""
    return PlainDmcEnv(spec)
