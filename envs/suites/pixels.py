"""Tiny tasks with the observations and the kind of actions of Atari games, for trying the discrete agent on a CPU.

`catch`: balls fall one by one through a grid of 7 x 7 cells while a paddle in the bottom row moves left, stays or moves
right. A ball that lands on it is a reward of 1; ten balls are an episode. All can be caught. `catch-swapped`
looks the same and has left and right swapped, so that only a network that knows the task can do both.
"""

from __future__ import annotations

import gymnasium
import numpy as np

from envs.spec import TaskSpec

PRELOAD = ()
NEEDS_GL = False
GRID, CELL, STACK, BALLS = 7, 12, 4, 10
SIZE = GRID * CELL
STEPS_PER_BALL = GRID  # into the top row, then down
SOURCE = "1 of 7 columns and 10 balls; random_return: mean of 1,000 episodes, `python -m envs.random_return`"

# name: (which way action 0 moves, random_return)
_TASKS: dict[str, tuple[int, float]] = {"catch": (-1, 1.4), "catch-swapped": (1, 1.4)}


def _spec(name: str, random_return: float) -> TaskSpec:
    return TaskSpec(
        id=f"pixels/{name}",
        obs_shape=(STACK, SIZE, SIZE),
        obs_dtype="uint8",
        action_dim=3,
        action_kind="discrete",
        max_episode_steps=BALLS * STEPS_PER_BALL,
        score_metric="return",
        norm_low=BALLS / GRID,
        norm_high=float(BALLS),
        random_return=random_return,
        source=SOURCE,
    )


TASKS = {name: _spec(name, random_return) for name, (_, random_return) in _TASKS.items()}


class CatchEnv(gymnasium.Env):
    """Actions 0, 1, 2: one way, stay, the other way. Ends by termination when the last ball has landed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, direction: int):
        self._direction = direction
        self._rng = np.random.default_rng(0)
        self._frames = np.zeros((STACK, SIZE, SIZE), np.uint8)
        self._ball = [0, 0]  # row, column; above the grid at first
        self._paddle = 0
        self._landed = 0
        self.observation_space = gymnasium.spaces.Box(0, 255, (STACK, SIZE, SIZE), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._frames[:] = 0
        self._landed = 0
        self._paddle = int(self._rng.integers(GRID))
        self._drop()
        self._show()
        return self._frames.copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        move = self._direction * (1 - int(action))
        self._paddle = min(max(self._paddle + move, 0), GRID - 1)
        self._ball[0] += 1
        reward = 0.0
        if self._ball[0] == GRID - 1:
            reward = float(self._ball[1] == self._paddle)
            self._landed += 1
        self._show()
        if self._ball[0] == GRID - 1:
            self._drop()
        return self._frames.copy(), reward, self._landed == BALLS, False, {}

    def _drop(self) -> None:
        self._ball = [-1, int(self._rng.integers(GRID))]

    def _show(self) -> None:
        """Push a frame: the ball white, the paddle grey."""
        cells = np.zeros((GRID, GRID), np.uint8)
        cells[GRID - 1, self._paddle] = 128
        if self._ball[0] >= 0:
            cells[self._ball[0], self._ball[1]] = 255
        self._frames[:-1] = self._frames[1:]
        self._frames[-1] = cells.repeat(CELL, 0).repeat(CELL, 1)

    def render(self) -> np.ndarray:
        return np.repeat(self._frames[-1][..., None], 3, axis=-1)


def make(spec: TaskSpec, *, render: bool = False) -> CatchEnv:
    """An environment of the task; every one can render."""
    direction, _ = _TASKS[spec.name]
    return CatchEnv(direction)
