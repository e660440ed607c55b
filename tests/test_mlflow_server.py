"""Runs and their mirrors, and a real MLflow server on PostgreSQL that is busy, slow, lossy, killed or not there yet."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from records import layout
from records.layout import ExitCode
from records.rows import Row
from records.run_dir import RunDir
from records.run_record import RunRecord
from records.sweep import known_parents
from sweeps.sync import sync
from tests import mlflow_server
from tests.commands import TINY, command, free_port, mirrored_once, only_run, rows, run, wait_until
from tests.fabricated import fabricated_run
from tests.mlflow_server import Lab
from tracking import mirror as tracking
from tracking.client import client
from tracking.follow import FINISH_S

pytestmark = pytest.mark.slow

SHORT = [*TINY, "train.env_steps=200", "eval.every_steps=100", "eval.max_episode_steps=10"]
WRITERS, STEPS = 64, 100  # three rows a step: each file is one call to MLflow
METRICS_OF = (
    "SELECT key, step, value FROM metrics WHERE run_uuid = %s"
    " AND key NOT LIKE 'system/%%' AND key <> 'update_steps' ORDER BY 1, 2, 3"
)
PATIENCE_S = FINISH_S["server"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if why := mlflow_server.missing():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    with mlflow_server.running() as lab:
        yield lab


def at(uri: str) -> list[str]:
    return ["tracking=server", f"tracking.uri={uri}"]


def fabricated(folder: Path, uri: str, seed: int, steps: int = STEPS) -> Path:
    """A run's directory as training leaves it, to be mirrored to a server."""
    return fabricated_run(folder, *at(uri), f"seed={seed}", steps=steps)


def state_of(run_dir: Path, uri: str) -> dict:
    state = RunDir(run_dir).mirrors().get(uri)
    return dataclasses.asdict(state) if state else {}


def in_database(lab: Lab, run_dir: Path, uri: str) -> list[tuple]:
    return lab.query(METRICS_OF, state_of(run_dir, uri)["run_id"])


def on_disk(run_dir: Path) -> list[tuple]:
    found = rows(run_dir / layout.METRICS) + rows(run_dir / layout.TIMING)
    short = {row["task"]: row["task"].split("/")[1] for row in found if row["task"] is not None}
    names = [row["name"] if row["task"] is None else f"{row['name']}/{short[row['task']]}" for row in found]
    return sorted((name, row["env_steps"], row["value"]) for name, row in zip(names, found, strict=True))


def test_64_writers_at_once_lose_and_double_nothing(tmp_path: Path, lab: Lab):
    run_dirs = [fabricated(tmp_path, lab.uri, seed) for seed in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda run_dir: tracking.Mirror(run_dir).close(), run_dirs))
    assert len({state_of(run_dir, lab.uri)["run_id"] for run_dir in run_dirs}) == WRITERS
    for run_dir in run_dirs:
        assert in_database(lab, run_dir, lab.uri) == on_disk(run_dir)
        assert tracking.is_sent(run_dir, lab.uri)


def test_runs_that_send_the_same_new_benchmark_at_one_moment_share_its_dataset(tmp_path: Path, lab: Lab):
    tasks = "benchmark.tasks=[cartpole-balance]"  # a dataset that the server does not have yet
    run_dirs = [fabricated_run(tmp_path, *at(lab.uri), tasks, f"seed={seed}", steps=1) for seed in range(3)]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'datasets'::regclass"
    with ThreadPoolExecutor(len(run_dirs)) as pool:
        with lab.held_writes("datasets"):
            sent = [pool.submit(tracking.Mirror(run_dir).close) for run_dir in run_dirs]
            wait_until(lambda: lab.query(waiting) == [(len(run_dirs),)], 60, "all runs' writes at once")
        for future in sent:
            future.result()
    ids = [state_of(run_dir, lab.uri)["run_id"] for run_dir in run_dirs]
    shared = "SELECT count(DISTINCT source_id), count(*) FROM inputs WHERE destination_id IN %s"
    assert lab.query(shared, tuple(ids)) == [(1, len(ids))]


def test_answers_that_get_lost_lead_to_no_second_run_and_no_second_row(tmp_path: Path, lab: Lab):
    luck = np.random.default_rng(0)
    with mlflow_server.between(lab.port, lambda: luck.random() > 0.25) as uri:
        run_dir = fabricated(tmp_path, uri, seed=1000, steps=800)  # several calls' rows
        failures = 0
        while not tracking.is_sent(run_dir, uri):
            try:
                tracking.Mirror(run_dir).close()
            except Exception:
                failures += 1
                assert failures < 100
    assert failures > 3
    assert in_database(lab, run_dir, uri) == on_disk(run_dir)
    tagged = lab.query("SELECT run_uuid FROM tags WHERE key = 'run_dir' AND value = %s", str(run_dir))
    assert tagged == [(state_of(run_dir, uri)["run_id"],)]


def test_run_that_somebody_deleted_in_mlflow_does_not_hold_up_the_others(
    tmp_path: Path, lab: Lab, capsys: pytest.CaptureFixture[str]
):
    deleted, other = (fabricated(tmp_path, lab.uri, seed, steps=5) for seed in (2000, 2001))
    with contextlib.closing(RunRecord(deleted)) as more:
        tracking.Mirror(deleted).close()
        client(lab.uri).delete_run(state_of(deleted, lab.uri)["run_id"])
        more.metrics.append([Row(6, 6, "critic/loss", None, 1.0)])
        more.durable(more.positions())
    assert sync(tmp_path, None) == ExitCode.FAILED
    said = capsys.readouterr()
    assert said.out == "2 runs: 1 sent, 0 had been sent\n"
    assert f"error: {deleted}: " in said.err
    assert in_database(lab, other, lab.uri) == on_disk(other)


