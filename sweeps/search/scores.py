"""The scores by which trials are compared, read from their runs' records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from records import layout
from records.metrics import EVAL_SCORE
from records.rows import Row, read_rows, whole_lines
from records.run_dir import RunDir


class Scores:
    """Interquartile mean over a run's tasks of their normalised scores at each evaluation, read as they are written."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._position = 0
        self._tasks: list[float] = []
        self.at: dict[int, float] = {}

    def read(self) -> dict[int, float]:
        """All so far, by environment steps."""
        path = self._run_dir / layout.METRICS
        end = whole_lines(path)
        if end < self._position:  # cut back to a checkpoint
            self._position, self._tasks = 0, []
        for row, _ in read_rows(Row, path, self._position, end, having=(EVAL_SCORE.encode(),)):
            if row.name == EVAL_SCORE:
                self._insert(row)
        self._position = end
        return self.at

    def _insert(self, row: Row) -> None:
        if row.task is not None:
            self._tasks.append(row.value)
        else:  # the mean over tasks closes an evaluation
            self.at[row.env_steps] = interquartile_mean(self._tasks)
            self._tasks = []

    def final(self, budget: int) -> float:
        """At the budget, which may lie off the grid of evaluations; a longer run's later ones do not count."""
        done = RunDir(self._run_dir).done()
        if done is not None and done.env_steps == budget:
            return interquartile_mean([row.value for row in done.evaluation if row.name == EVAL_SCORE and row.task])
        at = self.read()
        return at[max(steps for steps in at if steps <= budget)]


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the values without their least and greatest quarter."""
    from scipy.stats import trim_mean

    return float(trim_mean(values, 0.25))
