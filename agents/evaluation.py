"""What an evaluation of a saved policy found, as plain records: one of the whole, and one of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.saved import SavedPolicy
from agents.training.evaluate import Evaluation
from conf import identity
from conf.schema import RunConfig
from envs.spec import TaskSpec
from records.provenance import git_state

VERSION = 1


def spread(values: np.ndarray) -> dict[str, float | None]:
    """Return mean, standard deviation over episodes (None of one), least and largest of values `[episodes]`."""
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def task_record(spec: TaskSpec, evaluation: Evaluation, task: int) -> dict[str, Any]:
    """Return the record of one task, whose index in the evaluation is `task`."""
    raw = {"return": evaluation.returns[task], "success": evaluation.successes[task].astype(float)}
    judged = raw[spec.score_metric]
    score = spec.normalised(float(judged.mean()))
    scores = None if score is None else np.asarray([spec.normalised(float(one)) for one in judged], float)
    return {
        "task": spec.id,
        "score_metric": spec.score_metric,
        "episodes": len(judged),
        "return": spread(raw["return"]),
        "success": spread(raw["success"]),
        "length": spread(evaluation.lengths[task].astype(float)),
        # The score of the mean, as runs record it; the mean of the scores differs by rounding.
        "score": None if scores is None else spread(scores) | {"mean": score},
        "diverged": int(evaluation.diverged[task]),
    }


def evaluation_record(
    policy: SavedPolicy, config: RunConfig, specs: Sequence[TaskSpec], evaluation: Evaluation
) -> dict[str, Any]:
    """Return the record of an evaluation, as JSON holds it; its keys are always the same.

    Args:
      policy: what was evaluated.
      config: how, with the seed, the number of episodes and their longest length.
      specs: the tasks that were played, `T` of them.
      evaluation: what was played.
    """
    tasks = [task_record(spec, evaluation, task) for task, spec in enumerate(specs)]
    known = [one["score"]["mean"] for one in tasks if one["score"] is not None]
    return {
        "version": VERSION,
        "run": str(policy.run_dir),
        "identity": identity.hash_of(policy.config),
        "env_steps": policy.env_steps,
        "seed": config.seed,
        "episodes": config.eval.episodes,
        "max_episode_steps": config.eval.max_episode_steps,
        "git_commit": git_state()["git_commit"],
        "score": float(np.mean(known)) if known else None,
        "tasks": tasks,
    }


def episode_records(specs: Sequence[TaskSpec], evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return one record for each episode, task by task."""
    return [
        {
            "task": spec.id,
            "episode": number,
            "return": float(evaluation.returns[task, number]),
            "success": int(evaluation.successes[task, number]),
            "length": int(evaluation.lengths[task, number]),
        }
        for task, spec in enumerate(specs)
        for number in range(evaluation.returns.shape[1])
    ]


def table_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the record's tasks as flat rows, as a table of comma-separated values has them."""
    rows = []
    for one in record["tasks"]:
        row: dict[str, Any] = {name: one[name] for name in ("task", "score_metric", "episodes", "diverged")}
        for name in ("return", "success", "length", "score"):
            values = one[name] or dict.fromkeys(("mean", "std", "min", "max"))
            row |= {f"{name}_{part}": value for part, value in values.items()}
        rows.append(row)
    return rows
