"""Says what a run that has reached its budget has come to: a report, films, and the last evaluation in words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from records import layout
from records.metrics import eval_name
from records.rows import Row

if TYPE_CHECKING:
    from agents.training.prepare import Prepared
    from envs.spec import TaskSpec
    from envs.video import Filmer

DIGITS = {"return": 1, "success": 2}


def write_report(run_dir: Path) -> None:
    """Draw learning curves of this run, by the analysis package's own command."""
    command = [sys.executable, "-m", "analysis.report", str(run_dir), "--out", str(run_dir / layout.REPORT)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        print(f"warning: no report: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)


def finish_films(filmer: Filmer) -> None:
    """Wait for the films that are not made yet."""
    print(f"filming the rest into {filmer.folder}", file=sys.stderr)
    if not filmer.finish():
        print(f"warning: not all films were made (see {filmer.folder / 'log.txt'})", file=sys.stderr)


def print_summary(
    prepared: Prepared, rows: Sequence[Row], score: float | None, divergences: Mapping[str, int], time_shares: str
) -> None:
    """Print the last evaluation, and where to look further.

    Args:
      prepared: the run.
      rows: the evaluation's.
      score: its mean normalised score.
      divergences: training episodes that ended because the simulation diverged, by task id.
      time_shares: how long the loop has taken, and what for.
    """
    config, run_dir = prepared.config, prepared.run_dir
    print(f"done: {config.train.env_steps:,} steps, mean normalised score {as_score(score)}")
    for line in result_lines(prepared.specs, rows):
        print(line)
    for task_id, count in divergences.items():
        print(f"  {task_id}: {count:,} training episodes ended because the simulation diverged")
    print(f"time:   {time_shares}")
    print(f"run:    {run_dir}")
    if (run_dir / layout.REPORT).exists():
        print(f"report: {run_dir / layout.REPORT} (learning_curves.png)")
    if config.tracking.on:
        from tracking.mirror import local_page, run_link

        uri = config.tracking.uri or ""
        print(f"mlflow: {run_link(run_dir, uri) or uri}")
        if not uri.startswith("http"):
            print(f"        mlflow ui --backend-store-uri {uri}")
            if (page := local_page(run_dir, uri)) is not None:
                print(f"        {page}")


def result_lines(specs: Sequence[TaskSpec], rows: Sequence[Row]) -> list[str]:
    """Return a line for each task, with the metric that its score is made of."""
    values = {(row.task, row.name): row.value for row in rows}
    return [
        f"  {spec.id:40s} {spec.score_metric} "
        f"{values[spec.id, eval_name(spec.score_metric)]:8.{DIGITS[spec.score_metric]}f}"
        for spec in specs
    ]


def as_score(score: float | None) -> str:
    """Return a score in words."""
    return "unknown" if score is None else f"{score:.3f}"
