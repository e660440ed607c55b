"""A run's state goes to arrays by path and comes back; what does not fit is refused by name."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from agents.training.checkpoint import DamagedError
from agents.training.state import RunState, from_arrays, generator, generator_state, initial, to_arrays
from conf.compose import compose
from envs.spec import TaskSpec

LEARNER = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "opt": (np.int32(4), {"mu": np.ones(3, np.float32)})}
SHAPES = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), LEARNER)


@pytest.fixture
def state(scripted_suite: list[TaskSpec]) -> RunState:
    return initial(compose(["seed=5"]), scripted_suite, LEARNER)


@pytest.fixture
def template(scripted_suite: list[TaskSpec]) -> RunState:
    return initial(compose(["seed=6"]), scripted_suite, SHAPES)


def test_arrays_are_named_after_their_paths_and_come_back(state: RunState, template: RunState):
    arrays = to_arrays(state)
    assert {"env_steps", "learner/w", "learner/opt/1/mu", "bounds/low", "episodes/actions", "obs"} <= arrays.keys()
    restored = from_arrays(template, arrays)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for name, array in to_arrays(restored).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
        assert array.dtype == arrays[name].dtype


def test_arrays_that_grow_with_the_episode_may_have_any_length(state: RunState, template: RunState):
    later = state._replace(episodes=state.episodes._replace(actions=np.ones((5, 2), np.float32)))
    restored = from_arrays(template, to_arrays(later))
    assert restored.episodes.actions.shape == (5, 2)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("learner/w", None, "has no array learner/w"),
        ("learner/w", np.zeros((3, 2), np.float32), r"learner/w is float32\[3, 2\], and this run's float32\[2, 3\]"),
        ("learner/w", np.zeros((2, 3), np.float64), r"learner/w is float64\[2, 3\]"),
        ("bounds/low", np.zeros((2, 1)), r"bounds/low is float64\[2, 1\]"),
        ("obs", None, "has no array obs"),
        ("learner/more", np.zeros(1), "arrays that this run has not: learner/more"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(state: RunState, template: RunState, name, array, said):
    arrays = {key: value for key, value in to_arrays(state).items() if key != name}
    if array is not None:
        arrays[name] = array
    with pytest.raises(DamagedError, match=said):
        from_arrays(template, arrays)


def test_a_generator_goes_on_in_the_middle_of_a_word():
    rng = np.random.default_rng(7)
    rng.integers(10, dtype=np.int32)  # uses half of 64 bits and keeps the rest
    assert rng.bit_generator.state["has_uint32"] == 1
    again = generator(generator_state(rng))
    for _ in range(3):
        assert rng.integers(2**31, dtype=np.int32) == again.integers(2**31, dtype=np.int32)
        assert rng.random() == again.random()
