"""A sweep on a SLURM that is reached over ssh alone: nothing is lost or doubled, wherever the connection is cut."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from records import layout
from records.layout import ExitCode
from records.remote import remote_sweeps, write_remote
from records.sweep import Sweep, find_sweep
from sweeps import fetch
from sweeps.command import main
from sweeps.remote import connection
from sweeps.slurm.submission import submissions
from sweeps.status.__main__ import main as status
from tests import slurm_cluster, ssh_server
from tests.commands import TINY, mirrored_once

pytestmark = pytest.mark.slow

SWEEP = [
    *("-m", *TINY, "train.env_steps=300", "eval.every_steps=150", "seed=0,1", "launcher=ssh-slurm"),
    *(f"launcher.host={ssh_server.HOST}", f"launcher.python={sys.executable}"),
    *("launcher.slurm.gpus_per_node=null", "launcher.slurm.cpus_per_task=1", "launcher.slurm.mem=2G"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssh_server.Server]:
    reason = slurm_cluster.missing() or ssh_server.missing()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with (
        slurm_cluster.running(tmp_path_factory.mktemp("slurm")) as variables,
        ssh_server.running(tmp_path_factory.mktemp("ssh"), variables) as found,
    ):
        yield found


@pytest.fixture
def here(tmp_path: Path, server: ssh_server.Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of commands, where ssh knows the cluster and SLURM's commands write into `asked` that they were."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("sbatch", "scancel", "scontrol", "squeue"):
        (server.programs / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/asked\nexit 1\n")
        (server.programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(server.programs), prepend=os.pathsep)
    monkeypatch.setattr(connection, "PAUSES_S", (0.05,) * 4)
    return folder


def until_whole(server: ssh_server.Server, command: list[str], run=main) -> None:
    """Give a command until it ends well and nothing is left to be cut."""
    for _ in range(20):
        code = run(command)
        assert code in (ExitCode.DONE, ExitCode.INTERRUPTED)
        if code == ExitCode.DONE and not server.cuts_left():
            return
    pytest.fail("the connections were too short to be cut")


def test_connection_that_is_cut_ten_times_loses_and_doubles_nothing(
    tmp_path: Path, here: Path, server: ssh_server.Server, capsys: pytest.CaptureFixture
):
    there = tmp_path / "there is a folder"
    command = [*SWEEP, f"launcher.folder={there}"]
    server.cut(6, seed=1, log10_most=4.8)
    until_whole(server, command)
    assert "the connection was cut" in capsys.readouterr().err
    ((record, remote),) = remote_sweeps(here / "runs").items()
    other = find_sweep(there / "runs", None)
    assert (record.stem, len(other.members)) == (other.id, 2)
    assert [len(one.jobs) for one in submissions(other.folder)] == [2]  # one array of two jobs
    assert [path.name for path in (there / "runs" / layout.CODE).iterdir()] == [
        path.name for path in (here / "runs" / layout.CODE).iterdir()
    ]
    assert status([]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert f"on {ssh_server.HOST}, as of " in shown
    assert "killed" not in shown  # though nobody on this machine has these runs

    assert fetch.main(["--watch", "--every", "1"]) == ExitCode.DONE
    mine = find_sweep(here / "runs", None)
    check_once(mine, other, f"sqlite:///{here}/mlflow.db")
    capsys.readouterr()
    assert status([]) == ExitCode.DONE
    assert "2 done" in capsys.readouterr().out
    assert main(command) == ExitCode.DONE
    assert "2 skipped" in capsys.readouterr().out
    assert len(list(submissions(other.folder))) == 1

    # On a laptop that knows of the sweep alone, so that everything comes through connections that are cut.
    uri = f"sqlite:///{tmp_path}/second.db"
    second = tmp_path / "second" / layout.SWEEPS / record.name
    write_remote(second, dataclasses.replace(remote, uri=uri, fetched=None, over=False))
    server.cut(4, seed=2, log10_most=4.2)
    until_whole(server, [str(tmp_path / "second"), "--checkpoints"], fetch.main)
    mine = find_sweep(tmp_path / "second", None)
    check_once(mine, other, uri)
    for own in mine.members:
        assert [path.name for path in (own.run_dir / layout.CHECKPOINTS).iterdir()] == ["step-000000300"]
    assert not (tmp_path / "asked").exists()  # the SLURM of this machine


def check_once(mine: Sweep, other: Sweep, uri: str) -> None:
    """Assert that a sweep has come whole from where it was run, and that MLflow has each of its runs once."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    assert len(mine.members) == 2
    for own, its in zip(mine.members, other.members, strict=True):
        for name in (layout.METRICS, layout.TIMING, layout.DONE, layout.MANIFEST, layout.LOG):
            assert (own.run_dir / name).read_bytes() == (its.run_dir / name).read_bytes()
        assert len(json.loads((its.run_dir / layout.MANIFEST).read_text())["starts"]) == 1
        mirrored_once(own.run_dir)
    (experiment,) = [one for one in client.search_experiments() if one.name == "quickstart"]
    runs = client.search_runs([experiment.experiment_id])
    assert [one.info.status for one in runs] == ["FINISHED"] * 3  # two runs and their parent
    assert sorted("mlflow.parentRunId" in one.data.tags for one in runs) == [False, True, True]
