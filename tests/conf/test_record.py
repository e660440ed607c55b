"""A run's name is derived from what determines its results, and from nothing else."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

import pytest

from conf import record
from conf.compose import compose, compose_recorded, resolve_paths
from conf.typed import ConfigError, NotIdentity, Since, identity_values

BASE = record.identity(compose([]))


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
        "wait=true",
        "tracking=off",
        "tracking.uri=http://localhost:1",
        "paths.runs=elsewhere",
        "plan=true",
        "resume=false",
        "sweep.name=other",
        # Other words for the same run.
        "model=quick",
        "benchmark.tasks=[ball_in_cup-catch,cartpole-balance,cartpole-swingup]",
    ],
)
def test_identity_is_unchanged_by_how_and_how_long_a_run_is_executed(override):
    assert record.identity(compose([override])) == BASE


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
        "env.metaworld.goal_sampling=fixed",
    ],
)
def test_identity_changes_with_what_determines_results(override):
    assert record.identity(compose([override])) != BASE


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
    again = record.config_from_json(record.config_to_json(config))
    assert again == config
    assert record.identity(again) == record.identity(config)


def test_a_record_without_younger_fields_is_read_with_the_values_it_had():
    values = json.loads(record.config_to_json(compose([])))
    del values["env"]["metaworld"], values["benchmark"]["published_suffixes"]
    again = record.config_from_json(json.dumps(values))
    assert again == compose([])
    del values["env"]["backend"]
    with pytest.raises(ConfigError, match=r"env\.backend: missing"):
        record.config_from_json(json.dumps(values))


def test_json_with_a_key_that_the_schema_does_not_know_is_refused():
    text = record.config_to_json(compose([])).replace('"discount"', '"gamma"')
    with pytest.raises(ConfigError, match=r"agent\.gamma"):
        record.config_from_json(text)


def test_run_directory_is_named_by_benchmark_agent_size_seed_and_hash():
    config = compose(["benchmark.tasks=[cartpole-swingup]", "seed=3", "paths.runs=here"])
    expected = f"here/quickstart/brc-w64-cartpole-swingup-s3-{record.identity(config)[:8]}"
    assert str(record.run_dir(config)) == expected


def test_recorded_configuration_follows_a_moved_folder_but_not_a_renamed_run(tmp_path):
    config = compose([f"paths.runs={tmp_path / 'old'}", "resume=false"])
    run_dir = record.run_dir(config)
    run_dir.mkdir(parents=True)
    (run_dir / record.CONFIG).write_text(record.config_to_json(config))
    (tmp_path / "old").rename(tmp_path / "new")
    moved = tmp_path / "new" / run_dir.relative_to(tmp_path / "old")
    found = compose_recorded(moved)
    assert record.run_dir(found) == moved
    assert found == dataclasses.replace(
        config, resume=True, paths=dataclasses.replace(config.paths, runs=str(tmp_path / "new"))
    )
    renamed = moved.rename(moved.with_name("mine"))
    with pytest.raises(ConfigError, match="was it renamed"):
        compose_recorded(renamed)
