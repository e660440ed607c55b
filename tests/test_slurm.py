"""Sweeps on a real SLURM: one array, one job a run; a job that is told to stop requeues itself and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf import record
from tests import slurm_cluster
from tests.commands import TINY, command, run

pytestmark = pytest.mark.slow

MEMBERS = [*TINY, "tracking=off", "launcher=slurm", "seed=0,1"]
RESOURCES = ["launcher.slurm.gpus_per_node=null", "launcher.slurm.cpus_per_task=1", "launcher.slurm.mem=2G"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    reason = slurm_cluster.missing()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def test_sweep_on_slurm_finishes_every_run_with_the_numbers_of_a_local_one(tmp_path: Path, cluster: dict[str, str]):
    result = run(tmp_path, "-m", *MEMBERS, *RESOURCES, environment=cluster)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "submitted 2 jobs" in result.stderr
    assert result.stdout.splitlines()[-1] == "2 done"
    local = tmp_path / "local"
    local.mkdir()
    assert run(local, *TINY, "tracking=off", "seed=1").returncode == 0
    for done in local.glob("runs/*/*/DONE"):
        same = tmp_path / done.relative_to(local)
        assert (same.parent / record.METRICS).read_bytes() == (done.parent / record.METRICS).read_bytes()
        assert "SLURM_JOB_ID" in json.loads((same.parent / record.MANIFEST).read_text())["starts"][0]["slurm"]


def test_job_told_to_stop_requeues_itself_and_continues(tmp_path: Path, cluster: dict[str, str]):
    arguments = ["-m", *MEMBERS, *RESOURCES, "seed=0", "train.env_steps=4000"]
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=os.environ | cluster, stdout=subprocess.PIPE, text=True
    )
    while not any(path.stat().st_size for path in tmp_path.glob("runs/*/*/timing.jsonl")):
        assert process.poll() is None
        time.sleep(0.2)
    (job,) = subprocess.run(
        ["squeue", "-h", "-o", "%A"], env=os.environ | cluster, capture_output=True, text=True
    ).stdout.split()
    subprocess.run(["scancel", "--signal=USR2", job], env=os.environ | cluster, check=True)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    (manifest,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*/manifest.json")]
    assert [start["slurm"].get("SLURM_RESTART_COUNT", "0") for start in manifest["starts"]] == ["0", "1"]


def test_misspelt_slurm_parameter_is_refused_before_anything_is_submitted(tmp_path: Path, cluster: dict[str, str]):
    result = run(tmp_path, "-m", *MEMBERS, "+launcher.slurm.partitoin=main", environment=cluster)
    assert result.returncode == record.EXIT_BAD_CONFIG
    assert "launcher.slurm.partitoin=main: no such parameter; did you mean partition?" in result.stderr
    assert not (tmp_path / "runs").exists()
