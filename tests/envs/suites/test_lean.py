"""Leaner stepping changes no number: against the libraries' own environments, step by step."""

import numpy as np
import pytest

from envs import registry
from envs.suites import dmc, metaworld

EPISODES, STEPS = 2, 100
QUICK_METAWORLD = [
    "pick-place",
    "door-lock",
    "dial-turn",
    "stick-pull",
]  # caging, moved bodies, float32 rewards, two objects
QUICK_DMC = ["dog-run", "humanoid-walk", "finger-turn_easy", "fish-swim", "reacher-three_hard"]


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


def test_the_lean_model_differs_from_the_librarys_in_what_is_looked_at_only():
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    task_class = ALL_V3_ENVIRONMENTS["coffee-pull-v3"]
    library = task_class(reward_function_version="v2").model
    lean = registry.make(registry.spec("metaworld/coffee-pull"))._env.model
    assert (lean.nbody, lean.ngeom, lean.nv, lean.nmesh) == (library.nbody, library.ngeom, library.nv, library.nmesh)
    for field in ("body_mass", "body_inertia", "body_ipos", "dof_damping", "jnt_range", "geom_contype", "eq_data"):
        np.testing.assert_array_equal(getattr(lean, field), getattr(library, field), err_msg=field)
    assert lean.ntex == 0 < library.ntex
    assert lean.nmeshvert < library.nmeshvert / 2


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
def test_remembered_names_change_no_number(name):
    check_dmc(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in dmc.TASKS if name not in QUICK_DMC])
def test_remembered_names_change_no_number_in_any_task(name):
    check_dmc(name)
