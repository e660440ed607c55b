"""Every registered task is what its specification says."""

import dataclasses

import numpy as np
import pytest

from envs import registry
from envs.registry import UnknownTaskError
from envs.spec import SpaceSpec

CHEAP = [
    "walker-walk", "cheetah-run", "reacher-hard", "acrobot-swingup", "pendulum-swingup", "cartpole-swingup_sparse",
    "ball_in_cup-catch", "finger-turn_easy", "fish-swim", "hopper-hop",
]  # fmt: skip


def check_against_dm_control(task_id: str) -> None:
    from dm_control import suite

    spec = registry.spec(task_id)
    original = suite.load(*spec.name.split("-", 1))
    observations = sum(int(np.prod(entry.shape)) for entry in original.observation_spec().values())
    action = original.action_spec()
    assert spec.obs_shape == (observations,)
    assert (spec.action_dim,) == action.shape
    assert (action.minimum == -1).all()
    assert (action.maximum == 1).all()
    assert spec.max_episode_steps == original._step_limit
    env = registry.make(registry.spec(task_id))
    obs, _ = env.reset(seed=1)
    assert (obs.shape, obs.dtype) == (spec.obs_shape, np.float32)
    env.close()


@pytest.mark.parametrize("name", CHEAP)
def test_sizes_and_limits_are_dm_controls(name):
    check_against_dm_control(f"dmc/{name}")


@pytest.mark.slow
@pytest.mark.parametrize("task_id", [spec.id for spec in registry.all_tasks()])
def test_sizes_and_limits_are_dm_controls_for_every_task(task_id):
    check_against_dm_control(task_id)


def test_specifications_are_stored_under_their_own_id():
    for spec in registry.all_tasks():
        assert registry.spec(spec.id) is spec


@pytest.mark.parametrize(
    ("task_id", "message"),
    [
        ("dmc/dog-fly", "dmc/dog-fly: no such task; tasks of the suite: dog-stand, "),
        ("dmcc/dog-run", "dmcc/dog-run: no suite 'dmcc'; suites: dmc"),
        ("dog-run", "dog-run: no suite 'dog-run'; suites: dmc"),
        ("dmc/", "dmc/: no such task"),
    ],
)
def test_unknown_ids_are_answered_with_what_there_is(task_id, message):
    with pytest.raises(UnknownTaskError, match=message):
        registry.spec(task_id)


def test_benchmarks_name_registered_tasks_only():
    from conf.compose import compose, groups

    for name in groups()["benchmark"]:
        for task_id in compose([f"benchmark={name}"]).benchmark.task_ids:
            assert registry.spec(task_id).id == task_id


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
