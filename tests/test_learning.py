"""The learner learns a real task, given minutes of a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conf import record
from envs import registry
from tests.commands import only_run, run

pytestmark = pytest.mark.slow


def test_balancing_a_pole_is_learnt_in_four_thousand_steps(tmp_path: Path):
    result = run(
        tmp_path,
        "benchmark.tasks=[cartpole-balance]",
        "train.env_steps=4000",
        "agent.init_temperature=0.01",  # little exploration is enough here, and quick
        "train.random_steps=500",
        "eval.every_steps=4000",
        "tracking=off",
    )
    assert result.returncode == 0, result.stderr
    random_return = registry.spec("dmc/cartpole-balance").random_return
    assert random_return is not None
    (final,) = [
        row["value"]
        for row in json.loads((only_run(tmp_path) / record.DONE).read_text())["evaluation"]
        if row["name"] == "eval/return"
    ]
    assert final > random_return + 0.6 * (1000 - random_return)
