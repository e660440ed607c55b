"""A run is told to stop by signals and by a file that says who wants that and why."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from agents.training.stop import StopFlag, listening
from records import layout
from records.entries import Stop


def test_a_stop_file_says_who_and_why(tmp_path: Path):
    stop = StopFlag(tmp_path)
    (tmp_path / layout.STOP).write_text(json.dumps({"by": "search", "reason": "pruned at 500"}))
    assert stop()
    assert stop.order == Stop("search", "pruned at 500")
    assert stop.signal is None


@pytest.mark.parametrize("content", ["", '{"by": "sea', "[1]", "null", "{}", '{"by": 3, "reason": null}'])
def test_a_file_that_is_no_order_does_not_stop(tmp_path: Path, content: str):
    (tmp_path / layout.STOP).write_text(content)
    assert not StopFlag(tmp_path)()


def test_a_signal_stops_every_run_of_the_process_and_handlers_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = signal.getsignal(signal.SIGUSR2)
    stops = [StopFlag(tmp_path), StopFlag(tmp_path)]
    with listening(stops):
        assert not any(stop() for stop in stops)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert all(stop() for stop in stops)
    assert [stop.signal for stop in stops] == ["SIGUSR2", "SIGUSR2"]
    assert capsys.readouterr().err.count("SIGUSR2: checkpointing, then stopping") == 1
    assert signal.getsignal(signal.SIGUSR2) == before
