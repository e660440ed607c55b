"""A run that crashes is tried again, a few times; one that would only fail again is not; to be stopped is no crash."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from conf.compose import compose
from records import layout
from records.layout import ExitCode, RunOutcome
from records.lock import lock
from records.run_record import write_status
from records.sweep import find_sweep
from sweeps import launch, pool
from sweeps.command import main
from sweeps.pool import Pool, RetryPolicy
from sweeps.status import states_of
from tests.yaml_copy import yaml_copy


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose runs are shell scripts, `run.sh` in the run directory."""
    monkeypatch.setattr(pool, "run_command", lambda run_dir: ["sh", str(run_dir / "run.sh"), str(run_dir)])
    return tmp_path


def make(runs: Path, name: str, script: str) -> Path:
    run_dir = runs / name
    run_dir.mkdir()
    (run_dir / "run.sh").write_text(f'cd "$1"; echo start >> starts\n{script}\n')
    return run_dir


def drive(*run_dirs: Path, parallel: int = 1, max_crashes: int = 2, stop_after_s: float | None = None) -> Pool:
    driven = Pool(
        [(run_dir,) for run_dir in run_dirs], parallel, RetryPolicy(max_crashes, 0.05, time.time()), new_session=True
    )
    begun = time.monotonic()
    while driven.poll():
        if stop_after_s is not None and time.monotonic() - begun > stop_after_s:
            driven.stop()
        assert time.monotonic() - begun < 20
        time.sleep(0.01)
    return driven


def starts(run_dir: Path) -> int:
    return (run_dir / "starts").read_text().count("start")


def state(run_dir: Path) -> dict:
    return json.loads((run_dir / layout.STATUS).read_text())


def failing(**details: object) -> str:
    return f"echo '{json.dumps({'state': 'failed', 'time': time.time(), **details})}' > {layout.STATUS}; exit 1"


def test_crashing_run_is_given_up_after_so_many_tries_with_its_last_lines(runs: Path):
    run_dir = make(runs, "a", "echo working; kill -KILL $$")
    drive(run_dir, max_crashes=2)
    assert starts(run_dir) == 3
    assert state(run_dir)["state"] == "failed"
    assert state(run_dir)["reason"] == "killed by SIGKILL (out of memory?)"
    assert state(run_dir)["last_lines"] == ["working"] * 3
    assert len((run_dir / layout.CRASHES).read_text().splitlines()) == 3


def test_tries_come_later_and_later(runs: Path):
    run_dir = make(runs, "a", "date +%s%N >> times; exit 139")
    drive(run_dir, max_crashes=3)
    times = [int(line) / 1e9 for line in (run_dir / "times").read_text().split()]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True))


def test_run_that_recovers_is_done(runs: Path):
    run_dir = make(runs, "a", "[ $(wc -l < starts) -ge 2 ] || exit 134")
    assert drive(run_dir).ended == {run_dir: 0}
    assert starts(run_dir) == 2


def test_failure_that_would_come_again_is_not_tried_again(runs: Path):
    run_dir = make(runs, "a", failing(reason="not finite at 7 steps", traceback="Traceback ...", retry=False))
    drive(run_dir)
    assert starts(run_dir) == 1
    assert {key: state(run_dir)[key] for key in ("state", "reason", "traceback")} == {
        "state": "failed",
        "reason": "not finite at 7 steps",
        "traceback": "Traceback ...",
    }


def test_run_that_cannot_begin_has_failed_with_what_it_said(runs: Path):
    run_dir = make(runs, "a", "echo 'error: env.backend=envpool: not installed'; exit 2")
    drive(run_dir)
    assert starts(run_dir) == 1
    assert state(run_dir)["reason"] == "ended with status 2: error: env.backend=envpool: not installed"


def test_crashes_before_the_sweep_was_launched_again_do_not_count(runs: Path):
    run_dir = make(runs, "a", "exit 139")
    drive(run_dir, max_crashes=0)
    time.sleep(0.01)
    drive(run_dir, max_crashes=1)
    assert starts(run_dir) == 1 + 2


def test_one_crash_does_not_stop_the_others(runs: Path):
    crashing, good = make(runs, "a", "exit 139"), make(runs, "b", "exit 0")
    assert drive(crashing, good, max_crashes=0).ended == {crashing: 139, good: 0}


