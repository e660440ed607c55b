"""Every registered task is what its specification says."""

import dataclasses

import gymnasium
import numpy as np
import pytest

from envs import registry
from envs.registry import UnknownTaskError
from envs.spec import SpaceSpec

FAST = (
    "dmc/walker-walk", "dmc/cheetah-run", "dmc/reacher-hard", "dmc/finger-turn_easy", "dmc/fish-swim", "dmc/hopper-hop",
    "dmc/cheetah-jump", "dmc/reacher-three_hard", "dmc/ball_in_cup-spin", "metaworld/soccer", "metaworld/hammer",
    "metaworld/peg-insert-side", "shadowhand/mug", "shadowhand/gelatin_box",
    "humanoidbench/h1-run", "humanoidbench/h1hand-balance_hard",
)  # fmt: skip


NEVER_TERMINATING = ("dmc", "metaworld", "shadowhand")
"""Suites whose episodes end by their limit alone."""
ALWAYS_ALIKE = ("humanoidbench/h1hand-bookshelf_simple",)
"""Tasks whose episodes all start in one state."""


def sweep(prefix: str = "") -> list:
    """All tasks of continuous actions whose id begins so; all but a handful are slow."""
    ids = [spec.id for spec in registry.all_tasks() if spec.action_kind == "continuous" and spec.id.startswith(prefix)]
    return [pytest.param(task_id, marks=[] if task_id in FAST else pytest.mark.slow) for task_id in ids]


@pytest.mark.parametrize("task_id", sweep())
def test_environment_keeps_its_specification(task_id):
    """Spaces, types, finite values; ended or cut at the limit; an episode repeats from its seed, after another too."""
    spec = registry.spec(task_id)
    env = registry.make(spec)
    obs_space, action_space = env.observation_space, env.action_space
    assert isinstance(obs_space, gymnasium.spaces.Box)
    assert isinstance(action_space, gymnasium.spaces.Box)
    assert (obs_space.shape, obs_space.dtype) == (spec.obs_shape, spec.obs_dtype)
    assert (action_space.shape, action_space.dtype) == ((spec.action_dim,), np.float32)
    assert (action_space.low == -1).all()
    assert (action_space.high == 1).all()

    def play(seed: int, steps: int) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        obs, _ = env.reset(seed=seed)
        seen = [obs]
        for time in range(1, steps + 1):
            obs, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, spec.action_dim).astype(np.float32))
            assert (obs.shape, obs.dtype) == (spec.obs_shape, spec.obs_dtype)
            assert isinstance(reward, float)
            assert np.isfinite(obs).all()
            assert np.isfinite(reward)
            assert truncated == (time == spec.max_episode_steps and not terminated)
            assert isinstance(terminated, bool)
            assert not (terminated and spec.suite in NEVER_TERMINATING)
            seen.append(np.append(obs, np.float32(reward)))
            if terminated:
                break
        return seen

    episode = play(1, spec.max_episode_steps)
    other = play(2, 10)
    assert np.array_equal(other[0], episode[0]) == (task_id in ALWAYS_ALIKE)
    for found, expected in zip(play(1, 30), episode, strict=False):
        np.testing.assert_array_equal(found, expected)
    env.close()


@pytest.mark.parametrize("task_id", sweep("dmc/"))
def test_sizes_and_limits_are_dm_controls(task_id):
    from envs.suites.dmc import custom as dmc_custom

    spec = registry.spec(task_id)
    original = dmc_custom.load(*spec.name.split("-", 1))
    observations = sum(int(np.prod(entry.shape)) for entry in original.observation_spec().values())
    action = original.action_spec()
    assert spec.obs_shape == (observations,)
    assert (spec.action_dim,) == action.shape
    assert (action.minimum == -1).all()
    assert (action.maximum == 1).all()
    assert spec.max_episode_steps == original._step_limit


def test_specifications_are_stored_under_their_own_id():
    for spec in registry.all_tasks():
        assert registry.spec(spec.id) is spec


@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        ("dmc/dog-fly", "dmc/dog-fly: no such task; tasks of the suite: dog-stand, "),
        ("dmcc/dog-run", "dmcc/dog-run: no suite 'dmcc'; suites: dmc, metaworld"),
        ("dog-run", "dog-run: no suite 'dog-run'; suites: dmc, metaworld"),
        ("dmc/", "dmc/: no such task"),
    ],
)
def test_unknown_ids_are_answered_with_what_there_is(task_id, message):
    with pytest.raises(UnknownTaskError, match=message):
        registry.spec(task_id)


def test_benchmarks_name_registered_tasks_only():
    from conf.compose import compose
    from conf.yaml_groups import groups

    for name in groups()["benchmark"]:
        for task_id in compose([f"benchmark={name}"]).benchmark.task_ids:
            assert registry.spec(task_id).id == task_id


def test_metaworld_dmc_is_thirty_tasks_of_dm_control_and_then_metaworld():
    from conf.compose import compose

    both, metaworld = (compose([f"benchmark={name}"]).benchmark.task_ids for name in ("metaworld_dmc", "metaworld"))
    assert len(metaworld) == 50
    assert metaworld == tuple(spec.id for spec in registry.all_tasks() if spec.suite == "metaworld")
    assert both[30:] == metaworld
    hard = compose(["benchmark=dmc_hard"]).benchmark.task_ids
    assert {*both[:30], *hard} == {spec.id for spec in registry.all_tasks() if spec.suite == "dmc"}
    space = SpaceSpec.of(registry.specs(both))
    assert (space.obs_shape, space.action_shape) == ((39,), (6,))


def test_common_space_is_the_widest_and_normalised_score_is_linear():
    specs = [registry.spec("dmc/dog-run"), registry.spec("dmc/humanoid-run")]
    space = SpaceSpec.of(specs)
    assert (space.obs_shape, space.action_shape) == ((223,), (38,))
    assert specs[0].normalised(250.0) == 0.25
    scored = dataclasses.replace(specs[0], norm_low=-10.0, norm_high=30.0)
    assert scored.normalised(40.0) == 1.25  # not clipped
    assert dataclasses.replace(specs[0], norm_low=None).normalised(1.0) is None


def test_tasks_that_cannot_share_an_array_are_refused():
    vector = registry.spec("dmc/dog-run")
    frames = dataclasses.replace(vector, id="atari/pong", obs_shape=(4, 84, 84), obs_dtype="uint8")
    with pytest.raises(ValueError, match="dmc/dog-run, atari/pong"):
        SpaceSpec.of([vector, frames])
