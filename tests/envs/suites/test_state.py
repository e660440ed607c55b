"""Any state can be put into an environment on MuJoCo, and `end_step` evaluates it."""

from __future__ import annotations

import numpy as np
import pytest

from envs import registry
from envs.divergence import DivergedError

TASKS = ["dmc/walker-run", "dmc/humanoid-run", "dmc/cartpole-swingup", "metaworld/reach"]


def env_in_motion(task_id: str):
    """An environment after a few random steps, and the last observation and reward."""
    env = registry.make(registry.spec(task_id))
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        obs, reward, *_ = env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))
    return env, obs, reward


@pytest.mark.parametrize("task_id", TASKS)
def test_end_step_after_set_state_sees_the_given_state(task_id):
    env, obs, _ = env_in_motion(task_id)
    other = registry.make(registry.spec(task_id))
    other.reset(seed=3)
    other.set_state(env.data.qpos.copy(), env.data.qvel.copy())
    seen = other.end_step()[0]
    np.testing.assert_array_equal(other.data.qpos, env.data.qpos)
    width = 3 if task_id.startswith("metaworld") else None  # the hand; the rest has the step before
    np.testing.assert_allclose(seen[:width], obs[:width], atol=1e-5)
    assert not other.data.ctrl.any()


def test_the_reward_of_a_given_state_is_the_tasks_own():
    env, _, _ = env_in_motion("dmc/cartpole-swingup")
    env.set_state([0.0, 0.0], [0.0, 0.0])
    assert env.end_step()[1] == pytest.approx(1.0)  # upright, centred, at rest
    env.set_state([0.0, np.pi], [0.0, 0.0])
    assert env.end_step()[1] == pytest.approx(0.0)


@pytest.mark.parametrize("task_id", ["dmc/walker-run", "shadowhand/cube"])
def test_a_good_state_after_one_that_diverged_steps_as_before(task_id):
    env, _, _ = env_in_motion(task_id)
    qpos, qvel = env.data.qpos.copy(), env.data.qvel.copy()
    idle = np.zeros(env.action_space.shape, np.float32)
    env.set_state(qpos, qvel)
    before = env.step(idle)[0]
    env.set_state(np.full_like(qpos, np.nan), qvel)
    with pytest.raises(DivergedError):
        env.step(idle)
    env.set_state(qpos, qvel)
    np.testing.assert_array_equal(env.step(idle)[0], before)


def test_a_rendering_environment_takes_a_state_too(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    from envs.suites.dmc import plain

    env = plain(registry.spec("dmc/cartpole-swingup"))
    env.reset(seed=0)
    env.set_state([0.5, 0.25], [0.0, 0.0])
    np.testing.assert_array_equal(env.data.qpos, [0.5, 0.25])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([0.0], [0.0, 0.0], {}), r"qpos has shape \(1,\); the task takes \(2,\)"),
        (([0.0, 0.0], [0.0], {}), r"qvel has shape \(1,\); the task takes \(2,\)"),
        (([0.0, 0.0], [0.0, 0.0], {"goal": 1}), "goal: no value of this task; it takes none"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(given, says):
    env, _, _ = env_in_motion("dmc/cartpole-swingup")
    before = env.data.qpos.copy()
    qpos, qvel, values = given
    with pytest.raises(ValueError, match=says):
        env.set_state(qpos, qvel, **values)
    np.testing.assert_array_equal(env.data.qpos, before)
