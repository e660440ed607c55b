"""A checkpoint is written while training goes on, holds the moment it was begun at, and its failure is not lost."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.training.saving import Saving
from agents.training.state import to_arrays


def test_the_next_writing_waits_for_the_one_before_and_each_is_told_of_once():
    saving, gate, told = Saving(), threading.Event(), []
    saving.begin(gate.wait, lambda: told.append("first"))
    saving.look()
    assert told == []
    threading.Timer(0.05, gate.set).start()
    saving.begin(lambda: None, lambda: told.append("second"))
    assert told == ["first"]
    saving.wait()
    saving.look()
    saving.close()
    assert told == ["first", "second"]


def test_an_error_of_the_writing_is_raised_once():
    def full() -> None:
        raise OSError(28, "No space left on device")

    saving, told = Saving(), []
    saving.begin(full, lambda: told.append("written"))
    with pytest.raises(OSError, match="No space left"):
        saving.wait()
    saving.look()
    saving.close()
    assert told == []


def test_arrays_of_a_state_stay_as_they_are_when_later_updates_take_the_states_memory():
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = step({"weights": jnp.arange(1000.0)})
    host = np.zeros(3)
    found = to_arrays({"learner": state, "host": host})  # type: ignore[arg-type]
    for _ in range(3):
        state = step(state)
        host += 1
    np.testing.assert_array_equal(found["learner/weights"], np.arange(1000.0) + 1)
    np.testing.assert_array_equal(found["host"], np.zeros(3))
    np.testing.assert_array_equal(state["weights"], np.arange(1000.0) + 4)
