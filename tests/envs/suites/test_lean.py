"""Leaner stepping changes no number: against the libraries' own environments, step by step."""

import mujoco
import numpy as np
import pytest

from envs import registry
from envs.divergence import DivergedError
from envs.suites import dmc, metaworld

EPISODES, STEPS = 2, 100
QUICK_METAWORLD = [
    "pick-place",
    "door-lock",
    "dial-turn",
    "stick-pull",
]  # caging, moved bodies, float32 rewards, two objects
QUICK_DMC = ["humanoid-walk", "finger-turn_easy", "fish-swim", "reacher-three_hard"]


def check_metaworld(name: str) -> None:
    """Two episodes against `ALL_V3_ENVIRONMENTS`, made and reset as its documentation says."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    library = ALL_V3_ENVIRONMENTS[f"{name}-v3"](reward_function_version="v2")
    library._partially_observable = False
    library._freeze_rand_vec = False
    library.seeded_rand_vec = True
    library._set_task_called = True
    del library.sawyer_observation_space
    lean = registry.make(registry.spec(f"metaworld/{name}"))._env
    assert type(lean) is not type(library)
    rng = np.random.default_rng(0)
    for seed in range(EPISODES):
        for env in (library, lean):
            env.seed(seed)
        np.testing.assert_array_equal(lean.reset()[0], library.reset()[0])
        for action in rng.uniform(-1, 1, (STEPS, 4)).astype(np.float32):
            expected, reward, _, _, info = library.step(action)
            obs, found_reward, terminated, truncated, found_info = lean.step(action)
            np.testing.assert_array_equal(obs, expected)
            assert found_reward == pytest.approx(reward, abs=1e-6)
            assert (found_info["success"], found_info["grasp_success"]) == (info["success"], info["grasp_success"])
            assert not terminated
            assert not truncated
    lean.close()
    library.close()


@pytest.mark.parametrize("name", QUICK_METAWORLD)
def test_lean_metaworld_tasks_are_the_librarys(name):
    check_metaworld(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in metaworld.TASKS if name not in QUICK_METAWORLD])
def test_every_lean_metaworld_task_is_the_librarys(name):
    check_metaworld(name)


PHYSICAL = ["body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_damping", "dof_M0", "jnt_range"]


def check_model(lean: mujoco.MjModel, library: mujoco.MjModel) -> None:
    """Of two compiled scenes, that one lacks of the other what is only looked at."""
    for field in PHYSICAL:
        np.testing.assert_array_equal(getattr(lean, field), getattr(library, field), err_msg=field)

    def touching(model: mujoco.MjModel) -> list[tuple]:
        touches = (model.geom_contype | model.geom_conaffinity) > 0
        fields = (model.geom_type, model.geom_bodyid, model.geom_pos, model.geom_friction)
        return [tuple(np.ravel(field[geom])) for geom in np.flatnonzero(touches) for field in fields]

    assert touching(lean) == touching(library)
    assert lean.ntex == lean.nskin == 0 < library.ntex
    assert lean.ngeom < library.ngeom / 2
    assert lean.nmeshvert < library.nmeshvert / 2


def test_lean_models_lack_only_what_is_looked_at():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    library = ALL_V3_ENVIRONMENTS["coffee-pull-v3"](reward_function_version="v2").model
    check_model(registry.make(registry.spec("metaworld/coffee-pull"))._env.model, library)
    dog = registry.spec("dmc/dog-run")
    check_model(registry.make(dog)._env.physics.model.ptr, registry.plain(dog)._env.physics.model.ptr)


def test_lean_physics_that_explodes_is_an_error_that_says_so():
    env = registry.make(registry.spec("dmc/humanoid-run"))
    env.reset(seed=0)
    env._env.physics.data.qvel[:] = 1e12
    with pytest.raises(DivergedError, match="mjWARN_BAD"):
        env.step(np.zeros(21, np.float32))


def check_dmc(name: str) -> None:
    spec = registry.spec(f"dmc/{name}")
    lean, plain = registry.make(spec), registry.plain(spec)
    rng = np.random.default_rng(0)
    for seed in range(EPISODES):
        np.testing.assert_array_equal(lean.reset(seed=seed)[0], plain.reset(seed=seed)[0])
        for action in rng.uniform(-1, 1, (STEPS, spec.action_dim)).astype(np.float32):
            obs, reward, *_ = lean.step(action)
            expected, expected_reward, *_ = plain.step(action)
            np.testing.assert_array_equal(obs, expected)
            assert reward == expected_reward


@pytest.mark.parametrize("name", QUICK_DMC)
def test_lean_dm_control_tasks_are_the_librarys(name):
    check_dmc(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in dmc.TASKS if name not in QUICK_DMC])
def test_every_lean_dm_control_task_is_the_librarys(name):
    check_dmc(name)
