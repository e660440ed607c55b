"""An evaluation is exactly the asked episodes of each task, by their number, with an episode's success at any step."""

import dataclasses
import types

import gymnasium
import numpy as np
import pytest

from agents.training.evaluate import Evaluator
from conf.compose import compose
from envs import registry
from envs.seeding import episode_seed
from envs.spec import TaskSpec

LENGTHS = {"short": 3, "long": 7}
EPISODES = 5


class Scripted(gymnasium.Env):
    """Pays `seed % 100` at each step; succeeds once, at the second step, where the seed is even. Lengths differ."""

    def __init__(self, name: str):
        self._length = LENGTHS[name]

    def reset(self, *, seed=None, options=None):
        self._seed, self._time = seed, 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self._time += 1
        success = self._time == 2 and self._seed % 2 == 0
        over = self._time == self._length
        return np.zeros(2, np.float32), float(self._seed % 100), False, over, {"success": success}


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> list[TaskSpec]:
    base = dataclasses.replace(registry.spec("dmc/cartpole-balance"), obs_shape=(2,), max_episode_steps=10)
    made = [dataclasses.replace(base, id=f"scripted/{name}") for name in LENGTHS]
    suite = types.SimpleNamespace(make=lambda spec, render=False: Scripted(spec.name))
    monkeypatch.setattr(registry, "suite_module", lambda task_id: suite)
    return made


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_episodes_are_those_asked_for_whatever_ends_first(specs: list[TaskSpec], parallel: int):
    settings = [f"eval.episodes={EPISODES}", f"eval.parallel_episodes={parallel}", "env.backend=inline", "seed=4"]
    evaluator = Evaluator(compose(settings), specs)
    result = evaluator.run(lambda obs, task_ids: np.zeros((len(obs), 1), np.float32), env_steps=600)
    assert result is not None
    for spec, returns, successes in zip(specs, result.returns, result.successes, strict=True):
        seeds = [episode_seed(4, spec.id, "eval", 600, number) for number in range(EPISODES)]
        assert returns.tolist() == [seed % 100 * LENGTHS[spec.name] for seed in seeds]
        assert successes.tolist() == [seed % 2 == 0 for seed in seeds]
