"""Cosines of gradients: of tasks made to agree and to conflict, and of a projection against exact ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.learner import brc, interference
from agents.learner.critic import Problem, critic_loss
from agents.learner.types import Batch
from tests.agents.settings import brc_settings
from tests.agents.test_continuous import RETURN_SCALE, TINY, init, make_batch

SQUARED = brc_settings(num_tasks=4, obs_dim=3, action_dim=1, value_loss="squared", ensemble_size=2)


class State(NamedTuple):
    critic: Any


def linear_problem(settings: Any, state: Any, batch: Batch, return_scale: Any, key: jax.Array) -> Problem:
    """Two members that are linear in the observations; their targets are the rewards."""
    outputs_of = lambda params: (batch.obs @ params["ensemble"]).T[:, :, None]  # noqa: E731
    return Problem(outputs_of, batch.reward, batch.reward)


def linear_batches(rewards: list[list[float]], obs: np.ndarray) -> Batch:
    tasks, count = len(rewards), len(rewards[0])
    batch = make_batch(TINY, tasks, count)
    return batch._replace(obs=obs, reward=np.asarray(rewards, np.float32))


def test_equal_tasks_have_cosine_one_tasks_made_to_conflict_minus_one_and_others_what_their_gradients_have():
    obs = np.zeros((4, 2, 3), np.float32)
    obs[:, 0, 0] = obs[:, 1, 1] = 1  # the two transitions of a task have gradients of their own
    batches = linear_batches([[1, 0], [1, 0], [-2, 0], [0, 3]], obs)
    state = State({"ensemble": jnp.zeros((3, 2)), "conditioning": {"embedding": jnp.ones((4, 2))}})
    found = interference.measure(SQUARED, linear_problem, state, batches, np.ones(4), jax.random.key(0), 31)
    expected = [[1, 1, -1, 0], [1, 1, -1, 0], [-1, -1, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(found.cosine, expected, atol=1e-6)
    # Of mean((x w - r)^2) at w = 0, summed over members: one derivative of -r a member.
    np.testing.assert_allclose(found.grad_norm, np.sqrt(2) * np.asarray([1, 1, 2, 3]), rtol=1e-6)
    np.testing.assert_allclose(found.td_error, [0.5, 0.5, 1, 1.5], rtol=1e-6)
    np.testing.assert_allclose(found.td_spread, [0.5, 0.5, 1, 1.5], rtol=1e-6)


def test_cosines_of_projections_are_those_of_vectors_within_a_bound():
    rng = np.random.default_rng(0)
    width, rows, columns = 1021, 64, 128
    common = rng.normal(size=(rows, columns))
    shares = np.linspace(-1, 1, 9)
    # Columns that are off, as ReLU's are, make vectors of a pattern that the projection must not follow.
    vectors = [
        ((share * common + (1 - abs(share)) * rng.normal(size=common.shape)) * (np.arange(columns) % 8 == 0)).ravel()
        for share in shares
    ]
    signs = jax.random.rademacher(jax.random.key(0), (rows * columns,), jnp.int8)
    sketches = np.stack([interference.projected(jnp.asarray(one), signs, width) for one in vectors])

    def cosines(of: Any) -> np.ndarray:
        unit = np.asarray(of) / np.linalg.norm(of, axis=1, keepdims=True)
        return unit @ unit.T

    assert np.abs(cosines(sketches) - cosines(vectors)).max() < 4 / np.sqrt(width)


def test_gradients_of_the_learner_are_measured_as_its_update_has_them():
    state, batches, key = jax.device_put(init(TINY)), make_batch(TINY, 3, 8), jax.random.key(7)
    batches = batches._replace(task_ids=np.repeat(np.arange(3, dtype=np.int32)[:, None], 8, axis=1))
    found = interference.measure(TINY, brc.critic_problem, state, batches, RETURN_SCALE, key, 4093)

    @jax.jit
    def gradient(batch: Batch, number: int) -> Any:
        problem = brc.critic_problem(TINY, state, batch, RETURN_SCALE, jax.random.fold_in(key, number))
        loss = lambda params: critic_loss(TINY, problem.outputs_of(params), problem.target)  # noqa: E731
        grad = jax.grad(loss)(state.critic)["ensemble"]
        return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(grad)])

    vectors = np.stack([gradient(Batch(*one), task) for task, one in enumerate(zip(*batches, strict=True))])
    np.testing.assert_allclose(found.grad_norm, np.linalg.norm(vectors, axis=1), rtol=1e-4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found.cosine, unit @ unit.T, atol=4 / np.sqrt(4093))
