"""A clock that a test moves: what the loop does takes the seconds that are written down here."""

from __future__ import annotations

import types
from collections import Counter
from typing import Any

import pytest

from agents.replay.ring import Replay
from agents.training import clock, lane
from agents.training.checkpoint import CheckpointStore
from agents.training.evaluate import Evaluator
from agents.training.progress import Progress
from agents.training.team import Team
from envs.vector import VectorEnv
from records.rows import RowFile

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


class MovedClock:
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
