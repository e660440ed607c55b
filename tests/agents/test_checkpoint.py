"""Checkpoints are whole or not there: damage is noticed, and no crash loses the last whole one."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.training import checkpoint
from agents.training.checkpoint import CheckpointStore, DamagedError
from tests.agents.test_replay import History, assert_holds, make


class Run:
    """A made-up run: time goes on, replay fills, checkpoints are saved."""

    def __init__(self, folder: Path, capacity: int = 100):
        self.store = CheckpointStore(folder)
        self.capacity = capacity
        self.history = History()
        self.replay = make(capacity)
        self.replay.start(self.history.first)

    def save(self, env_steps: int, kept: bool = False) -> None:
        self.history.insert(self.replay, env_steps - self.replay.inserted)
        self.store.write(self.store.draft(env_steps, {"note": f"at {env_steps}"}, arrays(env_steps), self.replay, kept))


def arrays(env_steps: int) -> dict[str, Any]:
    return {"learner['w']": np.full((2, 3), env_steps, np.float32), "count": np.int32(env_steps)}


def assert_loads(folder: Path, env_steps: int, run: Run) -> list[str]:
    """The newest whole checkpoint is that of `env_steps`, with everything in it; what was said about others."""
    found, problems = CheckpointStore(folder).load()
    assert found is not None
    assert (found.env_steps, found.meta) == (env_steps, {"note": f"at {env_steps}"})
    assert found.arrays.keys() == arrays(env_steps).keys()
    for name, array in arrays(env_steps).items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    replay = make(run.capacity)
    found.fill(replay)
    assert replay.inserted == env_steps
    assert len(replay) == min(env_steps, run.capacity)
    expected = History()
    for _ in range(env_steps):
        expected.step()
    replay.start(expected.obs)
    assert_holds(replay, expected)
    return problems


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "checkpoints"


def test_nothing_saved_is_nothing_loaded(folder):
    assert CheckpointStore(folder).load() == (None, [])


def test_the_newest_comes_back_whole_and_two_are_kept(folder):
    run = Run(folder)
    for env_steps in (0, 5, 12, 20):
        run.save(env_steps)
        assert assert_loads(folder, env_steps, run) == []
    assert sorted(path.name for path in folder.iterdir()) == ["replay", "step-000000012", "step-000000020"]
    segments = sorted(path.name for path in (folder / "replay").iterdir())
    assert segments == ["000000000-000000005.npz", "000000005-000000012.npz", "000000012-000000020.npz"]


def test_replay_is_written_once_and_old_segments_go_when_the_ring_has_wrapped(folder):
    run = Run(folder, capacity=10)
    written = set()
    for env_steps in (4, 8, 12, 16, 20, 24, 60):
        run.save(env_steps)
        assert_loads(folder, env_steps, run)
        times = {(path.name, path.stat().st_mtime_ns) for path in (folder / "replay").iterdir()}
        names = [name for name, _ in written | times]
        assert len(names) == len(set(names))  # no segment was written again
        written |= times
    # At 60 only 50 to 60 are needed; the checkpoint before it, at 24, needs 14 to 24.
    kept = sorted(path.name for path in (folder / "replay").iterdir())
    assert kept == [f"{a:09d}-{b:09d}.npz" for a, b in ((12, 16), (16, 20), (20, 24), (50, 60))]


def test_a_kept_checkpoint_stays_with_its_replay_and_another_run_can_take_it_over(folder, tmp_path):
    run = Run(folder, capacity=10)
    for env_steps in (4, 8, 16, 24, 60):
        run.save(env_steps, kept=env_steps == 8)
    assert run.store.steps() == [8, 24, 60]
    kept = sorted(path.name for path in (folder / "replay").iterdir())
    assert kept == [f"{a:09d}-{b:09d}.npz" for a, b in ((0, 4), (4, 8), (8, 16), (16, 24), (50, 60))]

    other = tmp_path / "other"
    CheckpointStore(other).adopt(run.store, run.store.verified(8), {"note": "at 8"})
    assert assert_loads(other, 8, run) == []
    shutil.rmtree(folder)  # what the other run has is its own
    going_on = Run(other, capacity=10)
    found, _ = going_on.store.load()
    assert found is not None
    going_on.history.insert(going_on.replay, 8)
    for env_steps in (12, 16, 30):
        going_on.save(env_steps)
    assert going_on.store.steps() == [16, 30]
    with pytest.raises(DamagedError, match="cannot be read"):
        going_on.store.verified(8)


@pytest.mark.parametrize("newest", [13, 14, 15])
def test_a_segment_is_kept_as_long_as_its_last_transition_can_be_sampled(folder, newest):
    run = Run(folder, capacity=10)
    for env_steps in (4, newest):  # of the first four, one is left, or none
        run.save(env_steps)
        assert_loads(folder, env_steps, run)
    named = checkpoint.read_manifest(folder / f"step-{newest:09d}" / "manifest.json").segments
    assert [segment.first for segment in named] == ([0, 4] if newest == 13 else [newest - 10])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def alter_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


NEWEST_FILES = ["step-000000012/state.npz", "step-000000012/manifest.json", "replay/000000005-000000012.npz"]


@pytest.mark.parametrize("damage", [cut_short, alter_a_byte, Path.unlink])
@pytest.mark.parametrize("file", NEWEST_FILES)
def test_damage_to_the_newest_is_noticed_and_the_one_before_is_used(folder, file, damage):
    run = Run(folder)
    run.save(5)
    run.save(12)
    damage(folder / file)
    problems = assert_loads(folder, 5, run)
    assert len(problems) == 1
    assert "step-000000012 is damaged" in problems[0]
    assert Path(file).name in problems[0]
    assert CheckpointStore(folder).load()[1] == []  # set aside

    resumed = Run(folder)
    found, _ = resumed.store.load()
    assert found is not None
    resumed.history.insert(resumed.replay, 5)
    resumed.save(12)
    resumed.save(15)
    assert assert_loads(folder, 15, resumed) == []


def test_damage_to_what_both_need_is_an_error_not_a_fresh_start(folder):
    run = Run(folder)
    run.save(5)
    run.save(12)
    alter_a_byte(folder / "replay/000000000-000000005.npz")
    with pytest.raises(DamagedError, match="no whole checkpoint"):
        CheckpointStore(folder).load()


@pytest.mark.parametrize("damage", [cut_short, alter_a_byte, Path.unlink])
def test_all_damaged_is_an_error(folder, damage):
    run = Run(folder)
    run.save(5)
    run.save(12)
    for name in ("step-000000005", "step-000000012"):
        damage(folder / name / "state.npz")
    with pytest.raises(DamagedError, match=r"no whole checkpoint.*step-000000012.*step-000000005"):
        CheckpointStore(folder).load()


def test_another_formats_version_is_refused(folder, monkeypatch):
    run = Run(folder)
    run.save(5)
    monkeypatch.setattr(checkpoint, "VERSION", 3)
    with pytest.raises(DamagedError, match="version 2, this is 3"):
        CheckpointStore(folder).load()


def test_a_consistent_but_forged_manifest_cannot_unpickle(folder):
    run = Run(folder)
    run.save(5)
    state = folder / "step-000000005" / "state.npz"
    np.savez(state, x=np.array([{"any": "object"}], dtype=object))
    manifest = checkpoint.read_manifest(state.with_name("manifest.json"))
    forged = dataclasses.replace(manifest, state_sha256=checkpoint.file_digest(state))
    checkpoint.write_manifest(state.with_name("manifest.json"), forged)
    found, _ = CheckpointStore(folder).load()
    with pytest.raises(DamagedError, match="allow_pickle"):
        found.arrays["x"]


def with_checksum(value: object) -> object:
    text = json.dumps(value)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text}


BODY = {"version": checkpoint.VERSION, "env_steps": 12, "meta": {}, "state_sha256": "", "segments": []}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        '"text"',
        "12",
        "[" * 100_000,
        json.dumps({"sha256": 1, "body": 2}),
        json.dumps({"sha256": None, "body": []}),
        *(
            json.dumps(with_checksum(value))
            for value in (
                None,
                [],
                {},
                BODY | {"env_steps": "12"},
                BODY | {"meta": None},
                BODY | {"state_sha256": 0},
                BODY | {"segments": None},
                BODY | {"segments": {"file": "x"}},
                BODY | {"segments": [None]},
                BODY | {"segments": [{"file": "x", "first": 0}]},
                BODY | {"segments": [{"file": 1, "first": 0, "last": 1, "sha256": ""}]},
                BODY | {"more": 1},
            )
        ),
    ],
)
def test_a_manifest_of_another_form_is_damaged_and_the_one_before_is_used(folder, content):
    run = Run(folder)
    run.save(5)
    run.save(12)
    (folder / "step-000000012" / "manifest.json").write_text(content)
    (problem,) = assert_loads(folder, 5, run)
    assert "step-000000012 is damaged: manifest.json cannot be read" in problem


def test_a_failing_old_manifest_does_not_stop_a_save(folder):
    run = Run(folder)
    run.save(5)
    run.save(12)
    (folder / "step-000000012" / "manifest.json").write_text(json.dumps({}))
    run.save(20)
    assert_loads(folder, 20, run)


def test_a_new_segment_that_does_not_read_back_is_noticed_at_once(folder, monkeypatch):
    """Also after old segments have been dropped: the ring has wrapped."""
    run = Run(folder, capacity=10)
    for env_steps in (8, 16, 24):
        run.save(env_steps)
    write_arrays = checkpoint.write_arrays

    def write_badly(path: Path, values: dict) -> str:
        digest = write_arrays(path, values)
        if path.parent.name == "replay":
            alter_a_byte(path)
        return digest

    monkeypatch.setattr(checkpoint, "write_arrays", write_badly)
    with pytest.raises(DamagedError, match="000000024-000000032"):
        run.save(32)
    assert_loads(folder, 24, run)


class Crash(BaseException):
    """The process ends here: nothing may catch it."""


def crash_at(monkeypatch, k: int) -> list[str]:
    """Every call that changes the disk is counted, and the `k`-th one ends the process; what was called."""
    calls: list[str] = []

    def counted(name, function):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == k:
                raise Crash
            return function(*args, **kwargs)

        return call

    def remove_one_by_one(path, ignore_errors=False, **_):
        """rmtree, which may end in its midst."""
        for one in sorted(Path(path).rglob("*")) if Path(path).exists() else []:
            one.unlink()
        if Path(path).exists():
            Path(path).rmdir()

    monkeypatch.setattr(shutil, "rmtree", remove_one_by_one)
    for cls, names in ((Path, ("rename", "replace", "unlink", "rmdir", "mkdir")), (os, ("fsync",))):
        for name in names:
            monkeypatch.setattr(cls, name, counted(name, getattr(cls, name)))
    return calls


@pytest.mark.parametrize(
    ("saved", "next_"),
    [((), 5), ((0,), 5), ((5, 12), 20), ((0,), 0), ((5, 12), 12)],
    ids=["first", "second", "third", "first again", "second again"],
)
def test_a_crash_at_any_moment_of_a_save_loses_no_whole_checkpoint(tmp_path, monkeypatch, saved, next_):
    for k in range(1, 100):
        folder = tmp_path / str(k)
        run = Run(folder)
        for env_steps in saved:
            run.save(env_steps)
        with monkeypatch.context() as patch:
            crash_at(patch, k)
            try:
                run.save(next_)
                crashed = False
            except Crash:
                crashed = True
        found, problems = CheckpointStore(folder).load()
        assert problems == [] or saved, k
        if not crashed:
            assert_loads(folder, next_, run)
            break
        allowed = {next_, saved[-1]} if saved else {next_, None}
        assert (found.env_steps if found else None) in allowed, k
        if found is None:
            continue
        assert_loads(folder, found.env_steps, run)
        # The run goes on from there, and what the crash left behind disappears.
        resumed = Run(folder)
        resumed.store.load()
        resumed.history.insert(resumed.replay, found.env_steps)
        resumed.save(found.env_steps)
        resumed.save(30)
        assert_loads(folder, 30, resumed)
        left = {path.name for path in folder.iterdir()}
        assert {name for name in left if name.startswith(".")} == set(), k
    else:
        raise AssertionError("the save never came to its end")
    assert k > 5