def test_stop_reaches_what_runs_starts_no_more_and_counts_as_no_crash(runs: Path):
    slow, waiting = make(runs, "a", "sleep 20 & trap 'kill $!; exit 75' TERM; wait"), make(runs, "b", "exit 0")
    deaf = make(runs, "c", "exec sleep 20")  # has not come to listening yet
    assert drive(slow, deaf, waiting, parallel=2, stop_after_s=0.5).ended == {slow: 75, deaf: -15}
    assert not (waiting / "starts").exists()
    assert not (slow / layout.CRASHES).exists()
    assert not (deaf / layout.CRASHES).exists()


def planned(run_dir: Path) -> Any:
    """What `run_pool` needs to know of a run, and its launcher."""
    config = compose(["launcher=local"])
    return [types.SimpleNamespace(run_dir=run_dir, config=config)], config.launcher


LISTENING = "trap 'echo checkpoint; exit 75' TERM; touch listens; while :; do sleep 0.05; done"
DEAF = "trap '' TERM; touch listens; while :; do sleep 0.05; done"


def test_what_goes_wrong_in_the_command_leaves_no_run_behind(runs: Path, monkeypatch: pytest.MonkeyPatch):
    run_dir = make(runs, "a", LISTENING)

    def show(_: object) -> None:
        if (run_dir / "listens").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(launch.SweepProgress, "show", show)
    with pytest.raises(OSError, match="No space left"):
        launch.run_pool(*planned(run_dir), poll_s=0.01)
    assert (run_dir / layout.LOG).read_text() == "checkpoint\n"


def test_second_ctrl_c_kills(runs: Path, monkeypatch: pytest.MonkeyPatch):
    run_dir = make(runs, "a", DEAF)
    presses = itertools.count(1)

    def show(_: object) -> None:
        if (run_dir / "listens").exists() and next(presses) in (1, 20):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(launch.SweepProgress, "show", show)
    assert launch.run_pool(*planned(run_dir), poll_s=0.01) == ({run_dir: -signal.SIGKILL}, True)
    assert not (run_dir / layout.CRASHES).exists()


def test_run_that_somebody_else_kills_does_not_stop_the_command(runs: Path):
    run_dir = make(runs, "a", "kill -9 $$")
    (run,), launcher = planned(run_dir)
    given_up_at_once = dataclasses.replace(launcher, max_crashes=0)
    assert launch.run_pool([run], given_up_at_once, poll_s=0.01) == ({run_dir: -signal.SIGKILL}, False)


def test_part_with_a_run_that_is_killed_does_not_keep_later_parts_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    fake = f"{sys.executable} -m tests.sweeps.fake_run $0 0"
    script = f"case $0 in *-s0-*) kill -9 $$;; *) exec {fake};; esac"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(pool, "run_command", lambda run_dir: ["sh", "-c", script, str(run_dir)])
    parts = "[{name: a, set: [launcher.max_crashes=0], vary: {seed: '0,1'}}, {name: b, vary: {seed: '2,3'}}]"
    with yaml_copy(tmp_path, monkeypatch) as conf:
        (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\nsweep: {{name: mine, parts: {parts}}}\n")
        arguments = ["-m", "+experiment=mine", "launcher=local", "tracking=off", "train.env_steps=300"]
        assert main(arguments) == ExitCode.FAILED
    assert "killed by SIGKILL" in capsys.readouterr().out
    sweep = find_sweep(tmp_path / "runs", None)
    assert [(one.part, state.name) for one, state in states_of(sweep).items()] == [
        ("a", "failed"),
        ("a", "done"),
        ("b", "done"),
        ("b", "done"),
    ]


def test_run_that_another_process_writes_is_left_to_it(runs: Path):
    run_dir = make(runs, "a", "exit 1")
    write_status(run_dir, RunOutcome.RUNNING)
    with lock(run_dir):
        drive(run_dir)
    assert starts(run_dir) == 1
    assert state(run_dir)["state"] == "running"


def test_packed_runs_get_equal_parts_of_the_gpus_memory(runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    timed = "date +%s%N > begun; echo $XLA_PYTHON_CLIENT_MEM_FRACTION > fraction; sleep 0.5; date +%s%N > ended"
    both = [make(runs, name, timed) for name in "ab"]
    drive(*both, parallel=2)
    assert [(run_dir / "fraction").read_text() for run_dir in both] == ["0.450\n"] * 2
    begun, ended = ([int((run_dir / name).read_text()) for run_dir in both] for name in ("begun", "ended"))
    assert max(begun) < min(ended)  # at the same time
