"""Meta-World's 50 tasks: goal visible, reward "v2", 200 steps, always ended by truncation.

These are version 3 of the tasks; published results are of version 2, which drew the same starts and goals and paid
rewards within 0.5 (of 10) of these. The score of an episode is whether any of its steps succeeded.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np

from conf.schema import MetaworldConfig
from envs.seeding import episode_seed
from envs.spec import TaskSpec
from envs.suites.shared.mujoco_env import MujocoEnv, check_state

PRELOAD = ("envs.suites.metaworld.lean", "metaworld.env_dict")
NEEDS_GL = True
MAX_EPISODE_STEPS = 200
FRAME_SIZE = 240, 320  # height, width of a rendered frame
RENDER_FPS = 80
OBS_DIM = 39
ACTION_DIM = 4
SOURCE = "metaworld 3.1.1; random_return: mean of 100 episodes, `python -m envs.random_return`"

# name: (random_return, step_ms), in the order of MT50
_MEASURED: dict[str, tuple[float, float]] = {
    "assembly": (91.4, 0.31),
    "basketball": (4.4, 0.18),
    "bin-picking": (4.1, 0.19),
    "box-close": (138.8, 0.29),
    "button-press-topdown": (63.5, 0.15),
    "button-press-topdown-wall": (112.2, 0.14),
    "button-press": (67.0, 0.14),
    "button-press-wall": (20.8, 0.14),
    "coffee-button": (63.1, 0.18),
    "coffee-pull": (8.3, 0.22),
    "coffee-push": (9.0, 0.20),
    "dial-turn": (70.3, 0.18),
    "disassemble": (76.2, 0.24),
    "door-close": (13.2, 0.17),
    "door-lock": (214.3, 0.17),
    "door-open": (115.9, 0.18),
    "door-unlock": (187.9, 0.17),
    "hand-insert": (6.1, 0.17),
    "drawer-close": (223.8, 0.18),
    "drawer-open": (272.0, 0.15),
    "faucet-open": (504.6, 0.15),
    "faucet-close": (524.6, 0.15),
    "hammer": (186.1, 0.21),
    "handle-press-side": (103.5, 0.15),
    "handle-press": (154.3, 0.14),
    "handle-pull-side": (4.0, 0.14),
    "handle-pull": (16.6, 0.14),
    "lever-pull": (112.9, 0.15),
    "pick-place-wall": (0.0, 0.17),
    "pick-out-of-hole": (3.0, 0.15),
    "pick-place": (3.0, 0.17),
    "plate-slide": (139.8, 0.14),
    "plate-slide-side": (48.9, 0.13),
    "plate-slide-back": (70.2, 0.13),
    "plate-slide-back-side": (61.8, 0.13),
    "peg-insert-side": (3.4, 0.18),
    "peg-unplug-side": (8.5, 0.21),
    "soccer": (10.8, 0.18),
    "stick-push": (4.8, 0.21),
    "stick-pull": (5.2, 0.19),
    "push": (11.4, 0.15),
    "push-wall": (12.3, 0.16),
    "push-back": (2.3, 0.16),
    "reach": (294.4, 0.14),
    "reach-wall": (287.9, 0.13),
    "shelf-place": (0.0, 0.18),
    "sweep-into": (28.9, 0.18),
    "sweep": (19.0, 0.17),
    "window-open": (86.1, 0.15),
    "window-close": (119.2, 0.17),
}


def _spec(name: str, random_return: float, step_ms: float) -> TaskSpec:
    return TaskSpec(
        id=f"metaworld/{name}",
        obs_shape=(OBS_DIM,),
        action_dim=ACTION_DIM,
        max_episode_steps=MAX_EPISODE_STEPS,
        score_metric="success",
        norm_low=0.0,
        norm_high=1.0,
        random_return=random_return,
        step_ms=step_ms,
        source=SOURCE,
        options=MetaworldConfig(goal_sampling="per_reset"),
    )


TASKS = {name: _spec(name, *measured) for name, measured in _MEASURED.items()}


def configured(spec: TaskSpec, options: MetaworldConfig) -> TaskSpec:
    """The task with these options."""
    return dataclasses.replace(spec, options=options)


class MetaworldEnv(MujocoEnv):
    """One Meta-World task as a gymnasium environment whose episodes are determined by `reset(seed=...)` alone.

    Meta-World seeds an environment once and lets its episodes differ by what was drawn since; here the seed of each
    reset determines where objects start and what the goal is. With `goal_sampling="fixed"` every episode of every run
    starts as the first training episode of seed 0 does. BRC's release fixes goals too, but by a run's seed, and
    evaluates on other ones; here evaluation has the goals of training.
    """

    def __init__(self, spec: TaskSpec, *, render: bool = False):
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        from envs.suites.metaworld.lean import lean

        super().__init__(spec, RENDER_FPS)
        task_class = lean(ALL_V3_ENVIRONMENTS[f"{spec.name}-v3"], complete=render)
        height, width = FRAME_SIZE
        view = {"render_mode": "rgb_array", "camera_name": "corner2", "height": height, "width": width}
        self._env = task_class(reward_function_version="v2", **(view if render else {}))
        self._env._partially_observable = False
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True
        self._env._set_task_called = True
        # Cached with a hidden goal's bounds of [0, 0], to which steps would clip the goal.
        self._env.__dict__.pop("sawyer_observation_space", None)
        self._fixed_seed = episode_seed(0, spec.id, "train", 0) if spec.options.goal_sampling == "fixed" else None
        self._warnings = self._env.data.warning.number

    @property
    def model(self) -> Any:
        return self._env.model

    @property
    def data(self) -> Any:
        return self._env.data

    def begin(self, seed: int | None) -> np.ndarray:
        if self._fixed_seed is not None:
            self._env.seed(self._fixed_seed)
        elif seed is not None:
            self._env.seed(seed)
        self._action = np.zeros(ACTION_DIM, np.float32)
        obs, _ = self._env.reset()
        return obs

    def move(self, action: np.ndarray) -> None:
        self._action = action
        self._env.begin_step(action)
        check_state(self._warnings)

    def see(self) -> tuple[np.ndarray, float, bool, dict]:
        obs, reward, info = self._env.end_step(self._action)
        return obs, reward, False, {"success": bool(info["success"])}

    def render(self) -> np.ndarray:
        """A frame `[H, W, 3]`, where made with `render`; Meta-World's cameras hang upside down."""
        return np.asarray(self._env.render())[::-1, ::-1]

    def close(self) -> None:
        self._env.close()


def make(spec: TaskSpec, *, render: bool = False) -> MetaworldEnv:
    """An environment of the task; one that renders has everything that there is to see."""
    return MetaworldEnv(spec, render=render)


def plain(spec: TaskSpec) -> gymnasium.Env:
    """The task as Meta-World's users step it, to compare with."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

    env = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{spec.name}-v3-goal-observable"](seed=0)  # type: ignore[call-arg]
    return gymnasium.wrappers.TimeLimit(env, MAX_EPISODE_STEPS)
