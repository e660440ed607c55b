"""Random play gives each episode the same start and actions whoever plays it."""

import dataclasses

import numpy as np
import pytest

from envs import registry
from envs.random_return import main, random_episodes
from envs.seeding import episode_seed, seed_sequence


@pytest.fixture(scope="module")
def short():
    return dataclasses.replace(registry.spec("dmc/pendulum-spin"), max_episode_steps=15)


def test_returns_do_not_depend_on_the_number_of_environments(short):
    returns, successes = random_episodes(short, 4, num_envs=3)
    np.testing.assert_array_equal(returns, random_episodes(short, 4, num_envs=1)[0])
    assert returns.shape == successes.shape == (4,)
    assert len(set(returns)) == 4
    assert not successes.any()


def test_an_episode_is_that_of_its_own_streams(short):
    env = registry.make(short)
    env.reset(seed=episode_seed(0, short.id, "train", 2))
    rng = np.random.default_rng(seed_sequence(0, short.id, "random_actions", 2))
    rewards = [env.step(rng.uniform(-1, 1, 1).astype(np.float32))[1] for _ in range(15)]
    assert random_episodes(short, 3)[0][2] == pytest.approx(sum(rewards))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dmc/dog-rum"], "dmc/dog-rum: no such task; tasks of the suite: "),
        (["dog-run"], "dog-run: no suite 'dog-run'; suites: "),
        (["--episodes", "0"], "--episodes: 0 is below 1"),
        (["--epsodes", "3"], "--epsodes: no such option"),
    ],
)
def test_a_wrong_argument_is_one_line(capsys, arguments, expected):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {expected}")
