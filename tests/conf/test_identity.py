"""A run's name is derived from what determines its results, and from nothing else."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

import pytest

from conf import identity
from conf.compose import compose, resolve_paths
from conf.typed import ConfigError, NotIdentity, Since, identity_values
from records import layout
from records.run_dir import recorded_config

BASE = identity.hash_of(compose([]))


@pytest.mark.parametrize(
    "override",
    [
        "train.env_steps=30000",
        "env.workers=3",
        "env.backend=inline",
        "checkpoint.every_min=1",
        "launcher=slurm",
        "launcher.max_parallel=2",
        "launcher.runs_per_gpu=2",
        "launcher.dry_run=true",
        "rerun=stale",
        "report=false",
        "wait=true",
        "tracking=off",
        "tracking.uri=http://localhost:1",
        "paths.runs=elsewhere",
        "plan=true",
        "resume=false",
        "sweep.name=other",
        # Options of suites of which the run has no task.
        "env.metaworld.goal_sampling=fixed",
        "env.atari.sticky_actions=0.5",
        # Other words for the same run.
        "model=quick",
        "benchmark.tasks=[ball_in_cup-catch,cartpole-balance,cartpole-swingup]",
    ],
)
def test_identity_is_unchanged_by_how_and_how_long_a_run_is_executed(override):
    assert identity.hash_of(compose([override])) == BASE


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "agent.discount=0.98",
        "agent.value_loss=squared",
        "agent.reward_scale=off",
        "agent.updates_per_step=1",
        "model.width=65",
        "model.actor_depth=0",
        "benchmark.tasks=[cartpole-swingup]",
        "train.random_steps=999",
        "train.replay_capacity=5000",
        "train.deterministic=true",
        "eval.episodes=11",
        "eval.max_episode_steps=10",
        "agent.surplus_actions=zero",
    ],
)
def test_identity_changes_with_what_determines_results(override):
    assert identity.hash_of(compose([override])) != BASE


def test_what_the_other_agent_has_leaves_a_runs_name_unchanged():
    """Names of runs that were recorded before there was another agent."""
    assert BASE == "9071adacee51b09a"
    assert identity.hash_of(compose(["benchmark=dmc_hard", "model=xl", "seed=3"])) == "bb0ab5c22585b0fd"
    assert identity.hash_of(compose(["benchmark=metaworld"])) == "d5c37d6c6eb7e4ea"
    assert identity.hash_of(compose(["benchmark=metaworld_dmc"])) == "f0971849f151c936"
    fixed = compose(["benchmark=metaworld", "env.metaworld.goal_sampling=fixed"])
    assert identity.hash_of(fixed) == "fe08cf015e4a6113"
    assert identity.hash_of(compose(["model.encoder_stride=2", "model.encoder_channels=3"])) == BASE


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["benchmark=catch"], "edd19837c9f729e4"),
        (["benchmark=atari", "model=l"], "4caa36783814dfb1"),
        (["benchmark=atari100k", "seed=2"], "ab0de8b2777c56a3"),
    ],
)
def test_names_of_discrete_runs_stay(overrides: list[str], expected: str):
    assert identity.hash_of(compose(overrides)) == expected


@pytest.mark.parametrize(
    "override",
    ["env.atari.sticky_actions=0.1", "agent.n_step=1", "agent.epsilon=0.1", "model.encoder_channels=3"],
)
def test_identity_of_a_discrete_run_changes_with_what_determines_its_results(override):
    assert identity.hash_of(compose(["benchmark=atari", override])) != identity.hash_of(compose(["benchmark=atari"]))


def test_a_batch_is_the_same_however_it_is_asked_for():
    by_task, whole = (compose(["benchmark=atari", one]) for one in ("agent.batch_per_task=2", "agent.batch_size=80"))
    assert identity.hash_of(by_task) == identity.hash_of(whole)


@dataclass(frozen=True)
class Old:
    width: int
    workers: Annotated[int, NotIdentity()]


@dataclass(frozen=True)
class Young:
    width: int
    workers: Annotated[int, NotIdentity()]
    dropout: Annotated[float, Since(0.0)]


@dataclass(frozen=True)
class Outer:
    seed: int
    inner: Young


def test_a_younger_field_leaves_old_names_unchanged_at_the_value_they_had():
    assert identity_values(Young(4, 1, 0.0)) == identity_values(Old(4, 2)) == {"width": 4}
    assert identity_values(Young(4, 1, 0.1)) == {"width": 4, "dropout": 0.1}
    assert identity_values(Outer(0, Young(4, 1, 0.0))) == {"seed": 0, "inner": {"width": 4}}


def test_config_comes_back_from_json_with_its_identity():
    config = resolve_paths(compose(["benchmark.tasks=[cartpole-swingup]", "launcher=slurm", "agent.tau=1"]))
    again = identity.config_from_json(identity.config_to_json(config))
    assert again == config
    assert identity.hash_of(again) == identity.hash_of(config)


def test_a_record_without_younger_fields_is_read_with_the_values_it_had():
    values = json.loads(identity.config_to_json(compose([])))
    del values["env"]["metaworld"], values["benchmark"]["published_suffixes"]
    again = identity.config_from_json(json.dumps(values))
    assert again == compose([])
    del values["env"]["backend"]
    with pytest.raises(ConfigError, match=r"env\.backend: missing"):
        identity.config_from_json(json.dumps(values))


def test_json_with_a_key_that_the_schema_does_not_know_is_refused():
    text = identity.config_to_json(compose([])).replace('"discount"', '"gamma"')
    with pytest.raises(ConfigError, match=r"agent\.gamma"):
        identity.config_from_json(text)


def test_run_directory_is_named_by_benchmark_agent_size_seed_and_hash():
    config = compose(["benchmark.tasks=[cartpole-swingup]", "seed=3", "paths.runs=here"])
    expected = f"here/quickstart/brc-w64-cartpole-swingup-s3-{identity.hash_of(config)[:8]}"
    assert str(identity.run_dir(config)) == expected


def test_recorded_configuration_follows_a_moved_folder_but_not_a_renamed_run(tmp_path):
    config = compose([f"paths.runs={tmp_path / 'old'}", "resume=false"])
    run_dir = identity.run_dir(config)
    run_dir.mkdir(parents=True)
    (run_dir / layout.CONFIG).write_text(identity.config_to_json(config))
    (tmp_path / "old").rename(tmp_path / "new")
    moved = tmp_path / "new" / run_dir.relative_to(tmp_path / "old")
    found = recorded_config(moved)
    assert identity.run_dir(found) == moved
    assert found == dataclasses.replace(
        config, resume=True, paths=dataclasses.replace(config.paths, runs=str(tmp_path / "new"))
    )
    renamed = moved.rename(moved.with_name("mine"))
    with pytest.raises(ConfigError, match="was it renamed"):
        recorded_config(renamed)
