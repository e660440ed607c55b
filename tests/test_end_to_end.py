"""The commands of the README on a tiny scale: run, sweep, skip, fail, mirror to MLflow, report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conf.typed import ConfigError
from envs import registry
from envs.video import usable_gl
from records import layout
from records.layout import ExitCode
from tests.analysis.browser import opened
from tests.commands import TINY, TINY_DISCRETE, command, mirrored_once, only_run, rows, run

pytestmark = pytest.mark.slow

SHORT = [*TINY, "train.env_steps=300", "eval.every_steps=150"]


def test_one_run_leaves_record_report_and_mlflow_run(tmp_path: Path):
    # So that the short run gets a sample or two of the system's metrics.
    environment = {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}
    budget = ["train.env_steps=3000", "eval.every_steps=1500"]
    result = run(tmp_path, *SHORT, *budget, "report=true", "tracking.experiment=mine", environment=environment)
    assert result.returncode == 0, result.stderr
    run_dir = only_run(tmp_path)
    for shown in (str(run_dir), f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db", "report"):
        assert shown in result.stdout
    assert (run_dir / layout.REPORT / "learning_curves.png").stat().st_size > 5_000

    metrics = rows(run_dir / layout.METRICS)
    names = {row["name"] for row in metrics}
    assert {"eval/return", "eval/success", "eval/score", "critic/loss", "critic/q_mean", "actor/entropy"} <= names
    assert {"temperature/value", "critic/grad_norm", "critic/param_norm", "reward/return_scale"} <= names
    assert {row["env_steps"] for row in metrics if row["name"] == "eval/return"} == {0, 1500, 3000}
    timing = {row["name"] for row in rows(run_dir / layout.TIMING)}
    assert {"rate/env_steps_per_s", "rate/updates_per_s", "time/environment_s", "time/evaluation_s"} <= timing

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning" in result.stdout
    (mirrored,) = client.search_runs([experiment.experiment_id])
    assert mirrored.info.status == "FINISHED"
    assert mirrored.info.run_name == "brc-w8-s0"
    assert mirrored.data.params["agent.discount"] == "0.99"
    assert mirrored.data.params["model.width"] == "8"
    assert {"git_commit", "host", "device", "version.jax", "identity"} <= mirrored.data.tags.keys()
    artifacts = {artifact.path for artifact in client.list_artifacts(mirrored.info.run_id)}
    assert artifacts == {layout.MANIFEST, layout.TASKS, layout.REPORT}
    assert any(key.startswith("system/") for key in mirrored.data.metrics)
    mirrored_once(run_dir)


def test_evaluations_are_filmed_into_the_run_and_mlflow(tmp_path: Path):
    try:
        usable_gl([registry.spec("dmc/cartpole-balance")])
    except ConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    result = run(tmp_path, *SHORT, "eval.video=true", "eval.max_episode_steps=20")
    assert result.returncode == 0, result.stderr
    folder = only_run(tmp_path) / layout.VIDEOS
    films = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.mp4"))
    points = ("step-000000000", "step-000000150", "step-000000300")
    tasks = ("ball_in_cup-catch", "cartpole-balance")
    assert films == [f"{point}/dmc-{task}.mp4" for point in points for task in tasks]
    assert not list(folder.glob("*.npz"))  # nothing is left to be filmed

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (mirrored,) = client.search_runs([client.get_experiment_by_name("quickstart").experiment_id])
    sent = client.list_artifacts(mirrored.info.run_id, f"{layout.VIDEOS}/{points[-1]}")
    assert len(sent) == 2


def test_killed_run_is_mirrored_exactly_once(tmp_path: Path):
    process = subprocess.Popen(
        command(*SHORT, "train.env_steps=1_000_000", "checkpoint.every_min=0.01"),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not sent_rows(tmp_path):
        assert process.poll() is None, "the run ended before its mirror had sent anything"
        time.sleep(0.05)
    process.kill()
    process.wait()
    run_dir = only_run(tmp_path)
    reached = max(row["env_steps"] for row in rows(run_dir / layout.METRICS))
    result = run(tmp_path, *SHORT, f"train.env_steps={reached + 300}")
    assert result.returncode == 0, result.stderr
    assert "continuing from" in result.stderr
    mirrored_once(run_dir)


def sent_rows(folder: Path) -> bool:
    """Whether MLflow has any of the one run's rows."""
    states = [json.loads(path.read_text()) for path in folder.glob("runs/*/*/tracking.json")]
    return any(state.get("metrics", 0) > 0 for by_uri in states if by_uri for state in by_uri.values())


