"""An MLflow tracking URI -> the tidy table, from what the runs' mirrors sent there."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.load import EVAL_NAMES, UnreadableRunError, evaluations
from analysis.table import Loaded, LoadError, Run, assemble
from analysis.variants import AGENT, BENCHMARK, SEED, TASKS, WIDTH, short_task

PAGE = 1000
CRITIC_PARAMS = "sizes.critic_params"
STATES = {"FINISHED": "done", "RUNNING": "running", "FAILED": "failed"}
SQLITE = "sqlite:///"


def load_mlflow(uri: str) -> Loaded:
    """All evaluations that an MLflow server or database holds.

    MLflow is a mirror of the run directories. It lacks the tasks' constants, so by which raw value a suite is judged
    is taken from the scores themselves; and it lacks an evaluation off the grid at the end of a budget.

    Raises:
      LoadError: MLflow cannot be reached, or it has no run with an evaluation.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():  # MLflow would make an empty one
        raise LoadError(f"{uri}: no such database")
    runs: list[Run] = []
    left_out: list[str] = []
    try:
        client = MlflowClient(tracking_uri=uri)
        for mirrored in _pages(client):
            if BENCHMARK not in mirrored.data.params:  # the parent of a sweep, or none of ours
                continue
            try:
                runs.append(_read(client, uri, mirrored))
            except UnreadableRunError as error:
                left_out.append(f"{mirrored.info.run_name} ({mirrored.info.run_id[:8]}): {error}")
    except MlflowException as error:
        raise LoadError(f"{uri}: {str(error).splitlines()[0]}") from None
    return assemble(uri, judged(runs), left_out)


def _pages(client: Any) -> Iterator[Any]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while True:
        page = client.search_runs(experiments, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _read(client: Any, uri: str, mirrored: Any) -> Run:
    values = {key: _value(text) for key, text in mirrored.data.params.items()}
    missing = [key for key in (BENCHMARK, AGENT, WIDTH, SEED, TASKS, CRITIC_PARAMS) if key not in values]
    if missing:
        raise UnreadableRunError(f"MLflow has no parameter {missing[0]}")
    tasks = values[TASKS]
    if not isinstance(tasks, list):
        raise UnreadableRunError(f"its parameter {TASKS} is cut short")
    updates_per_step, random_steps = values.get("agent.updates_per_step", 0), values.get("train.random_steps", 0)
    rows, scaled = [], set()
    for name in EVAL_NAMES:
        for short, task in _names(tasks).items():
            if f"{name}/{short}" not in mirrored.data.metrics:
                continue
            scaled |= {task} if name == "eval/score" else set()
            for point in client.get_metric_history(mirrored.info.run_id, f"{name}/{short}"):
                updates = max(0, point.step - random_steps) * updates_per_step
                rows.append(
                    {"env_steps": point.step, "update_steps": updates, "name": name, "task": task, "value": point.value}
                )
    found = evaluations(rows, {task: ["return", *((0, 1) if task in scaled else (None, None))] for task in tasks})
    tags = mirrored.data.tags
    facts = {
        "state": STATES.get(mirrored.info.status, "interrupted"),
        "commit": tags.get("git_commit"),
        "versions": {key.removeprefix("version."): tag for key, tag in tags.items() if key.startswith("version.")},
        "command": tags.get("command"),
        "device": tags.get("device", "").partition(" x ")[2] or None,
        "folder": tags.get("run_dir"),
        "mlflow": {uri: mirrored.info.run_id},
    }
    identity = {key: value for key, value in values.items() if not key.startswith("sizes.")}
    constants = {task: ["return", None, None] for task in tasks}
    return Run(str(mirrored.info.run_name), identity, constants, int(values[CRITIC_PARAMS]), found, facts)


def _value(text: str) -> Any:
    """A parameter as it was before it became text."""
    try:
        return json.loads(text)
    except ValueError:
        return {"None": None, "True": True, "False": False}.get(text, text)


def _names(tasks: Sequence[str]) -> dict[str, str]:
    """What MLflow's metrics call the tasks -> task id: short where that is unambiguous."""
    shorts = [short_task(task) for task in tasks]
    return {short if shorts.count(short) == 1 else task: task for task, short in zip(tasks, shorts, strict=True)}


def judged(runs: Sequence[Run]) -> list[Run]:
    """The runs with each suite's score metric: success where all of its scores are success rates."""
    unlike: dict[str, bool] = defaultdict(bool)
    succeeded: dict[str, bool] = defaultdict(bool)
    for run in runs:
        for at, task in enumerate(run.constants):
            success, score = run.evaluations.values[:, at, 1], run.evaluations.values[:, at, 2]
            unlike[_suite(task)] |= not np.array_equal(success, score)
            succeeded[_suite(task)] |= bool(success.any())
    judged = []
    for run in runs:
        by_success = [succeeded[_suite(task)] and not unlike[_suite(task)] for task in run.constants]
        constants = {
            task: ["success" if success else "return", None, None]
            for task, success in zip(run.constants, by_success, strict=True)
        }
        judged.append(dataclasses.replace(run, constants=constants))
    return judged


def _suite(task: str) -> str:
    return task.split("/", 1)[0]
