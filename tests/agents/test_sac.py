"""`agent=sac` is soft actor-critic (arXiv:1812.05905), worked out by hand on networks whose outputs are constants."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from agents.learner import brc
from agents.learner.api import learner_of
from agents.learner.types import Batch
from conf.compose import compose
from envs import registry

LEAST, MOST = 2.0, 5.0  # what the target critics say
TEMPERATURE = 0.3
BATCH = Batch(
    obs=np.zeros((3, 8), np.float32),
    action=np.zeros((3, 2), np.float32),
    reward=np.array([1.0, -2.0, 4.0], np.float32),
    next_obs=np.ones((3, 8), np.float32),
    discount=np.array([0.99, 0.99, 0.0], np.float32),  # the last has terminated
    task_ids=np.array([0, 1, 1], np.int32),
)
RETURN_SCALE = np.array([50.0, 700.0], np.float32)


@pytest.fixture(scope="module")
def sac() -> tuple[brc.Settings, brc.LearnerState]:
    """Two tasks, and a state in which a network is nothing but the bias of its output."""
    tasks = "benchmark.tasks=[cartpole-balance,ball_in_cup-catch]"
    config = compose(["agent=sac", tasks, "model.width=8", "model.actor_width=8", "model.depth=1"])
    learner = learner_of(config)
    settings = learner.settings(config, registry.specs(config.benchmark.task_ids, config.env))
    zeros = jax.tree.map(np.zeros_like, jax.device_get(learner.init(settings, jax.random.key(0))))
    target = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.array([[MOST], [LEAST]], np.float32) if leaf.shape == (2, 1) else leaf,
        zeros.target_critic,
    )
    actor = dict(zeros.actor)
    # log_std = -10 + 6 (1 + tanh(x)) is 0 here: a deviation of 1 around a mean of 0
    actor["raw_log_std"] = actor["raw_log_std"] | {"bias": np.full(2, np.arctanh(2 / 3), np.float32)}
    key = jax.device_get(jax.random.key_data(jax.random.key(4)))
    return settings, zeros._replace(
        target_critic=target, actor=actor, log_temperature=np.log(np.float32(TEMPERATURE)), key=key
    )


def log_prob(noise: np.ndarray) -> np.ndarray:
    """Return the log density `[B]` of `tanh(noise)`, whose noise is a standard Gaussian."""
    return (-(noise**2) / 2 - np.log(2 * np.pi) / 2 - np.log(1 - np.tanh(noise) ** 2)).sum(axis=-1)


def test_the_target_is_the_smaller_critic_and_the_entropy_of_raw_rewards(sac):
    settings, state = sac
    key = jax.random.key(9)
    problem = brc.critic_problem(settings, jax.device_put(state), BATCH, RETURN_SCALE, key)
    density = log_prob(np.asarray(jax.random.normal(key, (3, 2)), np.float64))
    expected = [
        1.0 + 0.99 * (LEAST - TEMPERATURE * density[0]),
        -2.0 + 0.99 * (LEAST - TEMPERATURE * density[1]),
        4.0,  # nothing follows
    ]
    np.testing.assert_allclose(problem.target, expected, rtol=1e-5)


def test_an_update_has_squared_error_a_target_entropy_of_minus_a(sac):
    settings, state = sac
    batches = jax.tree.map(lambda values: values[None], BATCH)
    _, metrics = jax.device_get(brc.update(settings, jax.device_put(state), batches, RETURN_SCALE))
    noise = np.asarray(brc.update_noise(settings, state, 1, 3)[0], np.float64)
    follows = LEAST - TEMPERATURE * log_prob(noise[0])
    target = BATCH.reward + BATCH.discount * follows
    # Both critics say 0; the loss is summed over them.
    np.testing.assert_allclose(metrics["critic/loss"], 2 * (target**2).mean(), rtol=1e-5)
    entropy = -log_prob(noise[1]).mean()
    np.testing.assert_allclose(metrics["actor/entropy"], entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["temperature/loss"], TEMPERATURE * (entropy + 2), rtol=1e-5)  # -A is -2


def test_networks_are_plain_and_tasks_one_hot(sac):
    settings, state = sac
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path((state.actor, state.critic))]
    assert not [name for name in names if "Norm" in name or "embedding" in name]
    assert (8 + 2, 8) in {leaf.shape for leaf in jax.tree.leaves(state.actor)}  # observation and task
    assert settings.weight_decay == 0