def test_sweep_runs_all_members_under_one_parent_and_skips_them_when_repeated(tmp_path: Path):
    arguments = [
        "-m",
        *SHORT,
        "model.width=8,16",
        "+sweep=scaling",
        "seed=0",
        "launcher=local",
        "launcher.max_parallel=2",
    ]
    first = run(tmp_path, *arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 runs: 0 finished already, 2 to run" in first.stderr
    assert first.stdout.splitlines()[-1] == "2 done"
    run_dirs = [path.parent for path in tmp_path.glob("runs/quickstart/*/DONE")]
    assert len(run_dirs) == 2

    from mlflow.tracking import MlflowClient

    (manifest,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/_sweeps/*.json")]
    sweep_dir = tmp_path / "runs" / layout.SWEEPS
    assert {(sweep_dir / member["run_dir"]).resolve() for member in manifest["members"]} == set(run_dirs)
    (parent,) = (parts[""] for parts in manifest["parents"].values())
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(parent).info.status == "FINISHED"
    for run_dir in run_dirs:
        (state,) = json.loads((run_dir / layout.TRACKING).read_text()).values()
        assert client.get_run(state["run_id"]).data.tags["mlflow.parentRunId"] == parent

    again = run(tmp_path, *arguments)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == "2 skipped"

    out = tmp_path / "report"
    subprocess.run([sys.executable, "-m", "analysis.report", "runs", "--out", str(out)], cwd=tmp_path, check=True)
    for name in ("learning_curves", "aggregate", "scaling"):
        assert (out / f"{name}.png").stat().st_size > 5_000
        assert (out / f"{name}.csv").read_text().count("\n") >= 2


def test_recipe_of_two_parts_runs_each_part_under_a_parent_of_its_own(tmp_path: Path):
    sizes = [
        "model.width=8",
        "model.depth=1",
        "model.actor_width=8",
        "agent.batch_size=16",
        "eval.max_episode_steps=50",
        "train.env_steps=200",
        "train.random_steps=100",
        "eval.every_steps=200",
        "report=false",
    ]
    result = run(tmp_path, "-m", "+experiment=quick_parts", "launcher=inline", *sizes)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "5 done"
    lines = result.stdout.splitlines()
    assert [sum(f"│ {part} " in line for line in lines) for part in ("together", "alone")] == [2, 3]

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (manifest,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/_sweeps/*.json")]
    (parents,) = manifest["parents"].values()
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    children = {
        part: len(client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent}'"))
        for part, parent in parents.items()
    }
    assert children == {"together": 2, "alone": 3}


def test_pixels_that_blow_up_end_the_run_with_the_batch_at_hand(tmp_path: Path):
    """At the very step: the log would tell only a thousand steps later."""
    rare = ["train.log_every_steps=100000", "eval.every_steps=100000", "agent.learning_rate=1.0e+30"]
    result = run(tmp_path, *TINY_DISCRETE, *rare, "tracking=off")
    assert result.returncode == ExitCode.FAILED
    assert "not finite at 10" in result.stderr  # updates begin at step 100
    assert (only_run(tmp_path) / layout.BATCH).exists()


@pytest.mark.parametrize("launcher", ["local", "inline"])
def test_sweep_goes_on_when_a_run_fails_and_ends_non_zero(tmp_path: Path, launcher: str):
    arguments = ["-m", *SHORT, "agent.learning_rate=1.0e+30,1.0e-3", "tracking=off", f"launcher={launcher}"]
    result = run(tmp_path, *arguments)
    assert result.returncode == ExitCode.FAILED, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "1 failed, 1 done"
    assert "not finite" in result.stdout
    assert len(list(tmp_path.glob(f"runs/*/*/{layout.BATCH}"))) == 1


def test_interrupted_sweep_checkpoints_its_runs_and_continues(tmp_path: Path):
    arguments = ["-m", *SHORT, "seed=0,1", "launcher=local", "train.env_steps=100000"]
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while not any(path.stat().st_size for path in tmp_path.glob("runs/*/*/timing.jsonl")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert output.splitlines()[-1] == "1 interrupted, 1 new"
    assert any(tmp_path.glob("runs/*/*/checkpoints/step-*"))

    from mlflow.tracking import MlflowClient

    (manifest,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/_sweeps/*.json")]
    ((uri, parent),) = ((uri, parts[""]) for uri, parts in manifest["parents"].items())
    assert MlflowClient(uri).get_run(parent).info.status == "RUNNING"


def test_two_processes_cannot_write_one_run(tmp_path: Path):
    arguments = [*SHORT, "tracking=off", "train.env_steps=100000"]
    first = subprocess.Popen(command(*arguments), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not any(tmp_path.glob("runs/*/*/status.json")):
            assert first.poll() is None
            time.sleep(0.1)
        second = run(tmp_path, *arguments)
        assert second.returncode == ExitCode.FAILED
        assert f"process {first.pid}" in second.stderr
    finally:
        first.kill()
        first.wait()


def test_dm_control_and_meta_world_are_learnt_together(tmp_path: Path):
    """Two suites, of other widths and scores, in one environment: updates are made, and every task evaluated."""
    tasks = ["dmc/reacher-three_hard", "metaworld/hammer", "metaworld/reach"]
    mixed = ["benchmark=metaworld_dmc", f"benchmark.tasks=[{','.join(tasks)}]"]
    result = run(tmp_path, *TINY, *mixed, "train.env_steps=300", "tracking=off")
    assert result.returncode == 0, result.stderr
    found = rows(only_run(tmp_path) / layout.METRICS)
    assert max(row["update_steps"] for row in found if row["name"] == "critic/loss") > 0
    done = json.loads((only_run(tmp_path) / layout.DONE).read_text())["evaluation"]
    assert [row["task"] for row in done if row["name"] == "eval/score" and row["task"]] == tasks


def test_every_continuous_task_is_learnt_in_one_run_which_continues(tmp_path: Path):
    short = ["benchmark=everything", "model.width=8", "model.depth=1", "model.actor_width=8", "tracking=off"]
    short += ["report=false", "train.random_steps=5", "train.log_every_steps=5", "train.replay_capacity=1000"]
    short += ["eval.every_steps=10", "eval.episodes=1", "eval.max_episode_steps=5"]
    for budget in (10, 20):
        result = run(tmp_path, *short, f"train.env_steps={budget}", timeout_s=600)
        assert result.returncode == 0, result.stderr
    found = rows(only_run(tmp_path) / layout.METRICS)
    assert {row["env_steps"] for row in found if row["name"] == "eval/score"} == {0, 10, 20}
    assert len({row["task"] for row in found if row["name"] == "eval/return"}) == 238
    assert max(row["update_steps"] for row in found if row["name"] == "critic/loss") == 30


def test_atari_games_are_learnt_from_pixels_and_one_without_a_human_score_is_left_out_of_the_mean(tmp_path: Path):
    arguments = ["benchmark=atari", "benchmark.tasks=[Breakout,Carnival]", "model.width=8", "agent.batch_per_task=2"]
    arguments += ["train.env_steps=60", "train.random_steps=20", "eval.episodes=1", "eval.max_episode_steps=30"]
    result = run(tmp_path, *arguments, "tracking=off")
    assert result.returncode == 0, result.stderr
    done = json.loads((only_run(tmp_path) / layout.DONE).read_text())
    scores = {row["task"]: row["value"] for row in done["evaluation"] if row["name"] == "eval/score"}
    assert scores.keys() == {"atari/Breakout", None}
    assert done["score"] == scores["atari/Breakout"]
    assert "atari/Carnival" in result.stdout
    assert (only_run(tmp_path) / layout.REPORT / "learning_curves.png").exists()


def test_a_saved_policy_is_evaluated_with_films_on_a_page_that_a_browser_shows(tmp_path: Path):
    assert run(tmp_path, *SHORT, "eval.max_episode_steps=20", "tracking=off").returncode == 0
    run_dir = only_run(tmp_path)
    try:
        usable_gl([registry.spec("dmc/cartpole-balance")])
        video = ["--video"]
    except ConfigError:
        assert not os.environ.get("CI")
        video = []
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "agents.evaluate", run_dir.name, "--out", str(out), *video]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    done = json.loads((run_dir / layout.DONE).read_text())
    assert json.loads((out / "evaluation.json").read_text())["score"] == done["score"]
    assert f"{done['score']:.3f}" in result.stdout
    with opened(out / "index.html") as page:
        assert page.locator("#task-table tbody tr").count() == 2
        assert page.locator("video").count() == (2 if video else 0)
        for film in page.locator("video").all():
            film.evaluate("film => new Promise(done => film.readyState ? done() : film.onloadedmetadata = done)")
            assert film.evaluate("film => film.duration") > 0.1
            assert film.evaluate("film => film.videoWidth") > 100
        assert page.problems == []
