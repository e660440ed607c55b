"""A run's record is never lost without a word: damage, a full disk and removed directories each end in one line."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from agents.training import execute, lane, summary
from agents.training.evaluate import Evaluation
from agents.training.metrics import Moment, score_evaluation
from agents.training.prepare import check_evaluation
from conf import identity
from conf.compose import compose, resolve_paths
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.suites.shared.assets import digests
from records import layout
from records.layout import ExitCode
from records.lock import is_held
from records.run_dir import RunDir, warn_once
from tests.agents.training import scripted
from tests.agents.training.test_loop import CONTINUOUS, assert_equal_runs

pytestmark = pytest.mark.usefixtures("scripted_suite")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(summary, "write_report", lambda run_dir: None)
    yield
    scripted.EVENTS.clear()


@pytest.fixture
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to; made by the first test that asks."""
    runs = tmp_path_factory.getbasetemp() / "reference"
    config = configured(runs)
    if not runs.exists():
        assert execute.execute(config) == ExitCode.DONE
    return identity.run_dir(config)


def configured(runs: Path, env_steps: int = 50) -> RunConfig:
    overrides = [*CONTINUOUS, f"paths.runs={runs}", "paths.compilation_cache=null", f"train.env_steps={env_steps}"]
    config = resolve_paths(compose(overrides))
    task_ids = tuple(spec.id for spec in scripted.TASKS.values())
    return dataclasses.replace(config, benchmark=dataclasses.replace(config.benchmark, tasks=task_ids))


def attempt(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The run's exit status and its lines of error; anything but `error:` and known lines is a traceback."""
    capsys.readouterr()
    try:
        code = execute.execute(config)
    except OSError as error:  # the command makes a line of it
        code = ExitCode.FAILED
        return code, [f"error: {error}"]
    said = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in said), "\n".join(said)
    return code, [line for line in said if line.startswith(("error:", "warning:"))]


def state_of(run_dir: Path) -> str | None:
    path = run_dir / layout.STATUS
    return json.loads(path.read_text())["state"] if path.exists() else None


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"), [(halve, "holds"), (Path.unlink, "is missing"), (flip_a_byte, "are not the ones")]
)
def test_metrics_that_a_checkpoint_covers_are_refused_where_they_are_not_as_written(
    tmp_path: Path, capsys, damage: Callable[[Path], None], said: str
):
    assert attempt(configured(tmp_path, 30), capsys) == (ExitCode.DONE, [])
    run_dir = identity.run_dir(configured(tmp_path))
    metrics = run_dir / layout.METRICS
    size = metrics.stat().st_size
    damage(metrics)
    before = metrics.read_bytes() if metrics.exists() else None
    for _ in range(2):
        code, lines = attempt(configured(tmp_path), capsys)
        assert code == ExitCode.FAILED
        assert len(lines) == 1
        assert str(metrics) in lines[0]
        assert said in lines[0]
        assert f"{size:,} bytes" in lines[0]
        assert "put the file back as it was, or move the run's directory away" in lines[0]
        assert state_of(run_dir) == "failed"
        assert (metrics.read_bytes() if metrics.exists() else None) == before


def test_timing_that_was_cut_is_said_and_not_padded(tmp_path: Path, capsys):
    assert attempt(configured(tmp_path, 30), capsys) == (ExitCode.DONE, [])
    timing = identity.run_dir(configured(tmp_path)) / layout.TIMING
    halve(timing)
    kept = timing.read_bytes()
    code, (line,) = attempt(configured(tmp_path), capsys)
    assert code == ExitCode.DONE
    assert line.startswith("warning:")
    assert str(timing) in line
    assert timing.read_bytes().startswith(kept)
    assert b"\0" not in timing.read_bytes()


@pytest.mark.parametrize("finished", [True, False])
def test_a_record_without_checkpoints_is_not_begun_anew(tmp_path: Path, capsys, finished: bool):
    assert attempt(configured(tmp_path, 30), capsys) == (ExitCode.DONE, [])
    run_dir = identity.run_dir(configured(tmp_path))
    shutil.rmtree(run_dir / layout.CHECKPOINTS)
    if not finished:
        (run_dir / layout.DONE).unlink()
    before = (run_dir / layout.METRICS).read_bytes()
    code, (line,) = attempt(configured(tmp_path), capsys)
    assert code == ExitCode.FAILED
    assert f"{run_dir}: holds the record of a run, but its checkpoints are gone" in line
    assert (run_dir / layout.METRICS).read_bytes() == before


