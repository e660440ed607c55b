"""Batches are the same whichever library gathers them, and hold nothing of other tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learner.types import Batch
from agents.replay.gather import Columns, Store, gather
from agents.replay.ring import Replay
from envs.spec import SpaceSpec, TaskSpec
from envs.vector import Step
from tests.agents.replays import frames_task, transitions, vector_task

VECTORS = [
    vector_task("middle", 5, 3),
    vector_task("narrow", 1, 1),
    vector_task("wide", 8, 2),
    vector_task("twin", 5, 1),
]
ALIKE = [vector_task("one", 4, 2), vector_task("other", 4, 2)]
FRAMES = [frames_task("one", 3, 4, 6), frames_task("other", 3, 4, 6)]


def filled(specs: list[TaskSpec], n_step: int, surplus_actions: bool, steps: int = 40) -> Replay:
    """A ring that has come round, of numbers that are never zero within a task's own width."""
    rng, space = np.random.default_rng(0), SpaceSpec.of(specs)
    replay = Replay(specs, 15, 1000, discount=0.9, n_step=n_step, surplus_actions=surplus_actions)

    def observe() -> np.ndarray:
        obs = rng.integers(1, 250, (len(specs), *space.obs_shape)).astype(space.obs_dtype)
        if obs.ndim == 2:
            obs[np.arange(space.obs_shape[0]) >= np.asarray([[spec.obs_shape[0]] for spec in specs])] = 0
        return obs

    replay.start(observe())
    for _ in range(steps):
        action = rng.integers(1, 6, (len(specs), *space.action_shape)).astype(space.action_dtype)
        over = rng.random(len(specs)) < 0.3
        terminated, reward = over & (rng.random(len(specs)) < 0.5), rng.normal(size=len(specs))
        replay.insert(action, Step(observe(), observe(), reward, terminated, over & ~terminated, over, over, over))
    return replay


@pytest.mark.parametrize("surplus_actions", [True, False])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("specs", [VECTORS, ALIKE, FRAMES], ids=["of several widths", "of one width", "frames"])
def test_numpy_and_jax_gather_the_same_batch(specs, n_step, surplus_actions):
    replay = filled(specs, n_step, surplus_actions)
    indices, store = replay.draw(np.random.default_rng(1), 2, 64), replay.store
    assert (indices.final_at >= 0).any()

    @jax.jit
    def on_device(frames, actions, finals, taken) -> Batch:
        return gather(jnp, Store(store.layout, frames, actions, finals), taken)

    found = on_device(store.frames, store.actions, store.finals, indices)
    for name, one, other in zip(Batch._fields, gather(np, store, indices), found, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_batches_are_zero_beyond_a_tasks_own_width_and_nowhere_else():
    replay = filled(VECTORS, 1, surplus_actions=False)
    batch = transitions(replay, VECTORS, 30, 40)
    for task, spec in enumerate(VECTORS):
        for array, own in (
            (batch.obs, spec.obs_shape[0]),
            (batch.next_obs, spec.obs_shape[0]),
            (batch.action, spec.action_dim),
        ):
            assert array[:, task, :own].all()
            assert not array[:, task, own:].any()


def test_surplus_actions_are_kept_where_the_learner_learns_from_them():
    assert transitions(filled(VECTORS, 1, surplus_actions=True), VECTORS, 30, 40).action.all()


def test_a_window_of_the_widest_width_never_leaves_the_row():
    columns = Columns([5, 1, 8, 5])
    assert columns.total == 19
    np.testing.assert_array_equal(columns.starts, [1, 0, 11, 6])  # the narrowest first, equals in their order
    assert (columns.starts + columns.width <= columns.total).all()
