"""The scores by which trials are compared, read from their runs' records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

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
        self._tasks_at: dict[int, list[float]] = {}

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
            self._tasks_at[row.env_steps], self._tasks = self._tasks, []

    def final(self, budget: int) -> float:
        """At the budget, which may lie off the grid of evaluations; a longer run's later ones do not count."""
        return interquartile_mean(self.final_of_tasks(budget))

    def final_of_tasks(self, budget: int) -> list[float]:
        """The score of each task at the budget."""
        done = RunDir(self._run_dir).done()
        if done is not None and done.env_steps == budget:
            return [row.value for row in done.evaluation if row.name == EVAL_SCORE and row.task]
        self.read()
        return self._tasks_at[max(steps for steps in self._tasks_at if steps <= budget)]

    def is_final(self, budget: int) -> bool:
        """Whether the run has reached the budget."""
        done = RunDir(self._run_dir).done()
        return done is not None and done.env_steps >= budget


def curve(runs: Sequence[Scores], budget: int) -> dict[int, float]:
    """A trial's score at each evaluation: the mean over those of its runs that have come so far.

    Args:
      runs: the scores of the trial's runs.
      budget: the environment steps of a run.
    """
    found: dict[int, list[float]] = defaultdict(list)
    for one in runs:
        for steps, score in one.read().items():
            if 0 < steps <= budget:
                found[steps].append(score)
    return {steps: fmean(scores) for steps, scores in sorted(found.items())}


def instances(runs: Sequence[Scores], budget: int) -> dict[int, float]:
    """The score of each task in each ended run of a trial, by a number that is the same in every trial.

    Wilcoxon's test compares two trials by these pairs: the same task, and the run of the same place among the trial's.

    Args:
      runs: the scores of the trial's runs.
      budget: the environment steps of a run.
    """
    found: dict[int, float] = {}
    for place, one in enumerate(runs):
        if one.is_final(budget):
            tasks = one.final_of_tasks(budget)
            found |= {place * len(tasks) + index: score for index, score in enumerate(tasks)}
    return found


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the values without their least and greatest quarter."""
    from scipy.stats import trim_mean

    return float(trim_mean(values, 0.25))
