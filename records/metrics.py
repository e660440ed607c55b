"""The names of the rows that a run writes, as constants for the writer and every reader."""

from __future__ import annotations

from collections.abc import Sequence

EVAL_RETURN = "eval/return"
"""Mean undiscounted return over an evaluation's episodes, by task."""
EVAL_SUCCESS = "eval/success"
"""Fraction of an evaluation's episodes that succeeded, by task."""
EVAL_SCORE = "eval/score"
"""A task's result on a scale from 0 to 1; without a task the mean over tasks, which ends an evaluation."""
EVAL_NAMES = (EVAL_RETURN, EVAL_SUCCESS, EVAL_SCORE)
EVAL_PREFIX = "eval/"

OLD_PREFIX = "old/"
"""What the names of an evaluation's rows begin with instead, where its task is one of the run's source alone."""
OLD_SCORE = f"{OLD_PREFIX}score"

TRAIN_RETURN = "train/return"
"""Undiscounted return of a training episode, by task, at the step that ended the episode."""
TRAIN_SUCCESS = "train/success"
"""Whether a training episode succeeded, by task."""
DIVERGENCE = "env/divergence"
"""Episodes of a task that ended because its simulation diverged: of training at a step, or of an evaluation."""
RETURN_SCALE = "reward/return_scale"
"""What the learner divides a task's rewards by."""

ENV_STEPS_PER_S = "rate/env_steps_per_s"
"""Environment steps of every task a second, since the row before this one."""
UPDATES_PER_S = "rate/updates_per_s"
"""Learner updates a second, since the row before this one."""
TIME_PREFIX = "time/"
ENVIRONMENT_S = "time/environment_s"
"""Seconds that the environments were busy, beside the phases of the loop."""


def seconds_of(phase: str) -> str:
    """The name of the row that holds the seconds of a phase of the training loop since the run began."""
    return f"{TIME_PREFIX}{phase}_s"


def eval_name(score_metric: str) -> str:
    """The name of the row that holds a task's `return` or `success` at an evaluation."""
    return f"{EVAL_PREFIX}{score_metric}"


UPDATE_STEPS = "update_steps"
"""What MLflow calls the gradient updates so far, at each evaluation; run directories have them in every row."""


def short_names(task_ids: Sequence[str]) -> dict[str, str]:
    """Task id -> the name without the suite, or the whole id where two suites share the name."""
    shorts = [task.split("/", 1)[1] for task in task_ids]
    return {task: short if shorts.count(short) == 1 else task for task, short in zip(task_ids, shorts, strict=True)}
