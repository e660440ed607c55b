"""Run directories -> one tidy table of evaluations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.variants import AGENT, BENCHMARK, CRITIC_SIZE, SEED, WIDTH, labels
from conf import record

COLUMNS = (
    "benchmark",
    "task",
    "agent",
    "width",
    "critic_params",
    "seed",
    "variant",
    "family",
    "run",
    "env_steps",
    "return_",
    "success",
    "score",
    "score_metric",
)
"""One row for each run, evaluation and task.

`variant` names all but the seed: runs of one benchmark and variant are seeds of one another. `family` names all but
the seed and the critic's size. `env_steps` are per task, `return_` is the mean undiscounted return of the evaluation's
episodes, `success` the fraction that succeeded, `score` the normalised score (NaN where the task has no constants),
and `score_metric` says which of the two raw values the task is judged by.
"""


class LoadError(ValueError):
    """One line: why there is nothing to analyse."""


class UnreadableRunError(ValueError):
    """One line: why one run directory cannot be used."""


class Loaded(NamedTuple):
    """The table of `COLUMNS`, and one line for each run directory that is not in it."""

    table: pd.DataFrame
    left_out: list[str]


@dataclass(frozen=True)
class _Run:
    name: str
    identity: dict[str, Any]
    """Flattened identity values."""
    benchmark: str
    agent: str
    width: int
    seed: int
    critic_params: int
    score_metrics: dict[str, str]
    """By task id, in the run's order."""
    evaluations: dict[int, dict[tuple[str, str], float]]
    """env_steps -> (metric name, task id) -> value; increasing."""

    @property
    def last_steps(self) -> int:
        return max(self.evaluations)


def load(root: Path) -> Loaded:
    """All evaluations of all runs under `root`: a runs folder, one benchmark's folder, or one run directory.

    Runs may be in progress: an evaluation that is not wholly written is ignored.

    Raises:
      LoadError: `root` does not exist, or no run under it has an evaluation.
    """
    if not root.is_dir():
        raise LoadError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    runs: list[_Run] = []
    left_out: list[str] = []
    for path in _run_dirs(root):
        try:
            runs.append(_read(path))
        except UnreadableRunError as error:
            left_out.append(f"{path.name}: {error}")
    runs, copies = _without_copies(runs)
    left_out += copies
    if not runs and left_out:
        raise LoadError(f"{root}: none of its {len(left_out)} run directories can be used: {'; '.join(left_out)}")
    if not runs:
        raise LoadError(f"{root}: no run directory here or below")
    return Loaded(_table(runs), left_out)


def _run_dirs(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        if {record.CONFIG, record.MANIFEST, record.METRICS} & set(files):
            yield Path(folder)
            below.clear()  # checkpoints hold manifests of their own
        below[:] = sorted(name for name in below if name != record.SWEEPS)


def _read(path: Path) -> _Run:
    try:
        manifest = record.read_json(path / record.MANIFEST)
        lines = (path / record.METRICS).read_bytes().split(b"\n")
        done = record.read_json(path / record.DONE) or {}
    except FileNotFoundError as error:
        raise UnreadableRunError(f"no {Path(error.filename).name}") from None
    except (OSError, ValueError) as error:
        raise UnreadableRunError(str(error)) from None
    if manifest is None:
        raise UnreadableRunError(f"no readable {record.MANIFEST}")
    if manifest.get("version") != record.VERSION:
        raise UnreadableRunError(f"record version {manifest.get('version')}, not {record.VERSION}")
    try:
        identity = record.flat(manifest["identity_values"])
        benchmark, agent, width, seed = (identity[key] for key in (BENCHMARK, AGENT, WIDTH, SEED))
        scored = {
            task["id"]: task["norm_low"] is not None and task["norm_high"] is not None for task in manifest["tasks"]
        }
        score_metrics = {task["id"]: task["score_metric"] for task in manifest["tasks"]}
        critic_params = manifest["sizes"]["critic_params"]
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableRunError(f"{record.MANIFEST} lacks {error}") from None
    expected = {(name, task) for task in scored for name in ("eval/return", "eval/success")}
    expected |= {("eval/score", task) for task, has_score in scored.items() if has_score}
    # An evaluation off the grid, at the end of the budget, is in DONE only.
    evaluations = _complete(_evaluations([*_rows(lines), *done.get("evaluation", [])]), expected)
    if not evaluations:
        raise UnreadableRunError("no evaluation yet")
    return _Run(path.name, identity, benchmark, agent, width, seed, critic_params, score_metrics, evaluations)


def _rows(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if b'"eval/' not in line:  # nearly all rows are of training; parsing them would take most of the time
            continue
        try:
            yield json.loads(line)
        except ValueError:
            if number < len(lines):  # only the last line may be cut off
                raise UnreadableRunError(f"{record.METRICS}, line {number}: not a row") from None


def _evaluations(rows: Iterable[dict[str, Any]]) -> dict[int, dict[tuple[str, str], float]]:
    found: dict[int, dict[tuple[str, str], float]] = {}
    try:
        for row in rows:
            if row["task"] is not None:
                found.setdefault(row["env_steps"], {})[row["name"], row["task"]] = float(row["value"])
    except (KeyError, TypeError) as error:
        raise UnreadableRunError(f"a row of an evaluation is damaged: {error}") from None
    return dict(sorted(found.items()))


def _complete(
    evaluations: dict[int, dict[tuple[str, str], float]], expected: set[tuple[str, str]]
) -> dict[int, dict[tuple[str, str], float]]:
    """Without the last evaluation where it is still being written."""
    partial = [steps for steps, rows in evaluations.items() if not expected <= rows.keys()]
    if partial and partial != [max(evaluations)]:
        raise UnreadableRunError(f"{record.METRICS}: the evaluation at {partial[0]} env steps lacks rows")
    return {steps: rows for steps, rows in evaluations.items() if steps not in partial}


def _without_copies(runs: list[_Run]) -> tuple[list[_Run], list[str]]:
    """One run of each identity: a copied directory is not another seed. The one that got furthest is kept."""
    best: dict[str, _Run] = {}
    left_out = []
    for run in runs:
        key = json.dumps(run.identity, sort_keys=True)
        other = best.setdefault(key, run)
        if other is not run:
            best[key] = max(other, run, key=lambda one: one.last_steps)
            dropped = run if best[key] is other else other
            left_out.append(f"{dropped.name}: the same run as {best[key].name}, which got to {best[key].last_steps}")
    return list(best.values()), left_out


def _table(runs: list[_Run]) -> pd.DataFrame:
    by_benchmark: dict[str, list[_Run]] = {}
    for run in runs:
        by_benchmark.setdefault(run.benchmark, []).append(run)
    rows = []
    for benchmark, members in sorted(by_benchmark.items()):
        identities = [run.identity for run in members]
        named = zip(members, labels(identities), labels(identities, CRITIC_SIZE), strict=True)
        for run, variant, family in sorted(named, key=lambda one: (one[0].critic_params, one[1], one[0].seed)):
            rows += [
                (
                    benchmark,
                    task,
                    run.agent,
                    run.width,
                    run.critic_params,
                    run.seed,
                    variant,
                    family,
                    run.name,
                    env_steps,
                    values["eval/return", task],
                    values["eval/success", task],
                    values.get(("eval/score", task), float("nan")),
                    score_metric,
                )
                for env_steps, values in run.evaluations.items()
                for task, score_metric in run.score_metrics.items()
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
