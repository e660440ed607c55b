"""What is removed is what was asked for, and never what a run, a job or another run needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agents.sizes import RunSize
from agents.training.checkpoint import MANIFEST, VERSION, Manifest, Segment, write_manifest
from agents.training.execute import check_place
from conf.compose import compose, resolve_paths
from conf.typed import ConfigError
from records import layout
from records.files import write_json
from records.layout import ExitCode, RunOutcome
from records.lock import lock
from records.run_dir import RunDir, recorded_config
from records.run_record import write_config, write_status
from records.run_record import write_manifest as write_run_manifest
from records.sweep import Member, write_sweep
from sweeps.clean import main
from sweeps.plan.record import record_space
from sweeps.removals import KINDS, removals, remove
from sweeps.usage import Space, space_of, usage
from tests.commands import TINY_DISCRETE, only_run, run

STEPS = 300


def make(folder: Path, *overrides: str, done: bool = True) -> Path:
    """A run with checkpoints at 100 (kept for good), 200 and 300 steps, that share segments of replay."""
    config = resolve_paths(compose(["tracking=off", f"train.env_steps={STEPS}", *overrides]), folder)
    run_dir = Path(config.paths.runs) / config.benchmark.name / f"run-s{config.seed}"
    replay = run_dir / layout.CHECKPOINTS / layout.REPLAY
    replay.mkdir(parents=True)
    write_config(run_dir, config)
    write_run_manifest(run_dir, config, [], {}, "1 x cpu", "flock", {})
    for step, segments in ((100, "a"), (200, "abx"), (300, "bc")):
        place = run_dir / layout.CHECKPOINTS / f"step-{step:09d}"
        place.mkdir()
        (place / layout.STATE).write_bytes(b"0" * 10)
        listed = [Segment(f"{name}.npz", 0, 1, "") for name in segments]
        write_manifest(place / MANIFEST, Manifest(VERSION, step, {}, "", listed, kept=step == 100))
        for name in segments:
            (replay / f"{name}.npz").write_bytes(b"1" * 1000)
    if done:
        write_json(run_dir / layout.DONE, {"env_steps": STEPS, "score": 0.5, "evaluation": []})
        write_status(run_dir, RunOutcome.DONE)
    return run_dir


def left(run_dir: Path) -> str:
    """The checkpoints of a run, by the first digit of their steps, and the segments of its replay."""
    folder = run_dir / layout.CHECKPOINTS
    steps = sorted(path.name.removeprefix("step-").lstrip("0")[:1] for path in folder.glob("step-*"))
    return "".join(steps + sorted(path.stem for path in folder.glob("replay/*.npz")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_slurm: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_options_only_old_checkpoints_and_what_they_alone_have_go(folder: Path, capsys):
    finished, unfinished = make(folder), make(folder, "seed=1", done=False)
    assert main(["--dry-run"]) == ExitCode.DONE
    said = capsys.readouterr().out
    assert "old checkpoints: 3 files" in said
    assert f"  {finished / layout.CHECKPOINTS / 'step-000000200'}\n" in said
    assert f"  {finished / layout.CHECKPOINTS / layout.REPLAY / 'x.npz'}\n" in said
    assert "--replay would remove 2 files, 2 KiB" in said
    assert (left(finished), left(unfinished)) == ("123abcx", "123abcx")
    assert main(["--yes"]) == ExitCode.DONE
    assert (left(finished), left(unfinished)) == ("13abc", "123abcx")
    assert "removed 3 files" in capsys.readouterr().out
    assert main(["--yes"]) == ExitCode.DONE
    assert "removed" not in capsys.readouterr().out


def test_without_replay_a_run_keeps_what_kept_checkpoints_need_and_refuses_a_larger_budget(folder: Path):
    run_dir = make(folder)
    config = resolve_paths(compose(["tracking=off", f"train.env_steps={STEPS}"]), folder)
    larger = resolve_paths(compose(["tracking=off", f"train.env_steps={2 * STEPS}"]), folder)
    check_place(larger, run_dir)
    assert main(["runs", "--replay", "--yes"]) == ExitCode.DONE
    assert left(run_dir) == "13a"
    check_place(config, run_dir)
    with pytest.raises(ConfigError, match=r"train\.env_steps=600: .*its replay was removed by sweeps\.clean"):
        check_place(larger, run_dir)


def test_nothing_goes_without_a_yes_where_nobody_can_be_asked(folder: Path, capsys):
    run_dir = make(folder)
    assert main(["--all"]) == ExitCode.BAD_CONFIG
    assert "error: --yes: needed where nobody can be asked" in capsys.readouterr().err
    assert left(run_dir) == "123abcx"


@pytest.mark.parametrize("why", ["is running", "is queued", "sweep m is being run", "was started from it"])
def test_what_is_in_use_is_left_alone(folder: Path, fake_slurm: Path, capsys, why: str):
    run_dir = make(folder, done=why != "is queued")
    locked = run_dir
    if why == "is running":
        (run_dir / layout.DONE).unlink()
    elif why == "is queued":
        (run_dir / layout.STATUS).unlink(missing_ok=True)
        submission = folder / "runs" / layout.SWEEPS / "m" / "001.json"
        submission.parent.mkdir(parents=True)
        write_json(submission, {"array": "7", "time": 1.0, "kind": "runs", "jobs": []})
        write_json(run_dir / layout.JOB, {"submission": os.path.relpath(submission, run_dir), "index": 0})
        (fake_slurm / "queue").write_text("7_0|PENDING\n")
    elif why == "sweep m is being run":
        path = folder / "runs" / layout.SWEEPS / "m.json"
        write_sweep(path, [Member(run_dir, STEPS, {})], {})
        locked = path.with_suffix("")
        locked.mkdir()
    else:
        other = make(folder, "seed=1", done=False)
        value = compose(["tracking=off", f"train.env_steps={STEPS}"])
        write_config(other, value)
        text = (other / layout.CONFIG).read_text().replace('"kind": null', '"kind": "fork"')
        (other / layout.CONFIG).write_text(text.replace('"run_dir": null', f'"run_dir": "{run_dir}"'))
    before = left(run_dir)
    locked = folder if why in ("is queued", "was started from it") else locked
    with lock(locked):
        assert main(["--all", "--yes"]) == ExitCode.DONE
    assert left(run_dir) == before
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("left alone:"))
    assert why in line


def test_what_was_begun_or_submitted_while_somebody_was_asked_stays(folder: Path):
    failed, finished = make(folder, "seed=1", done=False), make(folder)
    write_status(failed, RunOutcome.FAILED, reason="boom")
    code = folder / "runs" / layout.CODE / "asked-for-again"
    code.mkdir(parents=True)
    os.utime(code, (0, 0))
    going = removals(usage(folder / "runs"), KINDS)
    assert {one.place for one in going} == {failed, finished, code}
    write_json(failed / layout.JOB, {"submission": "nowhere", "index": 0})
    write_status(finished, RunOutcome.INTERRUPTED)
    os.utime(code)
    assert not any(map(remove, going))
    assert (left(failed), left(finished), code.exists()) == ("123abcx", "123abcx", True)


def test_failed_and_superseded_runs_go_as_a_whole_where_that_is_asked_for(folder: Path):
    failed, replaced, current = make(folder, done=False), make(folder, "seed=1"), make(folder, "seed=2")
    write_status(failed, RunOutcome.FAILED, reason="boom")
    time.sleep(0.01)
    newer = make(folder, "seed=1", "paths.runs=runs-0123abcd")
    assert main(["--yes"]) == ExitCode.DONE
    assert failed.exists()
    assert replaced.exists()
    assert main(["--yes", "--failed"]) == ExitCode.DONE
    assert not failed.exists()
    assert replaced.exists()
    assert main(["--yes", "--superseded"]) == ExitCode.DONE
    assert [run_dir.exists() for run_dir in (replaced, current, newer)] == [False, True, True]
    assert main(["runs-0123abcd", "--yes", "--superseded"]) == ExitCode.DONE
    assert newer.exists()
    assert list(folder.glob("runs*/*/.removed-*")) == []


def test_snapshots_go_that_neither_a_run_nor_a_job_nor_a_submission_under_way_needs(folder: Path, monkeypatch):
    monkeypatch.setattr("records.provenance.snapshot_name", lambda: "ran")
    run_dir = make(folder)
    code = folder / "runs" / layout.CODE
    for name in ("ran", "queued", "fresh", "unneeded"):
        (code / name).mkdir(parents=True)
        if name != "fresh":
            os.utime(code / name, (0, 0))
    submission = folder / "runs" / layout.SWEEPS / "m" / "001.json"
    submission.parent.mkdir(parents=True)
    write_json(submission, {"array": "7", "time": 1.0, "kind": "runs", "jobs": [], "code": "queued"})
    write_json(run_dir / layout.JOB, {"submission": os.path.relpath(submission, run_dir), "index": 0})
    assert main(["--yes"]) == ExitCode.DONE
    assert sorted(path.name for path in code.iterdir()) == ["fresh", "queued", "ran"]


def test_a_file_of_two_names_counts_half_in_each(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"0" * 10)
    (tmp_path / "two").hardlink_to(tmp_path / "a" / "one")
    assert space_of(tmp_path / "a") == Space(1, 5)
    assert space_of(tmp_path) == Space(2, 10)
    assert space_of(tmp_path / "missing") == Space()


@pytest.mark.slow
def test_finished_run_goes_on_after_old_checkpoints_went_and_not_after_replay(tmp_path: Path):
    tiny = [*TINY_DISCRETE, "tracking=off"]
    assert run(tmp_path, *tiny, "train.env_steps=400", "report=true").returncode == ExitCode.DONE
    run_dir, runs = only_run(tmp_path), tmp_path / "runs"
    expected = record_space(recorded_config(run_dir), RunSize(**RunDir(run_dir).manifest().sizes), seconds=10.0)
    (taken,) = usage(runs).runs
    assert taken.space.bytes == pytest.approx(expected.bytes, rel=0.25)
    assert taken.space.files == pytest.approx(expected.files, rel=0.4)
    assert main([str(runs), "--yes"]) == ExitCode.DONE
    assert usage(runs).runs[0].space.bytes < taken.space.bytes
    rows = (run_dir / layout.METRICS).read_bytes()
    assert run(tmp_path, *tiny, "train.env_steps=450").returncode == ExitCode.DONE
    assert (run_dir / layout.METRICS).read_bytes().startswith(rows)
    assert main([str(runs), "--replay", "--yes"]) == ExitCode.DONE
    further = run(tmp_path, *tiny, "train.env_steps=600")
    assert further.returncode == ExitCode.BAD_CONFIG
    (line,) = further.stderr.splitlines()
    assert line.startswith(f"error: train.env_steps=600: {run_dir} cannot be continued beyond the budget")
