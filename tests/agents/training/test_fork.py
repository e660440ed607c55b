"""A fork shares its source's history; with nothing changed, it equals its source to the bit."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from agents.training.checkpoint import CheckpointStore, DamagedError
from conf.compose import compose
from conf.fork import source_of
from conf.schema import RunConfig
from envs.spec import TaskSpec
from records import layout
from records.rows import LostRowsError
from tests.agents.training.test_loop import BUDGET, CONTINUOUS, assert_equal_runs, train
from tests.commands import rows

AT = 41  # replay has come round, no evaluation is due, and episodes are under way


def fork_of(config: RunConfig, source: Path, **agent: float) -> RunConfig:
    origin = dataclasses.replace(source_of(config, AT), run_dir=str(source))
    return dataclasses.replace(config, source=origin, agent=dataclasses.replace(config.agent, **agent))


@pytest.fixture
def source(tmp_path: Path, scripted_suite: list[TaskSpec]) -> tuple[RunConfig, Path]:
    config = compose([*CONTINUOUS, f"checkpoint.keep=[{AT}]"])
    assert train(tmp_path / "source", config, scripted_suite) == "done"
    return config, tmp_path / "source"


def test_an_unchanged_fork_equals_its_source_also_when_its_beginning_was_cut_short(
    tmp_path: Path, scripted_suite: list[TaskSpec], source: tuple[RunConfig, Path]
):
    config, source_dir = source
    fork, run_dir = fork_of(config, source_dir), tmp_path / "fork"
    run_dir.mkdir()
    covered = json.loads(json.loads((source_dir / f"checkpoints/step-{AT:09d}/manifest.json").read_text())["body"])
    shared = (source_dir / layout.METRICS).read_bytes()[: covered["meta"]["covered"]["metrics"]]
    (run_dir / layout.METRICS).write_bytes(shared)  # and then the process was killed
    assert train(run_dir, fork, scripted_suite, kill_at=AT + 2) is None
    shutil.rmtree(source_dir / "checkpoints/replay")  # of which the fork has its own
    assert train(run_dir, fork, scripted_suite) == "done"
    shutil.rmtree(source_dir)
    again = tmp_path / "source"
    assert train(again, config, scripted_suite) == "done"
    assert_equal_runs(run_dir, again)


def test_a_changed_fork_shares_rows_up_to_its_step_and_counts_updates_on_from_there(
    tmp_path: Path, scripted_suite: list[TaskSpec], source: tuple[RunConfig, Path]
):
    config, source_dir = source
    fork = fork_of(config, source_dir, updates_per_step=0)
    assert train(tmp_path / "fork", fork, scripted_suite) == "done"
    kept = [CheckpointStore(tmp_path / name / layout.CHECKPOINTS).verified(AT).kept for name in ("source", "fork")]
    assert kept == [True, False]  # one of the two is enough
    theirs, ours = (rows(one / layout.METRICS) for one in (source_dir, tmp_path / "fork"))
    shared = [row for row in theirs if row["env_steps"] <= AT]
    assert ours[: len(shared)] == shared
    assert ours[len(shared) :] != theirs[len(shared) :]
    updates = {row["env_steps"]: row["update_steps"] for row in ours}
    assert updates[40] == 2 * (40 - 8)
    assert updates[BUDGET] == 2 * (AT - 8)


def test_a_fork_begins_from_nothing_but_its_whole_source(
    tmp_path: Path, scripted_suite: list[TaskSpec], source: tuple[RunConfig, Path]
):
    config, source_dir = source
    fork = fork_of(config, source_dir)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(source_dir / layout.METRICS, other)  # of a fork that has lost its checkpoints
    with pytest.raises(LostRowsError, match="checkpoints are gone"):
        train(other, fork, scripted_suite)
    (source_dir / f"checkpoints/step-{AT:09d}/state.npz").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"state\.npz does not match its checksum"):
        train(tmp_path / "fork", fork, scripted_suite)
    shutil.rmtree(source_dir)
    with pytest.raises(DamagedError, match=r"manifest\.json cannot be read"):
        train(tmp_path / "fork", fork, scripted_suite)
