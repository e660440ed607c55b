"""`agents.fork` finds its source, or says in one line what there is instead."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents.training.checkpoint import CheckpointStore
from analysis.compare import main as compare
from conf import identity
from conf.compose import compose, resolve_paths
from records import layout
from records.layout import ExitCode
from records.run_dir import RunDir
from records.run_record import NO_ROWS, write_config
from sweeps.fork import main
from tests.agents.test_replay import History, make
from tests.commands import TINY_DISCRETE, run


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with checkpoints at 3 and 5, and no metrics."""
    monkeypatch.chdir(tmp_path)
    config = resolve_paths(compose(["tracking=off"]))
    run_dir = identity.run_dir(config)
    run_dir.mkdir(parents=True)
    write_config(run_dir, config)
    (run_dir / layout.METRICS).touch()
    store, history, replay = CheckpointStore(run_dir / layout.CHECKPOINTS), History(), make(10)
    replay.start(history.first)
    for env_steps in (3, 5):
        history.insert(replay, env_steps - replay.inserted)
        store.write(store.draft(env_steps, {"covered": NO_ROWS._asdict()}, {}, replay))
    return run_dir


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_source_that_cannot_be_forked_is_one_line(source: Path, capsys: pytest.CaptureFixture[str]):
    assert "there are 3, 5 (checkpoint.keep=[4] would have kept it)" in refused(capsys, f"{source.name}@4")
    assert "nobody: no such run in runs" in refused(capsys, "nobody@4")
    assert "a run and an env step belong here" in refused(capsys, str(source))
    assert "seed=3: cannot change" in refused(capsys, f"{source}@5", "seed=3")
    (source / layout.CHECKPOINTS / "step-000000005" / layout.STATE).write_bytes(b"")
    line = refused(capsys, f"{source}@5")
    assert "state.npz does not match its checksum; other checkpoints: 3" in line
    shutil.rmtree(source / layout.CHECKPOINTS)
    assert "there is none" in refused(capsys, f"{source}@5")


def test_the_configuration_of_a_fork_names_its_source(source: Path, capsys: pytest.CaptureFixture[str]):
    assert main([f"{source.name[-8:]}@5", "--cfg", "agent.discount=0.9"]) == ExitCode.DONE
    config = identity.config_from_json(capsys.readouterr().out)
    assert (config.agent.discount, config.source.env_steps, config.source.run_dir) == (0.9, 5, str(source))
    assert identity.run_dir(config).parent == source.parent


@pytest.mark.slow
def test_forks_in_a_pool_are_compared_with_their_sources_as_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    short = [*TINY_DISCRETE, "tracking=off", "train.env_steps=300", "eval.every_steps=100", "launcher=local"]
    result = run(tmp_path, "-m", *short, "seed=0,1", "checkpoint.keep_every=150")
    assert result.returncode == 0, result.stderr
    for source in tmp_path.glob("runs/catch/*-s[01]-*"):
        forked = [sys.executable, "-m", "agents.fork", f"{source}@150", "-m", "agent.learning_rate=0.1"]
        result = subprocess.run(forked, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        assert "1 to run" in result.stderr
    forks = [RunDir(path).manifest() for path in tmp_path.glob("runs/catch/*-fork150-*")]
    assert [fork is not None and fork.source.env_steps for fork in forks] == [150, 150]
    variants = [
        "--a",
        "brc_discrete w8 learning_rate=0.001",
        "--b",
        "brc_discrete w8 learning_rate=0.1 source=fork@150",
    ]
    runs, figure = str(tmp_path / "runs"), str(tmp_path / "compare.png")
    assert compare([runs, runs, *variants, "--figure", figure, "--replicates", "200"]) in (0, 1)
    assert "2 runs of A share their history with one of B each" in capsys.readouterr().out