def test_server_that_dies_during_a_run_and_comes_back_gets_every_row_once(tmp_path: Path, lab: Lab):
    arguments = [*TINY, "train.env_steps=1000000", "eval.every_steps=1000000", "checkpoint.every_min=0.01"]
    environment = os.environ | {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}
    with (tmp_path / "log").open("wb") as log:
        training = subprocess.Popen(command(*arguments, *at(lab.uri)), cwd=tmp_path, stderr=log, env=environment)
    try:
        sent = waited_for_rows(tmp_path, lab.uri, more_than=0)
        lab.kill_server()
        killed_ms = 1000 * time.time()
        lab.stop_database()
        lab.start_database()
        lab.start_server()
        back_ms = 1000 * time.time()
        waited_for_rows(tmp_path, lab.uri, more_than=sent)
        assert training.poll() is None, (tmp_path / "log").read_text()
    finally:
        training.send_signal(signal.SIGTERM)
        assert training.wait(60) == ExitCode.INTERRUPTED
    run_dir = only_run(tmp_path)
    assert in_database(lab, run_dir, lab.uri) == on_disk(run_dir)
    assert tracking.is_sent(run_dir, lab.uri)
    # The machine was watched meanwhile, and MLflow was told later.
    statement = "SELECT count(*) FROM metrics WHERE run_uuid = %s AND key = %s AND timestamp BETWEEN %s AND %s"
    run_id = state_of(run_dir, lab.uri)["run_id"]
    ((samples,),) = lab.query(statement, run_id, "system/cpu_utilization_percentage", int(killed_ms), int(back_ms))
    assert samples >= (back_ms - killed_ms) / 1000 / 2


def waited_for_rows(folder: Path, uri: str, more_than: int) -> int:
    """How many bytes of the one run's rows MLflow has, once they are more than so many."""

    def sent() -> int:
        return max(state_of(path.parent, uri).get("metrics", 0) for path in folder.glob("runs/*/*/config.json"))

    wait_until(lambda: any(folder.glob("runs/*/*/config.json")) and sent() > more_than, 90, "rows in MLflow")
    return sent()


def test_sweep_without_a_server_ends_as_ever_and_is_sent_later_as_parent_and_children(tmp_path: Path, lab: Lab):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    sweep = run(tmp_path, "-m", *SHORT, "report=true", "seed=0,1", "launcher=inline", *at(uri))
    assert sweep.returncode == 0, sweep.stderr
    assert f"no MLflow run for the sweep: no server answers at {uri}" in sweep.stderr
    run_dirs = [path.parent for path in sorted(tmp_path.glob("runs/*/*/DONE"))]
    assert len(run_dirs) == 2
    assert not any(state_of(run_dir, uri)["run_id"] for run_dir in run_dirs)
    status = call(tmp_path, "sweeps.status").stdout
    assert f"warning: MLflow does not get 2 runs: no server answers at {uri}" in status
    for run_dir in run_dirs:
        assert f"MLflow lacks a part; send it with: python -m tracking {run_dir}" in sweep.stderr

    with mlflow_server.between(lab.port, lambda: True, port):
        assert call(tmp_path, "tracking", str(run_dirs[0])).returncode == 0  # one of them, by what was said
        result = call(tmp_path, "sweeps.sync")
        assert result.returncode == 0, result.stderr
        assert "2 runs: 2 sent" in result.stdout
        again = call(tmp_path, "sweeps.sync")
        assert "0 sent, 2 had been sent" in again.stdout
    (manifest,) = tmp_path.glob("runs/_sweeps/*.json")
    parent = known_parents(manifest)[uri][""]
    assert lab.query("SELECT status FROM runs WHERE run_uuid = %s", parent) == [("FINISHED",)]
    for run_dir in run_dirs:
        run_id = state_of(run_dir, uri)["run_id"]
        assert in_database(lab, run_dir, uri) == on_disk(run_dir)
        assert lab.query("SELECT status FROM runs WHERE run_uuid = %s", run_id) == [("FINISHED",)]
        tags = dict(lab.query("SELECT key, value FROM tags WHERE run_uuid = %s", run_id))
        assert tags["mlflow.parentRunId"] == parent
        assert tags[f"sweep.{manifest.stem}"] == "member"
    assert list(lab.artifacts.glob(f"*/{parent}/artifacts/report/learning_curves.png"))
    experiment = state_of(run_dirs[0], uri)["experiment_id"]
    page = f"{uri}/#/experiments/{experiment}/runs/{parent}?workflowType=machine_learning"
    assert f"mlflow: {page}" in call(tmp_path, "sweeps.status").stdout


def call(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_slow_server_costs_a_run_no_more_than_the_stated_patience_and_gets_the_rest_afterwards(
    tmp_path: Path, lab: Lab
):
    slow = [4.0]

    def late() -> bool:
        time.sleep(slow[0])
        return True

    with mlflow_server.between(lab.port, late) as uri:
        training = subprocess.Popen(
            command(*SHORT, *at(uri)), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        _, errors = training.communicate(timeout=120)
        waited_s = time.time() - json.loads((only_run(tmp_path) / layout.STATUS).read_text())["time"]
        assert training.returncode == 0, errors
        assert waited_s < PATIENCE_S + 3
        assert "MLflow lacks a part" in errors
        slow[0] = 0.0
        run_dir = only_run(tmp_path)
        wait_until(lambda: tracking.is_sent(run_dir, uri), 60, "the mirror that goes on alone")
        mirrored_once(run_dir)
