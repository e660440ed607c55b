"""Writes the record of a sweep, and opens the MLflow runs that its runs are children of."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conf import identity
from conf.schema import TrackingConfig
from conf.uris import is_web
from records import layout
from records.command_line import given_command
from records.sweep import (
    Member,
    Sweep,
    add_parent,
    axes_of,
    join_sweep,
    known_end,
    known_parents,
    read_sweep,
    write_sweep,
)
from sweeps.plan.plan import Plan, Planned
from tracking import sweep_runs
from tracking.problems import explain


def manifest_path(plan: Plan, *rules: str) -> Path:
    """Return the path of the sweep's record. Its name follows from the runs, so the same command is the same sweep.

    Args:
      plan: the sweep's runs.
      rules: what else makes the sweep another one.
    """
    identities = [*sorted(identity.hash_of(one.config) for one in plan.runs), *rules]
    digest = hashlib.sha256(" ".join(identities).encode()).hexdigest()[:8]
    benchmarks = {one.config.benchmark.name for one in plan.runs}
    name = f"{plan.common.sweep_name or 'multirun'}-{digest}.json"
    if len(benchmarks) == 1:
        name = f"{benchmarks.pop()}-{name}"
    return plan.common.runs / layout.SWEEPS / name


def open_sweep(plan: Plan, path: Path, parents: Mapping[str, str], **details: Any) -> Sweep:
    """Write the sweep's record, and return the sweep.

    Args:
      plan: the sweep's runs.
      path: the record's file.
      parents: part -> the MLflow run that the part's runs are children of.
      details: further values of the record.
    """
    uri, known = plan.common.tracking.uri, known_parents(path)
    details |= {"notify": plan.common.notify}
    details |= {} if plan.pending else known_end(path)  # runs that begin will end anew
    for part, parent in parents.items():
        known = add_parent(known, uri or "", part, parent)
    write_sweep(path, members_of(plan.runs), known, command=given_command(), time=time.time(), **details)
    path.with_suffix("").mkdir(exist_ok=True)
    for one in plan.runs:
        join_sweep(one.run_dir, path.stem)
    if plan.common.tracking.on and uri is not None:
        tag_runs([one.run_dir for one in plan.runs if not one.pending], uri)
    return read_sweep(path)


def tag_runs(run_dirs: Sequence[Path], uri: str) -> None:
    """Tell MLflow that the sweep contains runs which it has already; a warning where it is away."""
    try:
        sweep_runs.tag_runs(run_dirs, uri)
    except Exception as error:
        problem = explain(error, uri)
        print(f"warning: finished runs are not tagged (python -m sweeps.sync does it): {problem}", file=sys.stderr)


def parent_runs(plan: Plan, path: Path) -> dict[str, str]:
    """Open the MLflow run of each part of the sweep; return them by part, without those that could not be opened."""
    axes = axes_of(members_of(plan.runs))
    found = {}
    for name, runs in plan.parts.items():
        count = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
        mine = axes_of(members_of(runs))
        part = sweep_runs.Part(path.stem, plan.common.runs, name, mine, list(axes), count, given_command())
        found[name] = parent_run(plan.common.tracking, runs[0].config.experiment, path, part)
    return {part: parent for part, parent in found.items() if parent is not None}


def members_of(runs: Iterable[Planned]) -> list[Member]:
    """Return the runs as a sweep's record lists them."""
    return [Member(one.run_dir, one.config.train.env_steps, one.varied, one.part) for one in runs]


def parent_run(tracking: TrackingConfig, experiment: str, path: Path, part: sweep_runs.Part) -> str | None:
    """Open, once, the MLflow run that a part's runs are children of; return None, with a warning, where MLflow is away.

    An MLflow run that somebody has deleted is replaced.

    Args:
      tracking: where runs are mirrored.
      experiment: the name of MLflow's experiment.
      path: the sweep's record.
      part: the part of the sweep.
    """
    if not tracking.on:
        return None
    assert tracking.uri is not None
    known = known_parents(path).get(tracking.uri, {}).get(part.name)
    try:
        if known is not None and sweep_runs.is_active(tracking.uri, known):
            return known
        parent, page = sweep_runs.open_parent(tracking.uri, experiment, part)
        shown = "" if is_web(tracking.uri) else f" (while this runs: mlflow ui --backend-store-uri {tracking.uri})"
        print(f"mlflow: {page}{shown}", file=sys.stderr)
        return parent
    except Exception as error:
        print(f"warning: no MLflow run for the sweep: {explain(error, tracking.uri)}", file=sys.stderr)
        return known
