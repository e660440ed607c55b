"""The policy in NumPy equals the one in JAX, for every way to build and to condition networks."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from agents import policy as runner
from agents.export import write_policy
from agents.learner import brc
from agents.learner.api import learner_of
from agents.learner.architecture import TORSOS
from agents.policy import Policy
from agents.portable import EXPORTED, torso_program
from agents.saved import SavedPolicy
from conf.compose import compose
from conf.typed import ConfigError
from envs import registry

TOLERANCE = 1e-6
CONTINUOUS = ["benchmark.tasks=[cartpole-balance,ball_in_cup-catch]", "model.actor_width=48", "agent.embedding_dim=5"]
DISCRETE = [
    "benchmark=catch",
    "model.width=24",
    "model.encoder_channels=2",
    "model.encoder_stride=12",
    "agent.num_bins=11",
    "agent.embedding_dim=5",
]


def saved(tmp_path: Path, overrides: Sequence[str]) -> SavedPolicy:
    """A policy whose numbers are drawn at random, norms and biases too, so that none is left out unseen."""
    config = compose(overrides)
    specs = registry.specs(config.benchmark.task_ids, config.env)
    learner = learner_of(config)
    settings = learner.settings(config, specs)
    shapes = learner.acting_params(jax.eval_shape(partial(learner.init, settings), jax.random.key(0)))
    rng = np.random.default_rng(5)

    def draw(leaf: Any) -> np.ndarray:
        fan_in = np.prod(leaf.shape[-4:-1] if leaf.ndim >= 4 else leaf.shape[-2:-1] or (9,))
        return (rng.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)

    return SavedPolicy(tmp_path, config, specs, 7, None, learner, settings, jax.tree.map(draw, shapes))


@pytest.mark.parametrize(
    "overrides",
    [
        ["agent.conditioning=embedding", "model.actor_depth=2"],
        ["agent.conditioning=heads", "agent.actor_network=prenorm", "agent.layer_norm=false"],
        *(
            pytest.param(overrides, marks=pytest.mark.slow)
            for overrides in (
                ["agent.conditioning=embedding", "agent.embedding_norm=l1", "agent.actor_network=mlp"],
                ["agent.conditioning=one_hot", "agent.actor_network=prenorm"],
                ["agent.conditioning=none", "agent.layer_norm=false"],
            )
        ),
    ],
    ids=" ".join,
)
def test_continuous_actions_are_those_of_jax(tmp_path: Path, overrides: Sequence[str]):
    policy = saved(tmp_path, [*CONTINUOUS, *overrides])
    assert write_policy(policy, tmp_path).exported < TOLERANCE
    exported, rng = Policy(tmp_path), np.random.default_rng(1)
    for task, spec in enumerate(policy.specs):
        own = rng.standard_normal((6, *spec.obs_shape)).astype(np.float32)
        padded = np.pad(own, ((0, 0), (0, policy.settings.obs_dim - own.shape[1])))
        ids = np.full(6, task, np.int32)
        act = partial(policy.learner.act, policy.settings, policy.params, padded, ids, jax.random.key(0), 0)
        expected = np.asarray(act(deterministic=True))[:, : spec.action_dim]
        assert expected.std() > 0.01
        np.testing.assert_allclose(exported.act(own, spec.id), expected, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(exported.act(own[2], spec.name), expected[2], rtol=0, atol=TOLERANCE)
        for ours, theirs in zip(
            exported.outputs(own, task),
            brc.policy_distribution(policy.settings, policy.params, padded, ids),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=2 * TOLERANCE)
        drawn = exported.act(np.repeat(own[:1], 4000, 0), spec.id, np.random.default_rng(3))
        mean, log_std = (one[0, : spec.action_dim] for one in exported.outputs(own[:1], task))
        inner = mean - np.sign(mean) * np.exp(log_std)  # where a 32-bit tanh is not 1 yet
        beyond = (drawn - np.tanh(inner)) * np.sign(mean) < 0
        np.testing.assert_allclose(beyond.mean(axis=0), 0.159, atol=0.03)  # of a Gaussian, by one deviation


@pytest.mark.parametrize(
    "overrides",
    [
        ["agent.conditioning=embedding", "model.depth=1", "model.encoder_stride=5"],
        pytest.param(
            [
                "agent.conditioning=heads",
                "agent.network=prenorm",
                "agent.value_loss=squared",
                "agent.ensemble_target=min",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=" ".join,
)
def test_values_and_choices_of_discrete_actions_are_those_of_jax(tmp_path: Path, overrides: Sequence[str]):
    policy = saved(tmp_path, [*DISCRETE, *overrides, "agent.eval_epsilon=0"])
    assert write_policy(policy, tmp_path).exported < TOLERANCE
    frames = np.random.default_rng(1).integers(0, 256, (2, *policy.specs[0].obs_shape)).astype(np.uint8)
    ids = np.asarray([0, 1], np.int32)
    chosen = policy.learner.act(policy.settings, policy.params, frames, ids, jax.random.key(0), 0, deterministic=True)
    exported = Policy(tmp_path)
    assert [exported.act(one, spec.id) for one, spec in zip(frames, policy.specs, strict=True)] == list(chosen)


def test_an_export_is_exact_where_float32_is_not(tmp_path: Path):
    """Before a norm, outputs share a large part that the norm takes away, and with that leading digits."""
    policy = saved(tmp_path, [*CONTINUOUS, "model.actor_depth=2"])

    def as_trained(path: Any, leaf: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        return leaf + np.float32(0.5) if "Dense" in name and "kernel" in name else leaf

    trained = jax.tree_util.tree_map_with_path(as_trained, policy.params)
    found = write_policy(dataclasses.replace(policy, params=trained), tmp_path)
    assert found.exported < TOLERANCE / 10
    assert TOLERANCE < found.float32 < 100 * TOLERANCE
    card = json.loads((tmp_path / runner.CARD).read_text())
    assert (card["largest_difference"], card["float32_difference"]) == found


def test_the_runner_imports_nothing_but_numpy_and_the_standard_library():
    tree = ast.parse(Path(runner.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "collections.abc", "json", "numpy", "pathlib", "typing"}


def test_wrong_uses_are_told_in_words(tmp_path: Path):
    policy = saved(tmp_path, CONTINUOUS)
    write_policy(policy, tmp_path)
    exported = Policy(tmp_path)
    with pytest.raises(KeyError, match="dog: no task is called so; tasks: dmc/cartpole-balance, dmc/ball"):
        exported.act(np.zeros(5), "dog")
    with pytest.raises(ValueError, match=r"dmc/cartpole-balance have the shape \[5\], not \[8\]"):
        exported.act(np.zeros((2, 8)), "cartpole-balance")


def test_a_torso_that_is_not_known_is_refused_in_a_line():
    assert set(EXPORTED) == set(TORSOS)
    with pytest.raises(ConfigError, match=r"agent\.network=new: cannot be exported; bronet, mlp, prenorm can"):
        torso_program("new", 1, True, "actor")


def test_the_card_says_where_the_policy_comes_from(tmp_path: Path):
    write_policy(saved(tmp_path, CONTINUOUS), tmp_path)
    card = json.loads((tmp_path / runner.CARD).read_text())
    assert card["licence"] == "Apache-2.0"
    assert card["evaluated_at"] is None
    assert [task["id"] for task in card["tasks"]] == ["dmc/cartpole-balance", "dmc/ball_in_cup-catch"]
    assert "There was no evaluation yet." in (tmp_path / "README.md").read_text()
