"""Networks of another run: what is taken over segment by segment, and what frozen parts do."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learner import brc, brc_discrete, transfer
from agents.learner.parts import actor_part, critic_part, path_of
from agents.learner.transfer import FRESH, MEAN, ArchitectureError, Segments, transferred
from conf.agents import AGENTS
from tests.agents.settings import brc_settings, discrete_settings
from tests.agents.test_continuous import RETURN_SCALE, make_batch

SMALL = {"width": 6, "depth": 1, "num_bins": 5, "embedding_dim": 3}


def continuous(**values: Any) -> brc.Settings:
    sizes = {"num_tasks": 2, "obs_dim": 3, "action_dim": 2, "actor_width": 6, "actor_depth": 0}
    return brc_settings(**SMALL | sizes | values)


def discrete(**values: Any) -> brc_discrete.Settings:
    sizes = {"num_tasks": 2, "obs_shape": (2, 8, 8), "action_dim": 3, "encoder_channels": 2, "encoder_stride": 4}
    return discrete_settings(**SMALL | sizes | values)


@functools.cache
def state_of(settings: Any, seed: int) -> Any:
    """A state of random numbers: to compile what draws a real one takes seconds."""
    rng = np.random.default_rng(seed)
    module = brc if isinstance(settings, brc.Settings) else brc_discrete
    shapes = jax.eval_shape(functools.partial(module.init, settings), jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def arrays_of(state: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {"/".join(path_of(path)): np.asarray(leaf) for path, leaf in leaves}


def segments(source: Any, target: Any, rows: tuple[int, ...]) -> Segments:
    obs = (source.obs_dim, target.obs_dim) if isinstance(source, brc.Settings) else (0, 0)
    tasks = (source.num_tasks, target.num_tasks)
    return Segments(obs, (source.action_dim, target.action_dim), tasks, rows)


@pytest.mark.parametrize("conditioning", ["embedding", "one_hot", "none", "heads"])
@pytest.mark.parametrize("make", [continuous, discrete])
def test_onto_the_same_tasks_all_networks_are_the_sources_and_optimisers_are_fresh(make, conditioning):
    settings = make(conditioning=conditioning)
    fresh, source = state_of(settings, 1), state_of(settings, 0)
    found = transferred(settings, fresh, arrays_of(source), segments(settings, settings, (0, 1)))
    taken_over = {"actor", "critic", "target_critic", "log_temperature", "entropy"}
    for name in fresh._fields:
        expected = getattr(source if name in taken_over else fresh, name)
        jax.tree.map(np.testing.assert_array_equal, getattr(found, name), expected)


def test_a_first_layer_is_taken_over_segment_by_segment():
    settings = continuous(conditioning="one_hot", num_tasks=3)
    source = np.arange(7.0)[:, None] + 10  # two observations, three actions, two tasks
    fresh = np.full((8, 1), -1.0)  # three observations, two actions, three tasks
    found = transfer.first_layer(settings, fresh, source, [(2, 3), (3, 2)], [1, FRESH, MEAN])
    assert found[:, 0].tolist() == [10, 11, -1, 12, 13, 16, -1, 15.5]


def test_heads_are_taken_over_by_task_and_their_actions_in_order():
    settings = discrete(conditioning="heads", num_tasks=2)
    source = np.arange(12.0)  # two tasks of three actions of two bins
    fresh = np.full(16, -1.0)  # two tasks of four actions
    where = Segments((0, 0), (3, 4), (2, 2), [FRESH, 0])
    found = transfer.last_layer(settings, fresh, source, (3, 4), where)
    assert found.tolist() == [-1] * 8 + [0, 1, 2, 3, 4, 5, -1, -1]


def test_a_task_that_both_runs_have_acts_and_is_valued_as_before_where_widths_grow():
    there, here = continuous(), continuous(num_tasks=3, obs_dim=5, action_dim=3)
    source = state_of(there, 0)
    found = transferred(here, state_of(here, 1), arrays_of(source), segments(there, here, (FRESH, MEAN, 0)))
    rng = np.random.default_rng(0)
    obs, action = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    wide_obs, wide_action = np.pad(obs, ((0, 0), (0, 2))), np.pad(action, ((0, 0), (0, 1)))

    @functools.partial(jax.jit, static_argnums=0)
    def seen(settings: brc.Settings, state: brc.LearnerState, obs: Any, action: Any, task: int) -> tuple:
        tasks = jnp.full(4, task)
        values = brc.critic_outputs(settings, state.critic, obs, action, tasks)
        return values, brc.policy_distribution(settings, brc.acting_params(state), obs, tasks)[0]

    values, means = seen(there, source, obs, action, 0)
    wide_values, wide_means = seen(here, found, wide_obs, wide_action, 2)
    np.testing.assert_allclose(wide_values, values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(wide_means[:, :2], means, rtol=1e-5, atol=1e-5)
    table = np.asarray(source.critic["conditioning"]["embedding"])
    np.testing.assert_allclose(found.critic["conditioning"]["embedding"][1], table.mean(axis=0), rtol=1e-6)


def test_networks_of_another_form_are_refused_by_name():
    settings = continuous()
    arrays = arrays_of(state_of(settings, 0))
    where = segments(settings, settings, (0, 1))
    wide = arrays | {"critic/ensemble/BroNet_0/Dense_1/kernel": np.zeros((2, 7, 7), np.float32)}
    with pytest.raises(ArchitectureError, match=r"Dense_1/kernel is float32\[2, 7, 7\]"):
        transferred(settings, state_of(settings, 1), wide, where)
    del arrays["actor/mean/bias"]
    with pytest.raises(ArchitectureError, match="no array actor/mean/bias"):
        transferred(settings, state_of(settings, 1), arrays, where)


@pytest.mark.parametrize("make", [continuous, discrete])
def test_every_leaf_belongs_to_a_part_that_can_be_frozen(make):
    settings = make()
    state, parts = state_of(settings, 0), set(AGENTS[settings.learner].parts)
    found = {critic_part(path_of(path)) for path, _ in jax.tree_util.tree_leaves_with_path(state.critic)}
    if hasattr(state, "actor"):
        found |= {actor_part(path_of(path)) for path, _ in jax.tree_util.tree_leaves_with_path(state.actor)}
        found.add("temperature")
    assert found == parts


@pytest.mark.slow
def test_frozen_parts_stay_as_they_are_and_all_others_learn():
    frozen = ("critic_torso", "actor_head", "temperature")
    settings = continuous(num_tasks=3, obs_dim=4, frozen=frozen)
    before = state_of(settings, 0)
    fresh = settings.optimiser.init(before.critic), settings.optimiser.init(before.actor)
    before = before._replace(critic_opt=fresh[0], actor_opt=fresh[1])
    after, _ = brc.update(settings, jax.device_put(before), make_batch(settings, 1, 8), RETURN_SCALE)
    for name, part_of in (("critic", critic_part), ("actor", actor_part)):
        old = jax.tree_util.tree_leaves_with_path(getattr(before, name))
        for (path, leaf), new in zip(old, jax.tree.leaves(getattr(after, name)), strict=True):
            assert np.array_equal(leaf, new) == (part_of(path_of(path)) in frozen), path
    assert after.log_temperature == before.log_temperature
