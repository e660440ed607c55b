"""Each part of the loop's time is what the loop did, and all add up to the whole, by a clock that the test moves."""

from __future__ import annotations

import types
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agents.replay.ring import Replay
from agents.training import clock, lane
from agents.training.checkpoint import CheckpointStore
from agents.training.clock import PHASES, Clock
from agents.training.evaluate import Evaluator
from agents.training.progress import Progress
from agents.training.team import Team
from conf.compose import compose
from envs.spec import TaskSpec
from envs.vector import VectorEnv
from records import layout
from records.metrics import ENVIRONMENT_S, TIME_PREFIX, seconds_of
from records.rows import RowFile
from tests.agents.training.test_loop import CONTINUOUS, train
from tests.commands import rows

TAKES: list[tuple[Any, str, float, str]] = [
    (lane, "random_actions", 1.0, "act"),
    (Replay, "sample", 2.0, "sample"),
    (Team, "learn", 4.0, "update"),
    (VectorEnv, "wait_step", 8.0, "env_wait"),
    (Replay, "insert", 16.0, "insert"),
    (RowFile, "append", 32.0, "record"),
    (Evaluator, "run", 64.0, "evaluation"),
    (CheckpointStore, "draft", 128.0, "checkpoint"),
    (Progress, "step", 256.0, "rest"),
]
"""Owner and name of what takes time, the seconds of a call, and the part that these belong to."""


class Script:
    """A clock that goes on only where something in `TAKES` is called, and a ledger of that."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.now, self.spent, self._evaluating = 0.0, Counter[str](), False
        patch.setattr(clock, "time", types.SimpleNamespace(perf_counter=lambda: self.now))
        for owner, name, seconds, part in TAKES:
            patch.setattr(owner, name, self._taking(getattr(owner, name), seconds, part))

    def _taking(self, function: Any, seconds: float, part: str) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            outer, self._evaluating = self._evaluating, self._evaluating or part == "evaluation"
            self.now += seconds
            self.spent["evaluation" if self._evaluating else part] += seconds
            try:
                return function(*args, **kwargs)
            finally:
                self._evaluating = outer

        return called


def test_each_part_has_the_seconds_that_were_spent_there_and_all_add_up_to_the_whole(
    tmp_path: Path, scripted_suite: list[TaskSpec], monkeypatch: pytest.MonkeyPatch
):
    script = Script(monkeypatch)
    config = compose([*CONTINUOUS, "train.env_steps=40"])  # the last evaluation, too, is one of the grid
    assert train(tmp_path / "run", config, scripted_suite) == "done"
    written = [(row["env_steps"], row["name"]) for row in rows(tmp_path / "run" / layout.TIMING)]
    assert len(set(written)) == len(written)
    last = {row["name"]: row["value"] for row in rows(tmp_path / "run" / layout.TIMING)}
    parts = {name: value for name, value in last.items() if name.startswith(TIME_PREFIX) and name != ENVIRONMENT_S}
    assert set(parts) == {seconds_of(phase) for phase in PHASES}
    script.spent["record"] -= 32  # the last rows cannot hold what writing them takes,
    script.spent["checkpoint"] -= 128  # nor the last checkpoint, which covers them
    assert parts == {seconds_of(phase): script.spent[phase] for phase in PHASES}
    assert sum(parts.values()) == pytest.approx(script.now, rel=0.03)


def test_closing_words_show_evaluation_and_all_that_took_a_hundredth():
    taken = Clock(phases=dict.fromkeys(PHASES, 0.0) | {"update": 300.0, "env_wait": 299.0, "sample": 5.0})
    assert taken.shares() == "10.1 min: updates 50%, environments 50%, evaluation 0%"
