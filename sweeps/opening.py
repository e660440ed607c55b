"""Writes the record of a sweep, and opens the MLflow runs that its runs are children of."""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from conf import identity
from conf.schema import TrackingConfig
from records import layout
from records.sweep import Member, Sweep, add_parent, join_sweep, known_parents, read_sweep, write_sweep
from sweeps.plan.plan import Plan


def manifest_path(plan: Plan) -> Path:
    """Return the path of the sweep's record. Its name follows from the runs, so the same command is the same sweep."""
    identities = sorted(identity.hash_of(one.config) for one in plan.runs)
    digest = hashlib.sha256(" ".join(identities).encode()).hexdigest()[:8]
    benchmarks = {one.config.benchmark.name for one in plan.runs}
    name = f"{plan.common.sweep_name or 'multirun'}-{digest}.json"
    if len(benchmarks) == 1:
        name = f"{benchmarks.pop()}-{name}"
    return plan.common.runs / layout.SWEEPS / name


def open_sweep(plan: Plan, path: Path, parents: Mapping[str, str]) -> Sweep:
    """Write the sweep's record, and return the sweep.

    Args:
      plan: the sweep's runs.
      path: the record's file.
      parents: part -> the MLflow run that the part's runs are children of.
    """
    uri, known = plan.common.tracking.uri, known_parents(path)
    for part, parent in parents.items():
        known = add_parent(known, uri or "", part, parent)
    members = [Member(one.run_dir, one.config.train.env_steps, one.varied, one.part) for one in plan.runs]
    write_sweep(path, members, known, command=shlex.join(sys.argv), time=time.time())
    path.with_suffix("").mkdir(exist_ok=True)
    for one in plan.runs:
        join_sweep(one.run_dir, path.stem)
    if plan.common.tracking.on and uri is not None:
        tag_runs([one.run_dir for one in plan.runs if not one.pending], uri)
    return read_sweep(path)


def tag_runs(run_dirs: Sequence[Path], uri: str) -> None:
    """Tell MLflow that the sweep contains runs which it has already; a warning where it is away."""
    from tracking import sweep_runs

    try:
        sweep_runs.tag_runs(run_dirs, uri)
    except Exception as error:
        print(
            f"warning: finished runs are not tagged at {uri} (python -m sweeps.sync does it): {error}", file=sys.stderr
        )


def parent_runs(plan: Plan, path: Path) -> dict[str, str]:
    """Open the MLflow run of each part of the sweep; return them by part, without those that could not be opened."""
    found = {
        part: parent_run(plan.common.tracking, runs[0].config.experiment, path, part)
        for part, runs in plan.parts.items()
    }
    return {part: parent for part, parent in found.items() if parent is not None}


def parent_run(tracking: TrackingConfig, experiment: str, path: Path, part: str = "") -> str | None:
    """Open, once, the MLflow run that a part's runs are children of; return None, with a warning, where MLflow is away.

    Args:
      tracking: where runs are mirrored.
      experiment: the name of MLflow's experiment.
      path: the sweep's record.
      part: the part of the sweep; empty where the sweep has no parts.
    """
    if not tracking.on:
        return None
    known = known_parents(path).get(tracking.uri or "", {})
    if part in known:
        return known[part]
    from tracking import sweep_runs

    assert tracking.uri is not None
    try:
        parent, page = sweep_runs.open_parent(tracking.uri, experiment, path.stem, part)
        if page is not None:
            print(f"mlflow: {page}", file=sys.stderr)
        return parent
    except Exception as error:
        print(f"warning: no MLflow parent run at {tracking.uri}: {error}", file=sys.stderr)
        return None
