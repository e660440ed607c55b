"""A run is told to stop by signals and by a file; whatever the file holds, the run stops in order."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from agents.training.stop import Order, StopFlag
from records import layout


@pytest.mark.parametrize(
    ("content", "order"),
    [
        ({"by": "search", "reason": "pruned at 500"}, Order("search", "pruned at 500")),
        ({}, Order("unknown", "unknown")),
        ({"by": None, "reason": [1], "state": "done", "run_dir": 3}, Order("None", "[1]")),
    ],
)
def test_a_stop_file_says_who_and_why(tmp_path: Path, content: dict, order: Order):
    stop = StopFlag(tmp_path)
    (tmp_path / layout.STOP).write_text(json.dumps(content))
    assert stop()
    assert stop.order == order
    assert stop.signal is None


@pytest.mark.parametrize("content", ["", '{"by": "sea', "[1]", "null"])
def test_a_file_that_is_not_whole_yet_does_not_stop(tmp_path: Path, content: str):
    (tmp_path / layout.STOP).write_text(content)
    assert not StopFlag(tmp_path)()


def test_a_signal_stops_and_handlers_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = signal.getsignal(signal.SIGUSR2)
    stop = StopFlag(tmp_path)
    with stop.installed():
        assert not stop()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop()
    assert stop.signal == "SIGUSR2"
    assert "SIGUSR2: checkpointing, then stopping" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGUSR2) == before
