"""What keeps MLflow from having a run is one line with the cure, from real databases and a real server's words."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from records.layout import ExitCode
from records.run_dir import RunDir
from sweeps.status.__main__ import main as status
from tests.commands import wait_until
from tests.fabricated import fabricated_run
from tracking.client import client
from tracking.follow import Follower
from tracking.follow import main as send
from tracking.problems import MirrorError, check_file, explain

URI = "http://lab:5000"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("API request to endpoint /a failed with error code 401 != 200. Response body: ''", "MLFLOW_TRACKING_USERNAME"),
        ("API request to endpoint /a failed with error code 403 != 200. Response body: 'no'", "tracking.experiment"),
        (
            "API request to endpoint /a failed with error code 403 != 200. Response body: 'Invalid Host header'",
            "MLFLOW_SERVER_ALLOWED_HOSTS",
        ),
        ("API request to endpoint /a failed with error code 404 != 200. Response body: ''", "is no MLflow server"),
        ("API request to http://lab failed with exception HTTPConnectionPool(...)", "python -m sweeps.sync"),
        ("disk I/O error\n[SQL: SELECT]", "disk I/O error"),
    ],
)
def test_what_a_server_answers_is_told_with_the_cure(said: str, expected: str):
    line = explain(RuntimeError(said), URI)
    assert line.startswith(f"{URI}: ")
    assert expected in line
    assert "\n" not in line


def test_a_file_that_is_no_database_is_refused_at_once_and_one_that_is_new_is_not(tmp_path: Path):
    path = tmp_path / "mlflow.db"
    check_file(path)
    path.touch()
    check_file(path)
    path.write_text("notes")
    with pytest.raises(MirrorError, match="is no SQLite database; move the file away, or name another"):
        check_file(path)


@pytest.mark.slow
def test_run_says_when_it_starts_that_its_database_is_none_and_so_does_its_status(tmp_path: Path, capfd):
    database = tmp_path / "mlflow.db"
    database.write_text("notes")
    uri = f"sqlite:///{database}"
    run_dir = fabricated_run(tmp_path / "runs", f"tracking.uri={uri}", steps=2)
    follower = Follower(run_dir, uri)
    said = ""

    def heard() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "\n" in said

    wait_until(heard, 60, "a word of the mirror")
    assert not follower.finish(interrupted=False)
    line = (
        f"{database}: is no SQLite database; move the file away, or name another database: tracking.uri=sqlite:///FILE"
    )
    assert said + capfd.readouterr().err == f"warning: MLflow does not get this run: {line}\n"
    assert status(["--runs", str(tmp_path / "runs")]) == ExitCode.DONE
    assert f"warning: MLflow does not get 1 run: {line}" in " ".join(capfd.readouterr().out.split())


@pytest.mark.slow
def test_what_was_deleted_in_mlflow_is_named_with_the_cure_and_the_cures_work(tmp_path: Path, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_dir = fabricated_run(tmp_path / "runs", f"tracking.uri={uri}", steps=2)
    assert send([str(run_dir)]) == ExitCode.DONE
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    first = RunDir(run_dir).mirrors()[uri]
    assert first.run_id is not None
    assert first.experiment_id is not None

    def problem() -> str:
        assert send([str(run_dir)]) == ExitCode.FAILED
        said = capsys.readouterr().err.strip().splitlines()[-1]
        state = RunDir(run_dir).mirrors()[uri]
        assert said == f"error: {state.problem}"
        return said

    client.delete_run(first.run_id)
    assert problem() == (
        f"error: MLflow run {first.run_id} was deleted; python -m agents.tracking {run_dir} --anew "
        "sends the run again whole"
    )
    assert send([str(run_dir), "--anew"]) == ExitCode.DONE
    second = RunDir(run_dir).mirrors()[uri]
    assert second.run_id not in (None, first.run_id)
    assert second.problem == ""
    assert second.run_id is not None
    assert len(client.get_metric_history(second.run_id, "critic/loss")) == 2

    client.delete_experiment(first.experiment_id)
    command = f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {first.experiment_id}"
    assert f"MLflow's experiment quickstart was deleted; restore it: {command}, or" in problem()
    client.restore_experiment(first.experiment_id)
    assert send([str(run_dir)]) == ExitCode.DONE
    assert RunDir(run_dir).mirrors()[uri].run_id == second.run_id


@pytest.mark.slow
def test_database_of_another_version_of_mlflow_is_named_with_the_cure(tmp_path: Path, capsys):
    client(f"sqlite:///{tmp_path}/mlflow.db")
    for seed, (version, said) in enumerate(
        (
            ("0584bdc529eb", "was made by an older MLflow; copy the database, then: mlflow db upgrade sqlite:///"),
            ("f" * 12, "was made by a newer MLflow; install that version of MLflow, or name another database"),
        )
    ):
        path = tmp_path / f"{version}.db"
        shutil.copy(tmp_path / "mlflow.db", path)
        with sqlite3.connect(path) as database:
            database.execute("update alembic_version set version_num = ?", (version,))
        run_dir = fabricated_run(tmp_path / "runs", f"tracking.uri=sqlite:///{path}", f"seed={seed}", steps=2)
        assert send([str(run_dir)]) == ExitCode.FAILED
        assert f"error: sqlite:///{path}: {said}" in capsys.readouterr().err
