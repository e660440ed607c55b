"""An MLflow tracking URI -> the tidy table, from what the runs' mirrors sent there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from analysis.from_runs import UnreadableRunError, checked, evaluations, identity_of, origin_of, update_flops
from analysis.table import Loaded, LoadError, Run, assemble
from analysis.variants import BENCHMARK
from conf.uris import SQLITE
from records import layout
from records.decode import DamagedRecordError
from records.metrics import EVAL_NAMES, UPDATE_STEPS, short_names
from records.rows import Row
from records.run_dir import RunDir

PAGE = 1000
STATES = {"FINISHED": "done", "RUNNING": "running", "FAILED": "failed"}


def load_mlflow(uri: str) -> Loaded:
    """All evaluations that an MLflow server or database holds.

    MLflow is a mirror of the run directories. What it lacks is an evaluation off the grid at the end of a budget.

    Raises:
      LoadError: MLflow cannot be reached, or it has no run with an evaluation.
    """
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
    return assemble(uri, runs, left_out)


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
    run_id = mirrored.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        for name in (layout.MANIFEST, layout.TASKS):
            try:
                client.download_artifacts(run_id, name, folder)
            except (MlflowException, OSError):
                raise UnreadableRunError(f"MLflow has no artifact {name}") from None
        record = RunDir(Path(folder))
        try:
            manifest, tasks = record.require_manifest(), record.require_tasks()
        except DamagedRecordError as error:
            raise UnreadableRunError(f"{error.path.name} {error.reason}") from None
    assert manifest is not None
    assert tasks is not None
    constants = {task.id: [task.score_metric, task.norm_low, task.norm_high] for task in tasks}
    shorts = short_names(list(constants))
    updates = {point.step: int(point.value) for point in client.get_metric_history(run_id, UPDATE_STEPS)}
    rows = [
        Row(point.step, updates[point.step], name, task, point.value)
        for name in EVAL_NAMES
        for task, short in shorts.items()
        if f"{name}/{short}" in mirrored.data.metrics
        for point in client.get_metric_history(run_id, f"{name}/{short}")
        if point.step in updates
    ]
    start = manifest.starts[-1] if manifest.starts else None
    facts = {
        "state": STATES.get(mirrored.info.status, "interrupted"),
        "commit": start.git_commit if start else None,
        "versions": start.versions if start else None,
        "stand_ins": manifest.stand_ins,
        **origin_of(manifest),
        "command": start.command if start else None,
        "device": start.device.partition(" x ")[2] if start else None,
        "folder": mirrored.data.tags.get("run_dir"),
        "mlflow": {uri: run_id},
    }
    found = checked(evaluations(rows, constants), constants)
    critic_params = manifest.sizes.get("critic_params")
    if critic_params is None:
        raise UnreadableRunError(f"{layout.MANIFEST} has no critic_params")
    identity, flops = identity_of(manifest.identity_values), update_flops(manifest)
    return Run(str(mirrored.info.run_name), identity, constants, critic_params, flops, found, facts)
