"""The raw scores that count as 0 and as 1 of tasks whose constants were published as a table: `scores.csv`.

The suites that step such tasks and the analysis of published curves both read this file. HumanoidBench's constants are
its authors' table: `norm_low` is the return of a random policy, `norm_high` the return that counts as success.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import NamedTuple

PATH = Path(__file__).with_name("scores.csv")


class ScoreConstants(NamedTuple):
    """The raw scores of a task that normalise to 0 and to 1."""

    norm_low: float
    norm_high: float


@functools.cache
def score_constants() -> dict[str, ScoreConstants]:
    """The constants of every task in `scores.csv`, by task id such as `humanoidbench/h1-walk`."""
    with PATH.open(newline="") as file:
        return {
            row["task"]: ScoreConstants(float(row["norm_low"]), float(row["norm_high"])) for row in csv.DictReader(file)
        }
