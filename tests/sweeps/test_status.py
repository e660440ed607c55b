from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf.compose import compose
from records import layout
from records.layout import ExitCode
from records.lock import LockedError, lock
from records.run_dir import warn_once
from records.sweep import Member, join_sweep, write_sweep
from sweeps import sync
from sweeps.status import RunState, inspect
from sweeps.status.__main__ import main

NOBODY = 65534


def write(run_dir: Path, name: str, value: object) -> None:
    (run_dir / name).write_text(json.dumps(value))


def test_run_without_a_status_is_new(tmp_path: Path):
    assert inspect(tmp_path, 10).name == "new"


def test_run_that_reached_its_budget_is_done_and_one_asked_for_more_is_not(tmp_path: Path):
    write(tmp_path, layout.STATUS, {"state": "done"})
    write(tmp_path, layout.DONE, {"env_steps": 10, "score": 0.5, "evaluation": []})
    assert inspect(tmp_path, 10) == RunState("done", 10, 0.5)
    assert inspect(tmp_path, 11).name == "interrupted"


def test_table_shows_the_parts_of_a_sweep_and_the_simulations_that_diverged(tmp_path: Path, capsys):
    runs = tmp_path / "runs"
    listed = [Member(runs / "quickstart" / f"s{seed}", 10, {}, part) for seed, part in enumerate(("one", "one", "two"))]
    write_sweep(runs / layout.SWEEPS / "mine.json", listed, {})
    done = {"env_steps": 10, "score": 0.5, "evaluation": [], "divergences": {"dmc/dog-run": 3}}
    for member, said in zip(listed[:2], (done, done | {"divergences": {}}), strict=True):
        member.run_dir.mkdir(parents=True)
        write(member.run_dir, layout.DONE, said)
    assert main(["--runs", str(runs)]) == ExitCode.DONE
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-4:] == ["diverged: s0: dmc/dog-run 3 times", "one: 2 done", "two: 1 new", "1 new, 2 done"]
    assert " part " in lines[2]


def test_run_that_says_running_is_running_only_while_its_lock_is_held(tmp_path: Path):
    write(tmp_path, layout.STATUS, {"state": "running"})
    with lock(tmp_path):
        assert inspect(tmp_path, 10).name == "running"
    assert inspect(tmp_path, 10).name == "killed"


def test_looking_at_a_run_does_not_keep_it_from_starting(tmp_path: Path):
    with lock(tmp_path):
        pass
    with (tmp_path / layout.LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with lock(tmp_path):
            assert inspect(tmp_path, 10).name == "running"
            with pytest.raises(LockedError), lock(tmp_path):
                pass


@pytest.mark.parametrize("name", [layout.DONE, layout.JOB, layout.CONFIG, layout.STATUS])
def test_damaged_file_is_named_and_taken_as_missing(tmp_path: Path, capsys, name: str):
    warn_once.cache_clear()
    run_dir = tmp_path / "runs" / "quickstart" / "brc-s0"
    run_dir.mkdir(parents=True)
    write(run_dir, layout.CONFIG, {"train": {"env_steps": 500}})
    write(run_dir, layout.STATUS, {"state": "interrupted"})
    write(run_dir, name, {})
    assert main(["--runs", str(tmp_path / "runs")]) == ExitCode.DONE
    captured = capsys.readouterr()
    assert f"warning: {run_dir / name}: " in captured.err
    expected = {layout.CONFIG: "no runs in", layout.STATUS: "1 new"}
    assert expected.get(name, "1 interrupted") in captured.out


def test_folder_where_a_file_belongs_is_one_line_and_the_other_runs_are_shown(tmp_path: Path, capsys):
    run_dir = tmp_path / "runs" / "quickstart" / "brc-s0"
    (run_dir / layout.STATUS).mkdir(parents=True)
    write(run_dir, layout.CONFIG, {"train": {"env_steps": 500}})
    other = run_dir.with_name("brc-s1")
    other.mkdir()
    write(other, layout.CONFIG, {"train": {"env_steps": 500}})
    write(other, layout.STATUS, {"state": "interrupted"})
    assert main(["--runs", str(tmp_path / "runs")]) == ExitCode.DONE
    captured = capsys.readouterr()
    assert captured.err == f"warning: {run_dir / layout.STATUS}: is a folder, where a file belongs; taken as missing\n"
    assert "1 interrupted, 1 new" in captured.out


@contextlib.contextmanager
def not_root() -> Iterator[None]:
    """Be a user inside the block who may not read everything."""
    before = os.geteuid()
    os.seteuid(NOBODY if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def test_run_that_may_not_be_read_hides_no_other(capsys):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)  # pytest's own folders are closed to other users
        with not_root():
            runs = [Path(folder) / "runs" / "quickstart" / f"brc-s{seed}" for seed in (0, 1)]
            for run_dir in runs:
                run_dir.mkdir(parents=True)
            path = Path(folder) / "runs" / layout.SWEEPS / "mine.json"
            write_sweep(path, [Member(one, 500, {}) for one in runs], {})
            runs[0].chmod(0)
            assert main(["--runs", str(Path(folder) / "runs")]) == ExitCode.DONE
            runs[0].chmod(0o755)
    captured = capsys.readouterr()
    assert f"{runs[0] / layout.STATUS}: cannot be read (Permission denied)" in captured.err
    assert "2 new" in captured.out


@pytest.mark.parametrize(
    ("states", "closed"), [(("done", "failed"), [True]), (("done", "done"), [False]), (("failed", "interrupted"), [])]
)
def test_sync_closes_a_sweep_at_mlflow_when_all_its_runs_are_done_or_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: tuple[str, ...], closed: list[bool]
):
    told: list[bool] = []
    monkeypatch.setattr("sweeps.closing.client", lambda uri: None)
    monkeypatch.setattr("sweeps.closing.Report.folder", None)
    monkeypatch.setattr("sweeps.closing.end_parent", lambda uri, run_id, outcome: told.append(outcome.failed))
    path = tmp_path / layout.SWEEPS / "two.json"
    listed = [Member(tmp_path / "quickstart" / f"s{seed}", 100, {}) for seed in range(2)]
    write_sweep(path, listed, {"http://lab": {"": "parent"}})
    for member, state in zip(listed, states, strict=True):
        join_sweep(member.run_dir, "two")
        write(member.run_dir, layout.STATUS, {"state": state, "time": 1.0})
        if state == "done":
            write(member.run_dir, layout.DONE, {"env_steps": 100, "score": 0.5, "evaluation": []})
    runs = [sync.Tracked(member.run_dir, compose([]), "http://lab") for member in listed]
    for _ in range(2):  # once
        sync.close_parents(runs)
    assert told == closed


def test_failed_run_gives_its_reason_and_its_steps(tmp_path: Path):
    write(tmp_path, layout.STATUS, {"state": "failed", "time": 0.0, "reason": "task dmc/dog-run: boom\ndetails"})
    (tmp_path / layout.TIMING).write_text(
        '{"env_steps":50,"update_steps":0,"name":"a","task":null,"value":1}\n{"env_steps":60,"na'
    )
    assert inspect(tmp_path, 100) == RunState("failed", 50, None, "task dmc/dog-run: boom")
