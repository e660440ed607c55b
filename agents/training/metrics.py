"""Makes rows of what a run has measured. Pure functions; `records.metrics` has the rows' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from agents.training.clock import Clock
from agents.training.evaluate import Evaluation
from conf.schema import RunConfig
from envs.spec import TaskSpec
from envs.vector import Step
from records import metrics as names
from records.rows import Row


class Moment(NamedTuple):
    """Says when something was measured, in environment steps of each task and in updates of the learner."""

    env_steps: int
    update_steps: int

    @classmethod
    def of(cls, config: RunConfig, env_steps: int) -> Moment:
        """Return the moment after `env_steps`."""
        return cls(env_steps, config.update_steps(env_steps))

    def row(self, name: str, value: float, task: TaskSpec | None = None) -> Row:
        """Return a row of this moment, about one task or about all."""
        return Row(self.env_steps, self.update_steps, name, None if task is None else task.id, value)


class Ended(NamedTuple):
    """A training episode that has ended: the task's index, its undiscounted return, whether any step succeeded."""

    task: int
    return_: float
    success: bool


class EpisodeTotals(NamedTuple):
    """Return and success so far of each task's running training episode, each `[T]`."""

    return_: np.ndarray
    success: np.ndarray

    def after(self, step: Step) -> tuple[EpisodeTotals, list[Ended]]:
        """Return the totals after a step, and the episodes that the step ended."""
        return_, success, over = self.return_ + step.reward, self.success | step.success, step.episode_over
        ended = [Ended(int(task), float(return_[task]), bool(success[task])) for task in np.flatnonzero(over)]
        return EpisodeTotals(np.where(over, 0, return_), success & ~over), ended


class ScoredEvaluation(NamedTuple):
    """Holds an evaluation's rows and its mean normalised score, None where no task has constants."""

    env_steps: int
    score: float | None
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; `from_json` takes it back."""
        return self._asdict() | {"rows": [row._asdict() for row in self.rows]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ScoredEvaluation:
        """Return the evaluation that a checkpoint holds."""
        return cls(value["env_steps"], value["score"], [Row(**row) for row in value["rows"]])


def score_evaluation(at: Moment, specs: Sequence[TaskSpec], evaluation: Evaluation) -> ScoredEvaluation:
    """Make the rows of an evaluation: each task's mean return, success and score, then the mean of the known scores.

    Args:
      at: when the evaluation was.
      specs: the tasks, `T` of them.
      evaluation: what was played.
    Raises:
      FloatingPointError: a value is not finite; no record holds such a value.
    """
    scores = evaluation.scores(specs)
    rows = []
    for task, (spec, score) in enumerate(zip(specs, scores, strict=True)):
        rows.append(at.row(names.EVAL_RETURN, float(evaluation.returns[task].mean()), spec))
        rows.append(at.row(names.EVAL_SUCCESS, float(evaluation.successes[task].mean()), spec))
        if score is not None:
            rows.append(at.row(names.EVAL_SCORE, score, spec))
    rows += divergence_rows(at, specs, evaluation.diverged)
    known = [score for score in scores if score is not None]
    mean = float(np.mean(known)) if known else None
    if mean is not None:
        rows.append(at.row(names.EVAL_SCORE, mean))
    if bad := [
        row.name if row.task is None else f"{row.name} of {row.task}" for row in rows if not isfinite(row.value)
    ]:
        raise FloatingPointError(f"not finite at {at.env_steps:,} steps: {', '.join(bad)}")
    return ScoredEvaluation(at.env_steps, mean, rows)


def old_rows(at: Moment, specs: Sequence[TaskSpec], evaluation: Evaluation) -> list[Row]:
    """Make the rows of an evaluation of tasks of the run's source: those of an evaluation, under names of their own."""
    rows = score_evaluation(at, specs, evaluation).rows
    return [
        row._replace(name=row.name.replace(names.EVAL_PREFIX, names.OLD_PREFIX))
        for row in rows
        if row.name.startswith(names.EVAL_PREFIX)
    ]


def episode_rows(at: Moment, specs: Sequence[TaskSpec], ended: Sequence[Ended]) -> list[Row]:
    """Make the rows of the training episodes that a step ended: first their returns, then their successes."""
    returns = [at.row(names.TRAIN_RETURN, one.return_, specs[one.task]) for one in ended]
    return returns + [at.row(names.TRAIN_SUCCESS, float(one.success), specs[one.task]) for one in ended]


def divergence_rows(at: Moment, specs: Sequence[TaskSpec], diverged: np.ndarray) -> list[Row]:
    """Episodes `[T]` that ended because a simulation diverged, of the tasks where one did."""
    return [at.row(names.DIVERGENCE, float(diverged[task]), specs[task]) for task in np.flatnonzero(diverged).tolist()]


def learner_rows(
    at: Moment, specs: Sequence[TaskSpec], values: Mapping[str, float], return_scale: np.ndarray
) -> list[Row]:
    """Make the rows of the learner's own metrics, and of the magnitude of every task's returns.

    Args:
      at: when the values were measured.
      specs: the tasks, `T` of them.
      values: the learner's metrics by name.
      return_scale: `[T]`, in raw return.
    """
    rows = [at.row(name, value) for name, value in values.items()]
    return rows + [at.row(names.RETURN_SCALE, float(return_scale[task]), spec) for task, spec in enumerate(specs)]


def rate_rows(at: Moment, clock: Clock, updates_per_step: int) -> list[Row]:
    """Make the rows of the rates since the last call.

    Args:
      at: now.
      clock: the run's clock.
      updates_per_step: the learner's updates at each environment step, once there are any.
    """
    rate = clock.rate(at.env_steps)
    updates = rate * updates_per_step if at.update_steps > 0 else 0.0
    return [at.row(names.ENV_STEPS_PER_S, rate), at.row(names.UPDATES_PER_S, updates)]


def seconds_rows(at: Moment, clock: Clock) -> list[Row]:
    """Make the rows of the seconds by phase since the run began, and of those that environments were busy."""
    values = {names.ENVIRONMENT_S: clock.environment_s}
    values |= {names.seconds_of(phase): seconds for phase, seconds in clock.phases.items()}
    return [at.row(name, value) for name, value in values.items()]