@pytest.mark.parametrize("torn", [7, -3, None], ids=["in the first row", "in the last row", "whole"])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, capsys, reference: Path, torn: int | None
):
    run_dir = identity.run_dir(configured(tmp_path))
    run_dir.mkdir(parents=True)
    rows = (reference / layout.METRICS).read_bytes().splitlines(keepends=True)
    first = b"".join(row for row in rows if row.startswith(b'{"env_steps":0,'))
    assert first
    (run_dir / layout.METRICS).write_bytes(first[:torn])
    assert attempt(configured(tmp_path), capsys) == (ExitCode.DONE, [])
    assert_equal_runs(run_dir, reference)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_run_whose_directory_goes_away_stops_and_says_so(tmp_path: Path, capsys, how: str):
    config = configured(tmp_path / "runs")
    run_dir = identity.run_dir(config)

    def take_away() -> None:
        (tmp_path / "runs").rename(tmp_path / "elsewhere")
        if how == "removed":
            shutil.rmtree(tmp_path / "elsewhere")
        if how == "replaced":
            shutil.copytree(tmp_path / "elsewhere", tmp_path / "runs")

    scripted.EVENTS["long", 25] = take_away
    code, lines = attempt(config, capsys)
    assert code == ExitCode.FAILED
    assert lines == [
        f"error: {run_dir}: was removed, moved or replaced while the run was writing it; the run has stopped"
    ]
    assert (tmp_path / "runs").exists() == (how == "replaced")


