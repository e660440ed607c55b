"""A sweep in MLflow: what its runs and its parent say, in MLflow's own pages, seen with a browser."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from records import layout
from records.layout import ExitCode
from records.run_dir import RunDir
from records.sweep import Member, find_sweep, join_sweep, write_sweep
from sweeps.closing import scores
from sweeps.status.__main__ import main as status
from sweeps.sync import sync
from tests.analysis.browser import blank
from tests.commands import free_port, wait_until
from tests.fabricated import fabricated_run
from tracking import pages
from tracking.sweep_runs import allowed, unique_names


def test_names_of_variants_are_written_as_mlflow_allows_and_stay_apart():
    assert allowed("iqm/brc w64 tau=0.01") == "iqm/brc w64 tau:0.01"
    assert allowed("iqm/../a//b #12") == "iqm/a/b -12"
    assert unique_names(["a=[1]", "a={1}", "a=[1]", "b"]) == ["a:-1-", "a:-1- 2", "a:-1-", "b"]
    first, second = unique_names(["x" * 300 + "1", "x" * 300 + "2"])
    assert first != second
    assert max(len(first), len(second)) <= 250


def test_a_part_has_the_last_scores_of_its_own_variants_and_no_interval_of_one_seed(tmp_path: Path):
    (tmp_path / "runs.csv").write_text("benchmark,variant,run\nq,brc w8,a\nq,brc w8,b\nq,brc w9,c\n")
    (tmp_path / "aggregate.csv").write_text(
        "benchmark,variant,env_steps,value,low,high\nq,brc w8,100,0.1,0.0,0.2\nq,brc w8,200,0.3,0.2,0.4\n"
        "q,brc w9,200,0.5,,\n"
    )
    part = [Member(tmp_path / name, 200, {}) for name in ("a", "b")]
    assert list(scores(tmp_path, part)) == [
        ("iqm/brc w8", 200, 0.3),
        ("iqm_low/brc w8", 200, 0.2),
        ("iqm_high/brc w8", 200, 0.4),
    ]
    assert list(scores(tmp_path, [Member(tmp_path / "c", 200, {})])) == [("iqm/brc w9", 200, 0.5)]


def fabricated_sweep(folder: Path, uri: str) -> list[Path]:
    """Two sizes and two seeds of finished runs, which are a sweep called `mine`; MLflow has not heard of them."""
    members = []
    for width in (8, 9):
        for seed in (0, 1):
            given = [f"tracking.uri={uri}", f"model.width={width}", f"seed={seed}"]
            run_dir = fabricated_run(folder, *given, steps=3)
            members.append(Member(run_dir, 3, {"model.width": str(width), "seed": str(seed)}))
            join_sweep(run_dir, "mine")
    command = "python -m agents.run -m model.width=8,9 seed=0,1"
    write_sweep(folder / layout.SWEEPS / "mine.json", members, {}, command=command)
    return [member.run_dir for member in members]


@contextlib.contextmanager
def mlflow_ui(folder: Path, uri: str) -> Iterator[str]:
    """The address of MLflow's UI for a database."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "ui.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def answers() -> bool:
        assert server.poll() is None, (folder / "ui.log").read_text()[-2000:]
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
        return False

    try:
        wait_until(answers, 120, "MLflow's UI")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
def test_link_shows_the_runs_of_a_sweep_with_their_scores_and_the_parent_its_figures(tmp_path: Path, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_dirs = fabricated_sweep(tmp_path / "runs", uri)
    assert sync(tmp_path / "runs", None) == ExitCode.DONE
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    ((parent,),) = (parts.values() for parts in find_sweep(tmp_path / "runs", "mine").parents.values())
    run = client.get_run(parent)
    assert run.data.params == {"model.width": "8, 9", "seed": "0, 1"}
    assert {name: round(value, 3) for name, value in run.data.metrics.items()} == {
        f"{name}/brc w{width}": value
        for width in (8, 9)
        for name, value in {"iqm": 0.15, "iqm_low": 0.1, "iqm_high": 0.2}.items()
    }
    assert "Command: `python -m agents.run -m model.width=8,9 seed=0,1`" in run.data.tags["mlflow.note.content"]
    child = client.get_run(RunDir(run_dirs[0]).mirrors()[uri].run_id or "")
    assert "model.width=8 seed=0 of sweep mine" in child.data.tags["mlflow.note.content"]

    capsys.readouterr()
    assert status(["mine", "--runs", str(tmp_path / "runs")]) == ExitCode.DONE
    addresses = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("mlflow: http")]
    with mlflow_ui(tmp_path, uri) as server, blank(1600) as page:
        of_sweep, of_parent = (address.replace(pages.LOCAL_UI, server) for address in addresses)
        page.set_default_timeout(60_000)
        page.goto(of_sweep)
        page.get_by_text("4 matching runs").wait_for()
        shown = page.inner_text("body").splitlines()
        names = [f"brc-w{width}-s{seed}" for width in (8, 9) for seed in (0, 1)]
        assert sorted(line for line in shown if line in names) == sorted(names)
        assert [line for line in shown if line in ("0.1", "0.2")] == ["0.2", "0.2", "0.1", "0.1"]  # the best first
        assert sum(line.startswith("quickstart (") for line in shown) == 4  # the column of datasets

        page.goto(of_parent)
        figure = page.locator("img[src*='get-artifact']")
        figure.wait_for(state="attached")
        page.wait_for_function("image => image.naturalWidth > 300", arg=figure.element_handle())
        page.goto(f"{server}/{pages.artifact_page(run.info.experiment_id, parent, 'report/index.html')}")
        page.frame_locator("iframe").get_by_role("heading", name="Results on quickstart").wait_for()
