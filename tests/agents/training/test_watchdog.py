"""A run that hangs says where, ends, and continues from its newest checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from agents.training import watchdog
from agents.training.watchdog import Watchdog
from records import layout
from records.layout import ExitCode
from tests.commands import TINY, command, living, newest_state, only_run, run


def waits(what, limit_s: float = 20) -> None:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < limit_s
        time.sleep(0.01)


def test_a_loop_that_moves_is_left_alone_and_one_that_rests_is_bitten_once():
    bitten: list[str] = []
    with Watchdog(2.0, bitten.append) as dog:
        for _ in range(50):
            dog.moved(warm=True)
            time.sleep(0.05)
        assert not bitten
        waits(lambda: bitten)
    assert len(bitten) == 1
    assert bitten[0] == "the loop has not moved for 2 seconds (launcher.hang_min)"


def test_compilation_at_the_start_has_time(monkeypatch: pytest.MonkeyPatch):
    bitten: list[str] = []
    with Watchdog(0.1, bitten.append) as dog:
        time.sleep(0.4)
        assert not bitten
        monkeypatch.setattr(watchdog, "START_S", 0.2)
        waits(lambda: bitten)
        assert dog.limit_s == 0.2


def test_without_a_limit_it_is_ten_times_the_longest_rest_and_at_least_ten_minutes():
    dog = Watchdog(None, lambda _: None)
    assert dog.limit_s == watchdog.START_S
    dog._rested = 500.0
    dog.moved(warm=True)
    assert dog.limit_s == 600  # what came before, compiled
    dog._rested = 90.0
    dog.moved(warm=True)
    dog._rested = 30.0
    dog.moved(warm=True)
    assert dog.limit_s == 900


BLOCKED = """
import os, sys
from pathlib import Path
from agents.training.watchdog import Watchdog, end_process
with Watchdog(0.3, end_process(lambda: [Path(sys.argv[1])])) as dog:
    dog.moved(warm=True)
    os.open(sys.argv[2], os.O_WRONLY)  # blocks: nobody reads
"""


def test_a_blocked_call_of_the_file_system_ends_the_process_with_every_stack(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    arguments = [sys.executable, "-c", BLOCKED, str(tmp_path), str(tmp_path / "fifo")]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert result.returncode == ExitCode.FAILED
    assert "error: the loop has not moved for" in result.stderr
    assert 'File "<string>", line 7 in <module>' in result.stderr
    status = json.loads((tmp_path / layout.STATUS).read_text())
    assert status["state"] == "failed"
    assert status["retry"]


@pytest.mark.slow
def test_a_run_whose_worker_stands_still_ends_and_the_same_command_continues_exactly(tmp_path: Path):
    arguments = [*TINY, "train.env_steps=1500", "tracking=off", "env.backend=process", "env.workers=1"]
    straight = tmp_path / "straight"
    straight.mkdir()
    assert run(straight, *arguments).returncode == 0
    hangs = tmp_path / "hangs"
    hangs.mkdir()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    log = (hangs / "log").open("w")
    with living(
        *command(*arguments, "launcher.hang_min=0.05"), limit_s=240, cwd=hangs, env=environment, stderr=log
    ) as process:

        def steps() -> int:
            found = list(hangs.glob(f"runs/*/*/{layout.METRICS}"))
            lines = found[0].read_text().splitlines() if found else []
            return json.loads(lines[-1])["env_steps"] if lines else 0

        waits(lambda: steps() > 450, 120)
        workers = [one for server in psutil.Process(process.pid).children() for one in server.children()]
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        assert process.wait(60) == ExitCode.FAILED
        psutil.wait_procs(workers, 20)
        assert not any(worker.is_running() for worker in workers)
    said = (hangs / "log").read_text()
    assert "error: the loop has not moved for" in said
    assert "wait_step" in said  # the stack says where
    assert run(hangs, *arguments).returncode == 0
    for name in (layout.METRICS, layout.DONE):
        assert (only_run(hangs) / name).read_bytes() == (only_run(straight) / name).read_bytes()
    newest_state(only_run(hangs))
