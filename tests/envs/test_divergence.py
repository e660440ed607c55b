"""A simulation that diverges ends its episode, in every suite on MuJoCo, and leaves no trace in what follows."""

from __future__ import annotations

import numpy as np
import pytest

from envs import registry
from envs.divergence import DivergedError, DivergenceWarnings
from envs.seeding import episode_seed
from envs.vector import Step, VectorEnv
from envs.worker import EnvError, all_finite

TASKS = ["dmc/reacher-easy", "dmc/humanoid-walk", "metaworld/reach"]  # stepped whole, by the lean stepper, Meta-World
BEFORE, AFTER = 3, 4  # steps


def make(tasks: list[str], **kwargs) -> VectorEnv:
    specs = [registry.spec(task) for task in tasks]
    return VectorEnv(specs, lambda row, episode: episode_seed(0, specs[row].id, "train", episode), **kwargs)


def advance(env: VectorEnv, time: int, spoilt: int | None = None) -> Step:
    """A step with actions that depend on the time; those of the row `spoilt` are not a number."""
    actions = np.full((env.num_envs, env.space.action_dim), 0.5 * np.sin(time), np.float32)
    if spoilt is not None:
        actions[spoilt] = np.nan
    env.start_step(actions)
    return env.wait_step()


@pytest.mark.parametrize(
    ("row", "mode"),
    [
        *((row, {"backend": "inline"}) for row in range(len(TASKS))),
        pytest.param(0, {"workers": 2}, marks=pytest.mark.slow),
    ],
)
def test_an_episode_that_diverges_is_truncated_with_its_last_finite_observation_and_no_reward(row, mode):
    with make(TASKS, **mode) as env, make(TASKS, **mode) as sound:
        env.reset()
        sound.reset()
        for time in range(BEFORE):
            seen = advance(env, time).obs
            advance(sound, time)
        step, expected = advance(env, BEFORE, spoilt=row), advance(sound, BEFORE)
        others = np.arange(len(TASKS)) != row
        for name in ("truncated", "episode_over", "diverged"):
            np.testing.assert_array_equal(getattr(step, name), ~others, err_msg=name)
        assert not step.terminated.any()
        assert step.reward[row] == 0
        np.testing.assert_array_equal(step.next_obs[row], seen[row])
        for found, sound_one in zip(step, expected, strict=True):
            np.testing.assert_array_equal(found[others], sound_one[others])
        # The next episode is the one that a fresh environment begins and goes through.
        states = [(step, env.snapshot())] + [(advance(env, time), env.snapshot()) for time in range(AFTER)]
        assert not states[-1][0].diverged.any()
    with make(TASKS, **mode) as fresh:
        for step, episodes in states:
            assert episodes.number[row] == 1
            np.testing.assert_array_equal(fresh.restore(episodes), step.obs)


def test_a_state_that_mujoco_begins_anew_without_a_word_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make(["metaworld/reach"], backend="inline") as env:
        env.reset()
        advance(env, 0)
        env._backend._group.members[0].env._env.data.qvel[:] = 1e12
        assert advance(env, 1).diverged.all()
        assert not advance(env, 2).diverged.any()
    assert list(tmp_path.iterdir()) == []  # MuJoCo keeps no log of its own


@pytest.mark.parametrize("task", TASKS)
def test_the_run_ends_where_that_is_wanted(task):
    with make([task], backend="inline", on_divergence="stop") as env:
        env.reset()
        with pytest.raises(EnvError, match=rf"task {task}: DivergedError: .*mjWARN_BAD"):
            advance(env, 0, spoilt=0)


@pytest.mark.parametrize(
    ("obs", "reward"), [([0.0, np.nan], 1.0), ([np.inf, 0.0], 1.0), ([0.0, 0.0], np.nan), ([0.0, 0.0], 1e39)]
)
def test_numbers_that_are_not_finite_are_a_divergence(monkeypatch, obs, reward):
    with make(["dmc/reacher-easy"], backend="inline") as env:
        first = env.reset()
        member = env._backend._group.members[0]
        values = np.resize(np.asarray(obs, np.float32), 6)
        monkeypatch.setattr(member.env, "end_step", lambda: (values, reward, False, False, {}))
        step = advance(env, 0)
        assert step.diverged.all()
        np.testing.assert_array_equal(step.next_obs, first)
        assert np.isfinite(step.obs).all()


def test_large_numbers_are_finite():
    with np.errstate(over="ignore"):  # as where environments are stepped
        assert all_finite(np.asarray([1e30, -1e38], np.float32))
    assert not all_finite(np.asarray([1.0, -np.inf], np.float32))


def test_a_task_is_warned_of_once_and_loudly_once_where_it_diverges_often():
    warnings = DivergenceWarnings(["dmc/dog-run", "dmc/fish-swim"])
    none, one = np.asarray([0, 0]), np.asarray([0, 1])
    assert warnings.lines("training", none, np.asarray([9, 9])) == []
    (line,) = warnings.lines("training", one, np.asarray([9, 9]))
    assert line.startswith("warning: dmc/fish-swim: the simulation diverged in training")
    assert warnings.lines("training", 2 * one, np.asarray([20, 20])) == []
    assert warnings.lines("evaluation", 3 * one, np.asarray([300, 300])) == []  # no more than 1%
    (line,) = warnings.lines("training", 4 * one, np.asarray([399, 399]))
    assert line.startswith("WARNING: dmc/fish-swim: 4 of 399 episodes of training (1%) ended because")
    assert warnings.lines("training", 50 * one, np.asarray([500, 500])) == []


def test_dm_control_as_its_users_step_it_says_so_too():
    env = registry.plain(registry.spec("dmc/reacher-easy"))
    env.reset(seed=0)
    with pytest.raises(DivergedError):
        env.step(np.full(2, np.nan, np.float32))
