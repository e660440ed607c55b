"""Stock DeepMind Control tasks: 1,000 steps, no action repeat, always ended by truncation (specs: DMC)."""

from __future__ import annotations

import os

# Physics needs no renderer, and dm_control tries every GL back end on import otherwise.
os.environ.setdefault("MUJOCO_GL", "disabled")

import gymnasium
import numpy as np

from envs.spec import TaskSpec

PRELOAD = ("dm_control.suite",)
MAX_EPISODE_STEPS = 1000
SOURCE = "dm_control 1.0.28; random_return: mean of 20 episodes, `python -m envs.random_return`"

# name: (obs_dim, action_dim, random_return)
_SIZES: dict[str, tuple[int, int, float]] = {
    "dog-stand": (223, 38, 20.6),
    "dog-walk": (223, 38, 7.3),
    "dog-trot": (223, 38, 6.8),
    "dog-run": (223, 38, 5.4),
    "humanoid-stand": (67, 21, 5.9),
    "humanoid-walk": (67, 21, 1.1),
    "humanoid-run": (67, 21, 0.8),
    "walker-stand": (24, 6, 129.9),
    "walker-walk": (24, 6, 32.0),
    "walker-run": (24, 6, 22.2),
    "cheetah-run": (17, 6, 3.7),
    "reacher-easy": (6, 2, 70.0),
    "reacher-hard": (6, 2, 14.7),
    "acrobot-swingup": (6, 1, 5.8),
    "pendulum-swingup": (3, 1, 0.5),
    "cartpole-balance": (5, 1, 370.4),
    "cartpole-balance_sparse": (5, 1, 47.4),
    "cartpole-swingup": (5, 1, 30.7),
    "cartpole-swingup_sparse": (5, 1, 0.0),
    "ball_in_cup-catch": (8, 2, 272.6),
    "finger-spin": (9, 2, 0.5),
    "finger-turn_easy": (12, 2, 121.2),
    "finger-turn_hard": (12, 2, 52.4),
    "fish-swim": (24, 5, 92.4),
    "hopper-stand": (15, 4, 0.7),
    "hopper-hop": (15, 4, 0.0),
}


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
        source=SOURCE,
    )


TASKS = {name: _spec(name, *sizes) for name, sizes in _SIZES.items()}


def flatten(observation: dict[str, np.ndarray]) -> np.ndarray:
    """Entries in alphabetical order of their keys, each raveled in C order, as float32 `[O]`."""
    return np.concatenate([np.ravel(observation[key]) for key in sorted(observation)]).astype(np.float32)


class DmcEnv(gymnasium.Env):
    """One dm_control suite task as a gymnasium environment; actions are in [-1, 1] already."""

    def __init__(self, name: str):
        from dm_control import suite

        domain, task = name.split("-", 1)
        self._env = suite.load(domain, task, task_kwargs={"random": 0})
        obs_dim, action_dim, _ = _SIZES[name]
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options=None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self._env.task._random = np.random.RandomState(seed)
        return flatten(self._env.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        timestep = self._env.step(action)
        terminated = timestep.last() and timestep.discount == 0.0
        truncated = timestep.last() and not terminated
        return flatten(timestep.observation), float(timestep.reward), terminated, truncated, {}

    def close(self) -> None:
        self._env.close()


def make(spec: TaskSpec) -> DmcEnv:
    return DmcEnv(spec.name)
