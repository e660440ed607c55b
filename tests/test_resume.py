"""A run may be killed at any moment and loses nothing: exact to the last bit on a CPU."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest

from records import layout
from records.layout import ExitCode
from tests.commands import (
    TINY,
    TINY_DISCRETE,
    command,
    living,
    newest_state,
    only_run,
    replay_contents,
    rows,
    run,
    wait_until,
)

pytestmark = pytest.mark.slow

SETTINGS = [*TINY, "tracking=off"]
OFTEN = "checkpoint.every_min=0.005"  # 0.3 s


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    result = run(folder, *SETTINGS)
    assert result.returncode == 0, result.stderr
    return only_run(folder)


def assert_equal_runs(run_dir: Path, reference: Path) -> None:
    assert (run_dir / layout.METRICS).read_bytes() == (reference / layout.METRICS).read_bytes()
    for ours, theirs in (
        (newest_state(run_dir), newest_state(reference)),
        (replay_contents(run_dir), replay_contents(reference)),
    ):
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    assert json.loads((run_dir / layout.DONE).read_text()) == json.loads((reference / layout.DONE).read_text())


def kill_when(folder: Path, due, *overrides: str, settings: Sequence[str] = SETTINGS) -> int | None:
    """Start the run and kill -9 it as soon as `due(seconds)` says so; its exit status if it ended before."""
    process = subprocess.Popen(
        command(*settings, *overrides), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begun = time.monotonic()
    while process.poll() is None:
        if due(time.monotonic() - begun):
            process.kill()
            process.wait()
            return None
        time.sleep(0.001)
    return process.returncode


def saved_at(folder: Path, env_steps: int) -> Callable[[float], bool]:
    """When to kill the run of a folder: as soon as it has a checkpoint of so many steps."""

    def due(_: float) -> bool:
        saved = [int(path.name.removeprefix("step-")) for path in folder.glob("runs/*/*/checkpoints/step-*")]
        return max(saved, default=0) >= env_steps

    return due


def test_run_killed_at_random_moments_equals_uninterrupted_run(tmp_path: Path, uninterrupted: Path):
    moments = random.Random(0)
    for _ in range(4):
        after_s = moments.uniform(4, 14)
        kill_when(tmp_path, lambda seconds, after_s=after_s: seconds > after_s, OFTEN)
    result = run(tmp_path, *SETTINGS)
    assert result.returncode == 0, result.stderr
    assert_equal_runs(only_run(tmp_path), uninterrupted)


def test_killed_run_of_the_discrete_agent_equals_uninterrupted_run(tmp_path: Path):
    """Stacked frames, three-step returns, exploration also in evaluation, random shifts; before and after the ring of
    replay has come round."""
    settings = [*TINY_DISCRETE, "tracking=off"]
    folders = [tmp_path / name for name in ("killed", "uninterrupted")]
    for folder in folders:
        folder.mkdir()
    for env_steps in (150, 900):
        assert kill_when(folders[0], saved_at(folders[0], env_steps), OFTEN, settings=settings) is None
    for folder in folders:
        result = run(folder, *settings)
        assert result.returncode == 0, result.stderr
    killed, reference = map(only_run, folders)
    assert (killed / layout.METRICS).read_bytes() == (reference / layout.METRICS).read_bytes()
    ours, theirs = newest_state(killed), newest_state(reference)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    # Segments begin where checkpoints happened to be; what can be sampled is the last 350 transitions.
    ours, theirs = replay_contents(killed), replay_contents(reference)
    for name in ("obs", "action", "reward", "terminated", "truncated"):
        np.testing.assert_array_equal(ours[name][-350:], theirs[name][-350:], err_msg=name)


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_run_of_tasks_that_terminate_and_remember_equals_uninterrupted_run(tmp_path: Path, seed: int):
    """The spoon's target goes round, the truck's packages are counted, and the bookshelf draws what is to be moved;
    each task ends at a step of its own. The run that is killed has another number of workers each time."""
    tasks = "benchmark.tasks=[h1hand-spoon,h1hand-bookshelf_hard,h1hand-truck]"
    settings = ["benchmark=humanoidbench_hard", tasks, *TINY[1:], "tracking=off", f"seed={seed}", "train.env_steps=500"]
    folders = [tmp_path / name for name in ("killed", "uninterrupted")]
    for folder in folders:
        folder.mkdir()
    for workers, env_steps in ((1, 120), (2, 300)):
        assert (
            kill_when(folders[0], saved_at(folders[0], env_steps), OFTEN, f"env.workers={workers}", settings=settings)
            is None
        )
    for folder, workers in zip(folders, (3, 1), strict=True):
        result = run(folder, *settings, f"env.workers={workers}")
        assert result.returncode == 0, result.stderr
    assert_equal_runs(*map(only_run, folders))


def test_killed_run_of_the_hand_equals_one_without_a_kill_or_worker_processes(tmp_path: Path):
    settings = [*TINY, "tracking=off", "benchmark=shadowhand", "benchmark.tasks=[mug,pan,cube]", "train.env_steps=700"]
    folders = [tmp_path / name for name in ("killed", "inline")]
    for folder in folders:
        folder.mkdir()

    assert kill_when(folders[0], saved_at(folders[0], 250), OFTEN, "env.workers=2", settings=settings) is None
    for folder, stepping in zip(folders, ("env.workers=3", "env.backend=inline"), strict=True):
        result = run(folder, *settings, stepping)
        assert result.returncode == 0, result.stderr
    assert_equal_runs(*map(only_run, folders))


def test_run_killed_while_it_writes_checkpoints_equals_uninterrupted_run(tmp_path: Path, uninterrupted: Path):
    kills = 0
    for _ in range(3):
        # A hidden name is a file or folder that is not complete yet.
        wanted = 2 * kills + 3
        seen = [0, False]

        def due(_: float, seen=seen, wanted=wanted) -> bool:
            writing = any(tmp_path.glob("runs/*/*/checkpoints/.step-*"))
            seen[0] += writing and not seen[1]
            seen[1] = writing
            return seen[0] >= wanted

        kills += kill_when(tmp_path, due, OFTEN) is None
    assert kills >= 2
    result = run(tmp_path, *SETTINGS)
    assert result.returncode == 0, result.stderr
    assert_equal_runs(only_run(tmp_path), uninterrupted)


def test_sigterm_checkpoints_and_ends_as_resumable_and_resuming_changes_nothing(tmp_path: Path, uninterrupted: Path):
    process = subprocess.Popen(
        command(*SETTINGS), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("runs/*/*/timing.jsonl")), 120, "a step")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.INTERRUPTED, errors
    run_dir = only_run(tmp_path)
    assert json.loads((run_dir / layout.STATUS).read_text())["state"] == "interrupted"
    assert any(run_dir.glob("checkpoints/step-*"))
    assert run(tmp_path, *SETTINGS).returncode == 0
    assert_equal_runs(run_dir, uninterrupted)


@pytest.mark.parametrize("whose", ["training", "evaluation"])
def test_a_killed_environment_worker_ends_the_run_with_its_tasks_named_and_loses_nothing(
    tmp_path: Path, uninterrupted: Path, whose: str
):
    """One of evaluation too, though no evaluation is near."""
    rare = ["eval.every_steps=100000", "train.env_steps=100000"]
    process = subprocess.Popen(
        command(*SETTINGS, OFTEN, "env.workers=1", *(rare if whose == "evaluation" else [])),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: any(tmp_path.glob("runs/*/*/checkpoints/step-*")), 120, "a checkpoint")
        family = psutil.Process(process.pid).children(recursive=True)
        workers = [one for one in family if not one.children() and "forkserver" in " ".join(one.cmdline())]
        of_training, of_evaluation = sorted(workers, key=lambda one: one.pid)  # the order in which they are made
        (of_training if whose == "training" else of_evaluation).kill()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == ExitCode.FAILED
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, errors
    assert "dmc/" in lines[0]
    assert "(killed by SIGKILL)" in lines[0]
    assert json.loads((only_run(tmp_path) / layout.STATUS).read_text())["state"] == "failed"
    assert psutil.wait_procs(family, timeout=10)[1] == []
    if whose == "training":
        assert run(tmp_path, *SETTINGS).returncode == 0
        assert_equal_runs(only_run(tmp_path), uninterrupted)


def test_damaged_checkpoint_is_noticed_and_the_one_before_it_is_used(tmp_path: Path, uninterrupted: Path):
    assert run(tmp_path, *SETTINGS, "train.env_steps=900").returncode == 0
    run_dir = only_run(tmp_path)
    newest = max(run_dir.glob("checkpoints/step-*")) / "state.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    result = run(tmp_path, *SETTINGS)
    assert result.returncode == 0, result.stderr
    assert "step-000000900 is damaged" in result.stderr
    assert "continuing from 800 steps" in result.stderr
    assert_equal_runs(run_dir, uninterrupted)


def test_raised_budget_continues_and_equals_a_run_that_had_it_from_the_start(tmp_path: Path, uninterrupted: Path):
    short = run(tmp_path, *SETTINGS, "train.env_steps=500")
    assert short.returncode == 0, short.stderr
    run_dir = only_run(tmp_path)
    done = json.loads((run_dir / layout.DONE).read_text())
    assert {row["env_steps"] for row in done["evaluation"]} == {500}  # an evaluation off the grid, in DONE only
    assert 500 not in {row["env_steps"] for row in rows(run_dir / layout.METRICS) if row["name"] == "eval/return"}
    longer = run(tmp_path, *SETTINGS)
    assert longer.returncode == 0, longer.stderr
    assert_equal_runs(run_dir, uninterrupted)


def test_inline_environments_and_other_worker_counts_change_nothing(tmp_path: Path, uninterrupted: Path):
    result = run(tmp_path, *SETTINGS, "env.backend=inline")
    assert result.returncode == 0, result.stderr
    assert_equal_runs(only_run(tmp_path), uninterrupted)


def test_repeating_a_finished_run_says_so_and_does_nothing(uninterrupted: Path):
    folder = uninterrupted.parents[2]
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    result = run(folder, *SETTINGS)
    assert result.returncode == 0
    assert "finished already" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before


def test_resume_false_refuses_a_place_that_holds_a_run(uninterrupted: Path):
    result = run(uninterrupted.parents[2], *SETTINGS, "resume=false")
    assert result.returncode == ExitCode.BAD_CONFIG
    assert len(result.stderr.splitlines()) == 1
    assert "resume=false" in result.stderr
    assert str(uninterrupted) in result.stderr
    swept = run(uninterrupted.parents[2], "-m", *SETTINGS, "resume=false", "seed=0,1")
    assert swept.returncode == ExitCode.BAD_CONFIG
    assert str(uninterrupted) in swept.stderr


def test_moved_run_continues_from_its_own_record(tmp_path: Path, uninterrupted: Path):
    first = tmp_path / "first"
    first.mkdir()
    assert run(first, *SETTINGS, "train.env_steps=500").returncode == 0
    moved = tmp_path / "elsewhere" / "runs"
    moved.parent.mkdir()
    (first / "runs").rename(moved)
    run_dir = only_run(moved.parent)
    config = json.loads((run_dir / layout.CONFIG).read_text())
    config["train"]["env_steps"] = 1300
    (run_dir / layout.CONFIG).write_text(json.dumps(config))
    result = run(tmp_path, "--run-dir", str(run_dir))
    assert result.returncode == 0, result.stderr
    assert_equal_runs(run_dir, uninterrupted)


def test_seeds_together_are_killed_and_end_bit_equal(tmp_path: Path):
    """The process is killed once both have a checkpoint within training; the sweep's pool starts it again."""
    seeds = ["-m", "seed=0,1", "launcher.seeds_together=2", "launcher=local", "launcher.backoff_s=0.1"]
    settings = [*SETTINGS, "train.env_steps=700", "env.workers=1", *seeds]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
    result = run(straight, *settings)
    assert result.returncode == ExitCode.DONE, result.stderr
    with living(*command(*settings, OFTEN), limit_s=240, cwd=killed, stdout=subprocess.DEVNULL) as sweep:

        def newest() -> list[int]:
            found = [list(one.glob("step-*")) for one in killed.glob("runs/*/*/checkpoints")]
            return [max((int(path.name.removeprefix("step-")) for path in paths), default=0) for paths in found]

        wait_until(lambda: len(newest()) == 2 and min(newest()) > 200, 200, "both have a checkpoint beyond 200")
        (process,) = (one for one in psutil.Process(sweep.pid).children() if "--run-dir" in one.cmdline())
        process.kill()
        assert sweep.wait(200) == ExitCode.DONE
    for reference in straight.glob("runs/*/*/config.json"):
        ours = killed / reference.parent.relative_to(straight)
        assert_equal_runs(ours, reference.parent)
        assert len((ours / layout.CRASHES).read_text().splitlines()) == 1
        assert (ours / layout.LOG).read_text().count("continuing from") == 2  # both runs' lines are in both logs
