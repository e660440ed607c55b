"""The MLflow runs of sweeps: a parent for the runs of each part, and tags on the runs themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from records.run_dir import RunDir
from tracking import pages
from tracking.client import BATCH, DESCRIPTION_TAG, check_active, cli, client, experiment, short_timeout
from tracking.mirror import Mirror, mirror_lock
from tracking.problems import MirrorError

MAX_NAME = 250
"""The length of a metric's name that MLflow takes."""
REPORT = "report"
"""The folder of artifacts that holds a sweep's report."""
TO_COME = "Figures come here when all runs have ended."
"""What a parent's description says until then; whatever else a user has made of the description is kept."""


@dataclass(frozen=True)
class Part:
    """A part of a sweep, as MLflow is told of it.

    Attributes:
      sweep: the sweep's id.
      folder: the folder of all runs.
      name: the part's name; empty where the sweep has no parts.
      axes: what the part varies: key -> values in words.
      keys: all keys that the sweep varies.
      runs: what the part consists of, in words, such as "4 runs".
      command: the command that launches the sweep.
    """

    sweep: str
    folder: Path
    name: str
    axes: Mapping[str, str]
    keys: Sequence[str]
    runs: str
    command: str


@dataclass(frozen=True)
class Outcome:
    """What a part of a sweep has come to.

    Attributes:
      failed: whether a run failed.
      metrics: name, step and value of each number.
      time_ms: when they were worked out, in milliseconds since the epoch.
      report: the folder of the sweep's report; None where there is none.
    """

    failed: bool
    metrics: Sequence[tuple[str, int, float]] = ()
    time_ms: int = 0
    report: Path | None = None


@short_timeout()
def open_parent(uri: str, name: str, part: Part) -> tuple[str, str]:
    """Make the MLflow run that the runs of a sweep's part become children of, and the view of the sweep's runs.

    Args:
      uri: the tracking URI.
      name: the experiment's name.
      part: the part.
    Returns:
      The MLflow run's id, and the page that lists the sweep's runs.
    Raises:
      MirrorError: the experiment was deleted.
    """
    from mlflow.entities import Param

    connected = client(uri)
    experiment_id = experiment(connected, uri, name)
    for key, value in pages.view(part.sweep, part.keys).items():
        connected.set_experiment_tag(experiment_id, key, value)
    run_name = f"{part.sweep}/{part.name}" if part.name else part.sweep
    tags = {"sweep": part.sweep, "part": part.name, DESCRIPTION_TAG: description(part, experiment_id)}
    run_id = connected.create_run(experiment_id, tags=tags, run_name=run_name).info.run_id
    connected.log_batch(run_id, params=[Param(allowed(key), value) for key, value in part.axes.items()])
    return run_id, f"{pages.server_of(uri)}/{pages.sweep_page(experiment_id, part.sweep)}"


def description(part: Part, experiment_id: str) -> str:
    """Return what a part's MLflow run says of the part, as Markdown."""
    of_sweep = f"Part {part.name} of sweep {part.sweep}" if part.name else f"Sweep {part.sweep}"
    varied = "".join(f"; {key}: {values}" for key, values in part.axes.items())
    scores = f"[The sweep's runs with their scores]({pages.sweep_page(experiment_id, part.sweep)})"
    told = (
        f"{of_sweep}: {part.runs}{varied}. {scores}.",
        TO_COME,
        f"Command: `{part.command}`",
        f"Runs: `{part.folder}`",
    )
    return "\n\n".join(told)


def is_active(uri: str, run_id: str) -> bool:
    """Whether an MLflow run is there, and not deleted."""
    try:
        with short_timeout():
            check_active(client(uri), run_id, "")
    except MirrorError:
        return False
    return True


@short_timeout()
def end_parent(uri: str, run_id: str, outcome: Outcome) -> None:
    """Send what a part of a sweep has come to, and mark its MLflow run as over.

    Args:
      uri: the tracking URI.
      run_id: the part's MLflow run.
      outcome: what the part has come to.
    Raises:
      MirrorError: the MLflow run was deleted.
    """
    from mlflow.entities import Metric

    connected = client(uri)
    check_active(connected, run_id, f"restore it: {cli(uri)} runs restore --run-id {run_id}")
    names = unique_names([name for name, _, _ in outcome.metrics])
    metrics = [
        Metric(name, value, outcome.time_ms, step)
        for name, (_, step, value) in zip(names, outcome.metrics, strict=True)
    ]
    for start in range(0, len(metrics), BATCH):
        connected.log_batch(run_id, metrics=metrics[start : start + BATCH])
    if outcome.report is not None:
        connected.log_artifacts(run_id, str(outcome.report), REPORT)
        run = connected.get_run(run_id)
        text = run.data.tags.get(DESCRIPTION_TAG, "")
        shown = figures(outcome.report, run.info.experiment_id, run_id)
        connected.set_tag(run_id, DESCRIPTION_TAG, text.replace(TO_COME, shown))
    connected.set_terminated(run_id, "FAILED" if outcome.failed else "FINISHED")


def figures(report: Path, experiment_id: str, run_id: str) -> str:
    """Return the sweep's main figure and a link to its report, as Markdown; both are artifacts of an MLflow run."""
    link = f"[The report]({pages.artifact_page(experiment_id, run_id, f'{REPORT}/index.html')})"
    found = next(
        (path for stem in ("aggregate", "learning_curves") for path in sorted(report.glob(f"{stem}*.png"))), None
    )
    if found is None:
        return f"{link}."
    return f"{link}.\n\n![{found.stem}](get-artifact?path={REPORT}/{found.name}&run_uuid={run_id})"


def allowed(name: str) -> str:
    """Return the name of a metric or parameter without what MLflow refuses: `=` becomes a colon, the rest a dash."""
    text = re.sub(r"[^\w.\- :/]", "-", name.replace("=", ":"))
    return "/".join(part for part in text.split("/") if part.strip("."))[:MAX_NAME]


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names that MLflow allows, of which no two are equal where the given ones are not."""
    given: dict[str, str] = {}
    for name in dict.fromkeys(names):
        short, number = allowed(name), 1
        while (candidate := short if number == 1 else f"{short[: MAX_NAME - 8]} {number}") in given.values():
            number += 1
        given[name] = candidate
    return [given[name] for name in names]


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
def tag_runs(run_dirs: Sequence[Path], uri: str) -> None:
    """Tell MLflow of sweeps that contain runs which MLflow has already."""
    for run_dir in run_dirs:
        record = RunDir(run_dir)
        state = record.mirrors().get(uri)
        if state is not None and state.run_id is not None and not set(record.sweeps()) <= set(state.sweeps):
            with mirror_lock(run_dir, wait=False) as free:
                if free:  # else the run's own mirror sees to it
                    Mirror(run_dir, uri).place()
