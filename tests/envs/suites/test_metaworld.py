"""Meta-World's tasks: the library's numbers, with episodes that depend on their reset seed alone."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP

from conf.compose import compose
from conf.schema import MetaworldConfig
from envs import registry
from envs.seeding import episode_seed
from envs.suites.metaworld import TASKS, MetaworldEnv

pytestmark = pytest.mark.filterwarnings("ignore:Constant.s. may be too high")  # of the hand-written policies

# With few and many moving parts, a wall, a mechanism, two objects, a goal that is another object's place.
SOME = ["reach-wall", "pick-place", "door-open", "stick-push", "peg-insert-side"]
SLOW = [pytest.param(name, marks=[] if name in SOME else pytest.mark.slow) for name in TASKS]


def make(name: str, goal_sampling: str = "per_reset"):
    spec = registry.spec(f"metaworld/{name}")
    return registry.make(dataclasses.replace(spec, options=MetaworldConfig(goal_sampling)))  # type: ignore[arg-type]


def play(env, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations `[steps + 1, 39]` and rewards `[steps]` under random actions."""
    obs = [env.reset(seed=seed)[0]]
    rewards = []
    for action in np.random.default_rng(11).uniform(-1, 1, (steps, 4)).astype(np.float32):
        next_obs, reward, *_ = env.step(action)
        obs.append(next_obs)
        rewards.append(reward)
    return np.stack(obs), np.array(rewards)


def scripted(policy, obs: np.ndarray) -> np.ndarray:
    return np.clip(policy.get_action(obs.astype(np.float64)), -1, 1).astype(np.float32)


def follow_script(env, name: str, seed: int) -> list[dict]:
    """Steps of an episode in which the library's hand-written policy acts."""
    policy = ENV_POLICY_MAP[f"{name}-v3"]()
    obs, _ = env.reset(seed=seed)
    steps, truncated = [], False
    while not truncated:
        obs, reward, terminated, truncated, info = env.step(scripted(policy, obs))
        steps.append({"reward": reward, "terminated": terminated, "success": info["success"]})
    return steps


def test_tasks_are_the_librarys_in_its_order():
    assert [f"{name}-v3" for name in TASKS] == list(ALL_V3_ENVIRONMENTS)


@pytest.mark.parametrize("name", SLOW)
def test_an_episode_is_that_of_the_librarys_goal_observable_task(name):
    """From the object positions and goal that the library drew for seed 3, as its hand-written policy acts."""
    original = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{name}-v3-goal-observable"](seed=3)
    env = make(name)
    env._env._freeze_rand_vec, env._env._last_rand_vec = True, original._last_rand_vec
    policy = ENV_POLICY_MAP[f"{name}-v3"]()
    obs, (original_obs, _) = env.reset(seed=0)[0], original.reset()
    np.testing.assert_array_equal(obs, original_obs.astype(np.float32))
    for _ in range(200):
        action = scripted(policy, original_obs)
        obs, reward, _, _, info = env.step(action)
        original_obs, original_reward, _, _, original_info = original.step(action)
        np.testing.assert_array_equal(obs, original_obs.astype(np.float32))
        assert reward == pytest.approx(float(original_reward), rel=1e-6)  # the library's is single precision at times
        assert info["success"] == original_info["success"]


@pytest.mark.parametrize("name", SLOW)
def test_an_episode_depends_on_its_seed_and_not_on_those_before_it(name):
    fresh, used = make(name), make(name)
    follow_script(used, name, seed=4)  # moves objects about
    for found, expected in zip(play(used, 5, 20), play(fresh, 5, 20), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", SOME)
def test_a_new_goal_at_each_reset_is_seen_in_every_step(name):
    env = make(name)
    goals = []
    for seed in (1, 2):
        obs, _ = play(env, seed, 5)
        assert (obs[:, 36:] == obs[0, 36:]).all()
        assert obs[0, 36:].any()
        goals.append(obs[0, 36:])
    assert not np.array_equal(*goals)


def test_fixed_goals_are_one_per_task_for_all_episodes_and_runs():
    one, other = make("pick-place", "fixed"), make("pick-place", "fixed")
    start, _ = one.reset(seed=1)
    for env, seed in ((one, 2), (other, 3)):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], start)
    free, _ = make("pick-place").reset(seed=episode_seed(0, "metaworld/pick-place", "train", 0))
    np.testing.assert_array_equal(free, start)
    assert not np.array_equal(make("reach", "fixed").reset(seed=1)[0][36:], start[36:])


def test_goal_sampling_comes_from_the_configuration():
    config = compose(["benchmark=metaworld", "env.metaworld.goal_sampling=fixed"])
    options = {spec.options for spec in registry.specs(config.benchmark.task_ids, config.env)}
    assert options == {MetaworldConfig("fixed")}
    assert registry.spec("metaworld/reach").options == MetaworldConfig("per_reset")


@pytest.mark.parametrize("name", ["reach", "stick-push", "handle-press"])
def test_success_is_told_at_its_steps_and_ends_nothing(name):
    """Of the script. Stick-push counts while the stick is gripped; handle-press lets go, so that success passes."""
    steps = follow_script(make(name), name, seed=4)
    assert len(steps) == 200
    assert not any(step["terminated"] for step in steps)
    successes = [step["success"] for step in steps]
    assert {type(success) for success in successes} == {bool}
    assert not successes[0]
    assert any(successes)
    assert all(0 <= step["reward"] <= 10 for step in steps)
    if name == "handle-press":
        assert not successes[-1]


def test_films_show_what_lean_tasks_do():
    """With all that there is to see, the same numbers."""
    for name in ("push", "drawer-open", "stick-pull"):
        spec = registry.spec(f"metaworld/{name}")
        lean, complete = MetaworldEnv(spec), MetaworldEnv(spec, render=True)
        rng = np.random.default_rng(0)
        np.testing.assert_array_equal(lean.reset(seed=3)[0], complete.reset(seed=3)[0])
        for action in rng.uniform(-1, 1, (50, 4)).astype(np.float32):
            for ours, theirs in zip(lean.step(action), complete.step(action), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        lean.close()
        complete.close()


def test_closing_frees_the_simulation():
    env = registry.make(registry.spec("metaworld/reach"))
    env.reset(seed=0)
    simulation = weakref.ref(env._env.data)
    env.close()
    del env
    gc.collect()
    assert simulation() is None
