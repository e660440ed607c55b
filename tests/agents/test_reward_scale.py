"""Return bounds and the learner's reward scale, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from agents.learner import brc as continuous
from agents.learner.brc import Settings
from agents.training.reward_scale import ReturnBounds, returns_to_go
from envs.vector import Step
from tests.agents.settings import brc_settings


def step(reward, over=(False, False), terminated=(False, False), truncated=None) -> Step:
    over, terminated = np.asarray(over), np.asarray(terminated)
    truncated = over & ~terminated if truncated is None else np.asarray(truncated)
    obs = np.zeros((2, 1), np.float32)
    return Step(obs, obs, np.asarray(reward, np.float32), terminated, truncated, over, *np.zeros((2, 2), bool))


def test_returns_to_go_after_a_termination():
    # From the end: 4; 2 + 4/2 = 4; 1 + 4/2 = 3.
    np.testing.assert_allclose(returns_to_go(np.array([1.0, 2.0, 4.0]), 0.5, 0.0), [3, 4, 4])


def test_returns_to_go_go_on_with_what_follows():
    # 3 + 4/2 = 5; 2 + 2.5 = 4.5; 1 + 2.25 = 3.25.
    np.testing.assert_allclose(returns_to_go(np.array([1.0, 2.0, 3.0]), 0.5, 4.0), [3.25, 4.5, 5])


def test_a_cut_episode_goes_on_with_its_mean_reward_or_with_the_value_that_is_given():
    """The release and the paper; after a termination nothing follows in either."""
    for cut_value, expected in ((None, [2, 2 + 1 / 0.5 / 2]), (np.asarray([30.0, 30.0]), [2, 2 + 30 / 2])):
        bounds = ReturnBounds(2, 0.5)
        bounds.insert(step([0, 0]))
        bounds.insert(step([2, 2], over=[True, True], terminated=[True, False]), cut_value)
        np.testing.assert_allclose(bounds.return_scale, expected)


def test_bounds_are_the_largest_magnitude_over_finished_episodes():
    bounds = ReturnBounds(2, 0.5)
    bounds.insert(step([1, -8]))
    bounds.insert(step([4, 4], over=[True, True], terminated=[True, False]))
    # Task 0 terminated: 4, 1 + 2 = 3. Task 1 truncated with mean -2: -4 follows; 4 - 2 = 2; -8 + 1 = -7.
    np.testing.assert_allclose(bounds.return_scale, [4, 7])
    bounds.insert(step([-9, 1], over=[True, True], terminated=[True, True]))
    np.testing.assert_allclose(bounds.return_scale, [9, 7])
    bounds.insert(step([100, 100]))  # not finished: no say yet
    np.testing.assert_allclose(bounds.return_scale, [9, 7])


def test_an_episode_that_both_terminates_and_is_truncated_counts_as_truncated():
    bounds = ReturnBounds(2, 0.5)
    bounds.insert(step([1, 1], over=[True, True], terminated=[True, True], truncated=[False, True]))
    np.testing.assert_allclose(bounds.return_scale, [1, 2])


def test_before_an_episode_has_ended_the_scale_is_the_mean_magnitude_over_the_horizon():
    bounds = ReturnBounds(2, 0.75)
    np.testing.assert_allclose(bounds.return_scale, [0, 0])
    bounds.insert(step([1, -2]))
    bounds.insert(step([3, 0]))
    np.testing.assert_allclose(bounds.return_scale, [2 * 4, 1 * 4])
    bounds.insert(step([0, 0], over=[False, True], terminated=[False, True]))
    # Task 1: 0; 0; -2, and from now on its own bound.
    np.testing.assert_allclose(bounds.return_scale, [4 / 3 * 4, 2], rtol=1e-6)
    assert bounds.return_scale.dtype == np.float32


def test_state_comes_back_in_mid_episode():
    rng = np.random.default_rng(0)
    steps = [step(rng.normal(size=2), over=[time % 7 == 6, time % 5 == 4]) for time in range(40)]
    whole, first, second = (ReturnBounds(2, 0.9) for _ in range(3))
    for one in steps:
        whole.insert(one)
    for one in steps[:24]:  # three and four steps into an episode
        first.insert(one)
    second.load(first.state())
    for one in steps[24:]:
        second.insert(one)
    np.testing.assert_array_equal(second.return_scale, whole.return_scale)
    for name, array in whole.state()._asdict().items():
        np.testing.assert_array_equal(getattr(second.state(), name), array, err_msg=name)


def settings(kind: str) -> Settings:
    return brc_settings(
        num_tasks=2, obs_dim=1, action_dim=4, width=1, depth=0, actor_width=1, actor_depth=0, reward_scale=kind
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Release: lambda = -temp * (-A / 2) / 2 / (1 - 0.99) = 0.1 * 2 / 2 * 100 = 10, for both.
        ("release", [10 / (90 + 10), 10 / (10 + 10)]),
        # Paper: lambda_i = temp * H_i / (1 - 0.99) = 0.1 * (1, 3) * 100 = 10, 30.
        ("paper", [10 / (90 + 10), 10 / (10 + 30)]),
        ("return", [10 / 90, 10 / 10]),
        ("off", [1, 1]),
    ],
)
def test_entropy_corrections_by_hand(kind, expected):
    found = continuous.entropy_reward_factor(
        settings(kind), jnp.asarray([90.0, 10.0]), jnp.float32(0.1), jnp.asarray([1.0, 3.0])
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["release", "paper"])
def test_divisor_is_never_below_one(kind):
    """Returns of nothing but zeros, a temperature near zero, and entropies below zero."""
    scale = continuous.entropy_reward_factor(
        settings(kind), jnp.asarray([0.0, 0.5]), jnp.float32(1e-6), jnp.asarray([-9.0, -1e9])
    )
    np.testing.assert_allclose(scale, [10, 10])
