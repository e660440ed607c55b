"""The MLflow runs of sweeps: a parent for the runs of each part, and tags on the runs themselves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from records.run_dir import RunDir
from records.sweep import Sweep, change_sweep, read_sweep, sweep_lock
from tracking.client import BATCH, client, experiment, link, reason, short_timeout
from tracking.mirror import Mirror, mirror_lock


@short_timeout()
def open_parent(uri: str, name: str, sweep: str, part: str = "") -> tuple[str, str | None]:
    """Make the MLflow run that the runs of a sweep's part become children of.

    Args:
      uri: the tracking URI.
      name: the experiment's name.
      sweep: the sweep's id.
      part: the part's name; empty where the sweep has one part.
    Returns:
      The MLflow run's id, and its page where there is a server.
    """
    connected = client(uri)
    experiment_id = experiment(connected, uri, name)
    run_name, tags = f"{sweep}/{part}" if part else sweep, {"sweep": sweep, "part": part}
    run_id = connected.create_run(experiment_id, tags=tags, run_name=run_name).info.run_id
    return run_id, link(uri, experiment_id, run_id)


@short_timeout()
def send_parent(
    uri: str, run_id: str, name: str, points: Sequence[tuple[int, float, int]], tags: dict[str, str], files: Path
) -> None:
    """Send what a search came to, to its MLflow run.

    Args:
      uri: the tracking URI.
      run_id: the search's MLflow run.
      name: the metric that the points are of.
      points: step, value and time in milliseconds since the epoch of each.
      tags: names and values.
      files: a folder of artifacts.
    """
    from mlflow.entities import Metric, RunTag

    connected = client(uri)
    metrics = [Metric(name, value, time_ms, step) for step, value, time_ms in points]
    for start in range(0, len(metrics), BATCH):
        connected.log_batch(run_id, metrics=metrics[start : start + BATCH])
    connected.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    connected.log_artifacts(run_id, str(files), files.name)


@short_timeout()
def close_parent(uri: str, run_id: str, failed: bool) -> None:
    """Mark an MLflow run as over."""
    client(uri).set_terminated(run_id, "FAILED" if failed else "FINISHED")


def close_parents(sweep: Sweep, failed: bool) -> None:
    """Mark the sweep's MLflow runs as over, where they are not; a warning where MLflow is away."""
    for uri, parents in sweep.parents.items():
        if uri in sweep.closed:
            continue
        try:
            for parent in parents.values():
                close_parent(uri, parent, failed)
        except Exception as error:
            print(f"warning: parent run left open (python -m sweeps.sync closes it): {reason(error)}", file=sys.stderr)
            continue
        with sweep_lock(sweep.path):
            change_sweep(sweep.path, closed=[*read_sweep(sweep.path).closed, uri])


@short_timeout()
def tag_runs(run_dirs: Sequence[Path], uri: str) -> None:
    """Tell MLflow of sweeps that contain runs which MLflow has already."""
    for run_dir in run_dirs:
        record = RunDir(run_dir)
        state = record.mirrors().get(uri)
        if state is not None and state.run_id is not None and not set(record.sweeps()) <= set(state.sweeps):
            with mirror_lock(run_dir, wait=False) as free:
                if free:  # else the run's own mirror sees to it
                    Mirror(run_dir, uri).place()
