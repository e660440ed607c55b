"""A suite whose episodes are written down: every return, success and end is known by hand."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator

import gymnasium
import numpy as np
import pytest

from envs import registry
from envs.seeding import episode_seed
from envs.spec import TaskSpec

LENGTHS = {"short": 3, "long": 7}
"""Steps of an episode: `short` ends by termination, `long` by truncation."""
WIDTHS = {"short": (2, 1), "long": (3, 2)}
"""(observation, action) widths: unequal, so that rows are padded."""


EVENTS: dict[tuple[str, int], Callable[[], object]] = {}
"""(task, step of its environment) -> what happens there; of a test."""


def make_spec(name: str) -> TaskSpec:
    obs_dim, action_dim = WIDTHS[name]
    return TaskSpec(
        id=f"scripted/{name}",
        obs_shape=(obs_dim,),
        action_dim=action_dim,
        max_episode_steps=10,
        score_metric="return",
        norm_low=0.0,
        norm_high=100.0,
        random_return=None,
        source="this file",
    )


TASKS = {name: make_spec(name) for name in LENGTHS}


class ScriptedEnv(gymnasium.Env):
    """Pays `seed % 100 + time` at each step and succeeds at the second step of an episode with an even seed.

    The observation holds the sum of the actions since the reset, so that only the same actions lead back to it.
    """

    def __init__(self, name: str):
        self._name = name
        self._steps = 0  # of all episodes
        self._width = WIDTHS[name][0]

    def reset(self, *, seed=None, options=None):
        assert seed is not None
        self._seed, self._time, self._sum = seed, 0, 0.0
        return self._obs(), {}

    def step(self, action):
        assert action.shape == (WIDTHS[self._name][1],)
        self._time += 1
        self._steps += 1
        EVENTS.get((self._name, self._steps), lambda: None)()
        self._sum += float(action.sum())
        over = self._time == LENGTHS[self._name]
        terminated, truncated = over and self._name == "short", over and self._name == "long"
        success = self._time == 2 and self._seed % 2 == 0
        return self._obs(), float(self._seed % 100 + self._time), terminated, truncated, {"success": success}

    def _obs(self) -> np.ndarray:
        return np.asarray([self._sum, self._time / 10, self._seed % 7][: self._width], np.float32)


def expected_return(task: str, seed: int) -> float:
    length = LENGTHS[task]
    return float(seed % 100 * length + length * (length + 1) // 2)


def expected_training_rows(run_seed: int, env_steps: int) -> list[tuple[int, str, str, float]]:
    """(env_steps, name, task id, value) of every training episode that has ended by `env_steps`, in order of a run."""
    ended: dict[int, list[tuple[str, int]]] = {}
    for task, length in LENGTHS.items():
        for episode, end in enumerate(range(length, env_steps + 1, length)):
            ended.setdefault(end, []).append((task, episode_seed(run_seed, f"scripted/{task}", "train", episode)))
    rows = []
    for end in sorted(ended):
        rows += [(end, "train/return", f"scripted/{task}", expected_return(task, seed)) for task, seed in ended[end]]
        rows += [(end, "train/success", f"scripted/{task}", float(seed % 2 == 0)) for task, seed in ended[end]]
    return rows


def expected_evaluation_rows(run_seed: int, point: int, episodes: int) -> list[tuple[int, str, str | None, float]]:
    """(env_steps, name, task id or None, value) of the evaluation at `point`."""
    rows: list[tuple[int, str, str | None, float]] = []
    scores = []
    for task in LENGTHS:
        task_id = f"scripted/{task}"
        seeds = [episode_seed(run_seed, task_id, "eval", point, number) for number in range(episodes)]
        mean = float(np.mean([expected_return(task, seed) for seed in seeds]))
        scores.append(mean / 100)
        rows.append((point, "eval/return", task_id, mean))
        rows.append((point, "eval/success", task_id, float(np.mean([seed % 2 == 0 for seed in seeds]))))
        rows.append((point, "eval/score", task_id, mean / 100))
    return [*rows, (point, "eval/score", None, float(np.mean(scores)))]


@contextlib.contextmanager
def known() -> Iterator[None]:
    """The registry knows the suite's tasks inside the block."""
    suite = types.SimpleNamespace(
        TASKS=TASKS, PRELOAD=(), NEEDS_GL=False, make=lambda spec, render=False: ScriptedEnv(spec.name)
    )
    module = registry.suite_module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            registry, "suite_module", lambda task_id: suite if task_id.startswith("scripted/") else module(task_id)
        )
        yield


@pytest.fixture
def scripted_suite() -> Iterator[list[TaskSpec]]:
    """The suite's tasks, which the registry knows for the length of a test."""
    with known():
        yield list(TASKS.values())