def test_run_whose_lock_another_process_took_over_stops_in_a_line_and_writes_nothing_more(
    tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(lane, "WATCH_S", 0.0)
    config = configured(tmp_path)
    run_dir = identity.run_dir(config)
    found: dict[str, bytes] = {}

    def take_over() -> None:
        lease = run_dir / f"{layout.LOCK}.lease"
        lease.write_text(json.dumps(json.loads(lease.read_text()) | {"host": "elsewhere", "token": "another"}))
        found.update(contents(run_dir))

    scripted.EVENTS["long", 25] = take_over
    code, (line,) = attempt(config, capsys)
    assert code == ExitCode.FAILED
    assert line.startswith(f"error: {run_dir / layout.LOCK}: this process lost the lock while it stood still; process")
    assert found
    assert contents(run_dir) == found


@pytest.mark.parametrize("env_steps", [30, 35], ids=["on the grid", "off the grid"])
@pytest.mark.parametrize("content", ["", "null", "[" * 100_000, '{"env_steps": 35, "score": NaN, "evaluation": []}'])
def test_damaged_done_of_a_whole_run_is_named_and_written_anew(tmp_path: Path, capsys, env_steps: int, content: str):
    config = configured(tmp_path, env_steps)
    assert attempt(config, capsys) == (ExitCode.DONE, [])
    done = identity.run_dir(config) / layout.DONE
    before = json.loads(done.read_text())
    done.write_text(content)
    warn_once.cache_clear()
    code, lines = attempt(config, capsys)
    assert code == ExitCode.DONE
    assert [line for line in lines if line.startswith(f"warning: {done}: ")] == lines
    assert len(lines) == 1
    assert json.loads(done.read_text()) == before


def test_score_that_is_not_finite_is_an_error_that_names_the_task_and_no_record():
    specs = [dataclasses.replace(next(iter(scripted.TASKS.values())), score_metric="return")]
    played = Evaluation(np.array([[1.0, np.inf]]), np.zeros((1, 2)), np.ones((1, 2), int), np.zeros(1, int), {})
    with pytest.raises(FloatingPointError, match=f"not finite at 5 steps: eval/return of {specs[0].id}"):
        score_evaluation(Moment(5, 5), specs, played)


def contents(run_dir: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("for_good", [False, True])
def test_a_full_disk_fails_the_run_in_a_line_and_the_same_command_goes_on(
    tmp_path: Path, capsys, monkeypatch, for_good: bool, reference: Path
):
    config = configured(tmp_path)
    run_dir = identity.run_dir(config)
    for calls in (1, 6, 9, 13, 20):  # of fsync, which every file that must not be lost goes through
        count = 0
        fsync = os.fsync

        def full(descriptor: int, calls=calls, fsync=fsync) -> None:
            nonlocal count
            count += 1
            if count == calls or (for_good and count > calls):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            code, lines = attempt(config, capsys)
        assert code == ExitCode.FAILED, calls
        assert len(lines) == 1, (calls, lines)
        assert "No space left on device" in lines[0]
        assert state_of(run_dir) in {"failed", None}, calls
    assert attempt(config, capsys) == (ExitCode.DONE, [])
    assert_equal_runs(run_dir, reference)


@pytest.mark.parametrize("platform", ["cuda", "banana"])
def test_a_platform_that_is_not_here_is_a_line_that_names_the_variable(platform: str, monkeypatch):
    def devices() -> None:
        raise {"cuda": AssertionError(), "banana": RuntimeError("no banana (set JAX_PLATFORMS='' to choose)")}[platform]

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    with pytest.raises(ConfigError, match=f"^JAX_PLATFORMS={platform}: .*; allowed: cpu, cuda") as caught:
        execute.configure_jax(configured(Path("runs")))
    assert "set JAX_PLATFORMS" not in str(caught.value)


def test_a_run_is_not_continued_with_other_files_of_its_suite(tmp_path: Path, capsys):
    file = tmp_path / "shape.stl"
    file.write_bytes(b"a shape")
    registry.suite_module("scripted/short").assets = lambda spec: digests({file.name: file})
    assert attempt(configured(tmp_path, 30), capsys) == (ExitCode.DONE, [])
    run_dir = identity.run_dir(configured(tmp_path))
    was, other = (hashlib.sha256(content).hexdigest() for content in (b"a shape", b"another shape"))
    assert RunDir(run_dir).manifest().assets == {"scripted/shape.stl": was}

    file.write_bytes(b"another shape")
    with pytest.raises(ConfigError) as caught:
        execute.execute(configured(tmp_path))
    assert str(caught.value) == (
        f"{run_dir}: the run was begun with another scripted/shape.stl (SHA-256 {was}, here {other}); put the file "
        "back, or begin a new run with another paths.runs"
    )
    assert RunDir(run_dir).done().env_steps == 30

    file.write_bytes(b"a shape")
    assert attempt(configured(tmp_path), capsys) == (ExitCode.DONE, [])
    assert RunDir(run_dir).manifest().assets == {"scripted/shape.stl": was}


def test_a_seed_that_fails_has_its_own_end_and_the_other_is_done(tmp_path: Path, capsys, reference: Path):
    configs = [
        dataclasses.replace(one, launcher=dataclasses.replace(one.launcher, seeds_together=2))
        for one in (dataclasses.replace(configured(tmp_path), seed=seed) for seed in (4, 3))
    ]
    calls = itertools.count()

    def fail() -> None:
        if next(calls) == 0:
            raise ValueError("made up")

    scripted.EVENTS["long", 25] = fail
    failed, fine = (identity.run_dir(config) for config in configs)
    assert execute.execute_together(configs) == {failed: ExitCode.FAILED, fine: ExitCode.DONE}
    statuses = [RunDir(run_dir).status() for run_dir in (failed, fine)]
    assert [status and status.state for status in statuses] == ["failed", "done"]
    assert statuses[0] is not None
    assert "made up" in statuses[0].reason
    assert not any(is_held(run_dir) for run_dir in (failed, fine))
    assert_equal_runs(fine, reference)
    assert execute.execute_together(configs) == {failed: ExitCode.DONE, fine: ExitCode.DONE}
    assert f"finished already: 50 steps, score {RunDir(fine).done().score:.3f}: {fine}" in capsys.readouterr().out


def test_more_environments_for_evaluation_than_fit_are_refused():
    config = configured(Path("runs"))
    many = dataclasses.replace(config.eval, parallel_episodes=10**8, episodes=10**8)
    specs = list(scripted.TASKS.values())
    with pytest.raises(ConfigError, match=r"^eval\.parallel_episodes=100000000: .* need 19.* TiB or more, 8\.0 GiB"):
        check_evaluation(dataclasses.replace(config, eval=many), specs, 8 * 2**30)
    # At most one environment for each episode is ever built.
    check_evaluation(dataclasses.replace(config, eval=dataclasses.replace(many, episodes=10)), specs, 8 * 2**30)


def test_a_run_that_keeps_replay_in_files_equals_one_that_keeps_it_in_memory(tmp_path: Path, capsys, reference: Path):
    for env_steps in (30, 50):
        config = configured(tmp_path, env_steps)
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, replay_storage="disk"))
        assert attempt(config, capsys) == (ExitCode.DONE, [])
    assert_equal_runs(identity.run_dir(config), reference)


def test_a_disk_without_room_for_replays_file_fails_the_run_in_a_line(tmp_path: Path, capsys, monkeypatch):
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    config = configured(tmp_path)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, replay_storage="disk"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        code, (line,) = attempt(config, capsys)
    assert code == ExitCode.FAILED
    assert "replay's file of " in line
    assert "No space left on device" in line
