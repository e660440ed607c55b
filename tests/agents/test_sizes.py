"""A replay that this machine cannot hold is refused before anything is built, with both numbers."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from agents import sizes
from agents.learner.api import learner_of
from agents.learner.types import Batch
from agents.replay.ring import Replay
from conf.compose import compose
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.spec import TaskSpec


def check(*overrides: str) -> None:
    """As a run or a plan does it, on a machine of 24 GiB."""
    config = compose(overrides)
    sizes.check_memory([sizes.run_size(config, registry.specs(config.benchmark.task_ids, config.env))], 24 * 2**30)


def test_forty_games_of_a_million_frames_are_refused():
    with pytest.raises(ConfigError, match=r"train\.replay_capacity: replay of a run needs 263\.\d GiB, 24\.0 GiB are"):
        check("benchmark=atari", "train.replay_capacity=1000000")


@pytest.mark.parametrize("benchmark", ["atari", "atari_transfer", "atari100k", "catch"])
def test_the_pixel_benchmarks_own_capacities_fit(benchmark):
    check(f"benchmark={benchmark}")


def test_a_small_budget_needs_little_whatever_the_capacity():
    config = compose(["benchmark=atari", "train.replay_capacity=1000000", "train.env_steps=1000"])
    size = sizes.run_size(config, registry.specs(config.benchmark.task_ids, config.env))
    assert size.replay_bytes == pytest.approx(40 * 1001 * 7070, rel=0.01)


def test_an_agent_is_refused_tasks_that_it_cannot_act_in():
    """Also where the benchmark, narrowed or made by hand, says otherwise."""
    with pytest.raises(ConfigError, match="agent=brc: takes continuous actions, atari/Pong discrete ones"):
        check("benchmark.available=[atari/Pong]")


def test_what_does_not_fit_into_memory_may_be_kept_on_a_disk_that_has_room(tmp_path: Path):
    check("benchmark=atari", "train.replay_capacity=1000000", "train.replay_storage=disk")
    config = compose(["benchmark=atari", "train.replay_storage=disk", "train.replay_capacity=1000000000000"])
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, env_steps=10**12))
    size = sizes.run_size(config, registry.specs(config.benchmark.task_ids, config.env))
    with pytest.raises(ConfigError, match=r"train\.replay_storage=disk: replay needs [\d.]+ TiB in .* are free"):
        sizes.check_disk([size], tmp_path / "no" / "folder" / "yet")


def everything() -> tuple[RunConfig, list[TaskSpec]]:
    config = compose(["benchmark=everything"])
    return config, registry.specs(config.benchmark.task_ids, config.env)


def test_everything_is_every_task_with_continuous_actions_in_less_than_90_gib():
    config, specs = everything()
    assert {spec.id for spec in specs} == {spec.id for spec in registry.all_tasks() if spec.action_kind == "continuous"}
    assert len(specs) == 238
    assert config.train.env_steps == config.train.replay_capacity == 10**6
    padded = 10**6 * len(specs) * (4 * max(spec.frame_width for spec in specs) + 4 * 61 + 10)
    assert padded > 325 * 2**30
    assert sizes.run_size(config, specs).replay_bytes < 90 * 2**30
    # With what the policy says beyond each task's own actions, as BRC's release learns from it:
    assert 100 * 2**30 < 10**6 * sum(sizes.row_bytes(specs, surplus_actions=True)) < 125 * 2**30


@pytest.mark.parametrize("surplus_actions", [True, False])
def test_the_estimate_is_what_replay_reserves(surplus_actions):
    _, specs = everything()
    replay = Replay(specs, 200, 10**6, discount=0.99, surplus_actions=surplus_actions)
    estimate = 201 * sum(sizes.row_bytes(specs, surplus_actions=surplus_actions))
    assert sum(replay.nbytes().values()) == pytest.approx(estimate, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [["benchmark=quickstart", "model.width=256", "model.actor_width=256"], ["benchmark=catch"]],
    ids=["continuous", "discrete"],
)
def test_an_update_takes_about_as_many_operations_as_its_compiler_counts(overrides: list[str]):
    """Ours leaves out what is not a matrix product, and counts the edges of images as if they were inside."""
    config = compose(overrides)
    specs = registry.specs(config.benchmark.task_ids, config.env)
    learner = learner_of(config)
    settings = learner.settings(config, specs)
    state = jax.eval_shape(lambda: learner.init(settings, jax.random.key(0)))
    numbers = jax.ShapeDtypeStruct((1, config.batch_size), jnp.float32)
    integers = jax.ShapeDtypeStruct((1, config.batch_size), jnp.int32)
    if config.agent.actions == "continuous":
        obs = jax.ShapeDtypeStruct((*numbers.shape, settings.obs_dim), jnp.float32)
        action = jax.ShapeDtypeStruct((*numbers.shape, settings.action_dim), jnp.float32)
    else:
        obs, action = jax.ShapeDtypeStruct((*numbers.shape, *settings.obs_shape), jnp.uint8), integers
    batch = Batch(obs, action, numbers, obs, numbers, integers)
    return_scale = jax.ShapeDtypeStruct((len(specs),), jnp.float32)
    lowered = jax.jit(learner.update, static_argnums=0).lower(settings, state, batch, return_scale)
    counted = lowered.cost_analysis()["flops"]
    assert 0.75 < counted / sizes.run_size(config, specs).update_flops < 1.1
