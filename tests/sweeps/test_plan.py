from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from conf import record
from conf.compose import Composed, compose_many, resolve_paths
from conf.typed import ConfigError
from sweeps.plan import check_memory, plan, remaining_seconds, summary


def members(folder: Path, *overrides: str) -> list[Composed]:
    return [dataclasses.replace(one, config=resolve_paths(one.config, folder)) for one in compose_many(list(overrides))]


def test_finished_runs_are_found_and_not_planned_again(tmp_path: Path):
    before = plan(members(tmp_path, "seed=0,1"))
    assert [one.pending for one in before] == [True, True]
    before[1].run_dir.mkdir(parents=True)
    (before[1].run_dir / record.DONE).write_text(json.dumps({"env_steps": 10**9, "score": 0.5, "evaluation": []}))
    after = plan(members(tmp_path, "seed=0,1"))
    assert [one.pending for one in after] == [True, False]
    assert "2 runs: 1 finished already, 1 to run" in summary(after)
    assert remaining_seconds(after) == pytest.approx(remaining_seconds(before) / 2)


def test_members_with_one_identity_are_one_run(tmp_path: Path):
    assert len(plan(members(tmp_path, "env.workers=1,2"))) == 1
    assert len(plan(members(tmp_path, "agent.tau=0.005,0.01"))) == 2


def test_replay_that_cannot_fit_is_refused_with_both_sizes(tmp_path: Path):
    planned = plan(members(tmp_path, "seed=0,1", "train.replay_capacity=100000000000", "train.env_steps=100000000000"))
    # 2 runs x 3 tasks x 1e11 transitions x (8 + 2 floats and 10 bytes)
    with pytest.raises(ConfigError, match=r"2 runs at once needs 27\.3 TiB, .* are available"):
        check_memory(planned, 2)
