"""The tidy table that all of the analysis reads, and how it is put together from runs of any origin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.frames import groups_of
from analysis.protocol import Protocol
from analysis.variants import AGENT, BENCHMARK, CRITIC_SIZE, SEED, SINGLE, TASKS, WIDTH, by_parts, labels, mode_of
from conf.benchmarks import wholes
from conf.typed import ConfigError

LARGEST = 1e100
"""No return and no score is as large; squares and sums of larger numbers are infinite."""
COLUMNS = (
    "benchmark",
    "task",
    "agent",
    "mode",
    "width",
    "critic_params",
    "seed",
    "variant",
    "family",
    "run",
    "env_steps",
    "train_flops",
    "return_",
    "success",
    "score",
    "score_metric",
)
"""One row for each run, evaluation and task.

`variant` names all but the seed: runs of one benchmark and variant are seeds of one another (single-task runs: of the
same task). `family` names all but the seed and the critic's size. `mode` is "multi-task" or "single-task". `env_steps`
are per task, `train_flops` counts the floating-point operations of the updates up to then. `return_` is the mean
undiscounted return of the evaluation's episodes, `success` the fraction that succeeded, `score` the normalised score
(NaN where the task has no constants), and `score_metric` says which of the two raw values the task is judged by. What
was not published (`width`, `critic_params` and so on of imported curves) is missing.
"""
RUN_COLUMNS = (
    "benchmark",
    "variant",
    "mode",
    "run",
    "seed",
    "width",
    "critic_params",
    "env_steps",
    "state",
    "hours",
    "devices",
    "device",
    "env_steps_per_s",
    "updates_per_s",
    "commit",
    "changed",
    "versions",
    "stand_ins",
    "identity",
    "source",
    "command",
    "folder",
    "mlflow",
    "settings",
)
"""One row a run: how far it got, what it cost and ran on, where it is, and its settings (flattened identity values).

`identity` is the hash of the run's identity; `source`, as `<identity>@<env steps>`, is the checkpoint that the run was
started from.
"""


class LoadError(ConfigError):
    """One line: why there is nothing to analyse."""


class Remark(NamedTuple):
    """A sentence that stands below every figure of a benchmark that shows one of some variants."""

    benchmark: str
    variants: tuple[str, ...]
    sentence: str


class Loaded(NamedTuple):
    """What was found."""

    table: pd.DataFrame
    """Of `COLUMNS`."""
    left_out: list[str]
    """One line for each thing that is not in the table."""
    runs: pd.DataFrame
    """Of `RUN_COLUMNS`; empty for imported curves, of which no runs are known."""
    notes: list[str]
    """One line for each thing that is in the table and that a reader should know."""
    remarks: tuple[Remark, ...] = ()
    """What captions say of some variants."""
    published: Mapping[str, Protocol] = {}
    """Agent of published curves -> how its scores were measured."""


@dataclass(frozen=True)
class Evaluations:
    """All evaluations of one run: `E` of them, `T` tasks."""

    env_steps: np.ndarray
    """`[E]`, increasing."""
    update_steps: np.ndarray
    """`[E]`"""
    values: np.ndarray
    """`[E, T, 3]`: return, success, normalised score (NaN where a task has none)."""


@dataclass(frozen=True)
class Run:
    """One run, whatever it was read from."""

    name: str
    identity: dict[str, Any]
    """Flattened identity values."""
    constants: dict[str, list[Any]]
    """Task id, in the run's order -> [score metric, norm_low, norm_high]; the latter None where unknown."""
    critic_params: int
    update_flops: float
    """Floating-point operations of one gradient update, as the run recorded; NaN where unknown."""
    evaluations: Evaluations
    facts: dict[str, Any] = field(default_factory=dict)
    """Values of `RUN_COLUMNS` that the identity does not give."""

    @property
    def last_steps(self) -> int:
        return int(self.evaluations.env_steps[-1])

    @property
    def benchmark(self) -> str:
        return self.identity[BENCHMARK]


def assemble(source: str, runs: Sequence[Run], left_out: Sequence[str], notes: Sequence[str] = ()) -> Loaded:
    """One table of runs of any origin.

    Copies of a run are left out, and so are runs whose scores were normalised by other constants than most.

    Args:
      source: names the origin in errors.
      runs: what could be read.
      left_out: a line for each thing that could not.
      notes: a line for each thing to be known of what could.
    Raises:
      LoadError: no run is left.
    """
    runs, copies = _without_copies(runs)
    runs, others = _of_one_scale(runs)
    left = [*left_out, *copies, *others]
    if not runs and left:
        raise LoadError(f"{source}: none of its {len(left)} runs can be used: {'; '.join(left)}")
    if not runs:
        raise LoadError(f"{source}: no run here or below")
    identities = [run.identity for run in runs]
    named = zip(runs, labels(identities), labels(identities, CRITIC_SIZE), strict=True)
    ordered = sorted(named, key=lambda one: (one[0].benchmark, one[0].critic_params, one[1], one[0].identity[SEED]))
    joined, remarks = joined_parts(ordered)
    table = pd.concat([_rows(*one) for one in [*ordered, *joined]], ignore_index=True)
    described = pd.DataFrame([_described(run, variant) for run, variant, _ in ordered], columns=list(RUN_COLUMNS))
    return Loaded(typed(table), left, described, [*notes, *_mixed(described), *_stand_ins(described)], remarks)


def joined_parts(named: Sequence[tuple[Run, str, str]]) -> tuple[list[tuple[Run, str, str]], tuple[Remark, ...]]:
    """Runs of all parts of a benchmark (`conf.benchmarks.wholes`), as runs of that benchmark.

    Args:
      named: each run with its variant and family.
    Returns:
      The runs again, with a variant that ends in "by parts", where runs of equal settings have all tasks of each part
      together, or each task alone; and what captions say of these variants.
    """
    found, remarks = [], []
    for whole, parts in wholes().items():
        settings: dict[str, list[tuple[Run, str, str]]] = {}
        for run, variant, family in named:
            tasks, mode = run.identity[TASKS], mode_of(run.identity[TASKS])
            if run.benchmark in parts and (mode == SINGLE or set(tasks) == set(parts[run.benchmark])):
                kept = {key: value for key, value in run.identity.items() if key not in (SEED, BENCHMARK, TASKS)}
                settings.setdefault(json.dumps([mode, kept], sort_keys=True), []).append((run, variant, family))
        for members in settings.values():
            known = {task for run, _, _ in members for task in run.constants}
            if known != {task for tasks in parts.values() for task in tasks}:
                continue
            _, variant, family = members[0]
            for run, _, _ in members:
                one = replace(run, name=f"{run.benchmark}/{run.name}", identity=run.identity | {BENCHMARK: whole})
                found.append((one, by_parts(variant), by_parts(family)))
            single = mode_of(members[0][0].identity[TASKS]) == SINGLE
            sentence = f"By parts: {'runs of' if single else 'an agent for each of'} {' and '.join(parts)}."
            remarks.append(Remark(whole, (by_parts(variant),), sentence))
    return found, tuple(remarks)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `COLUMNS` in order; sizes are integers that may be missing."""
    return table.astype({"width": "Int64", "critic_params": "Int64"}).reindex(columns=list(COLUMNS))


def empty_runs() -> pd.DataFrame:
    """A run table without runs."""
    return pd.DataFrame(columns=list(RUN_COLUMNS))


def _without_copies(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """One run of each identity: a copied directory is not another seed. The one that got furthest is kept."""
    best: dict[str, Run] = {}
    left_out = []
    for run in runs:
        key = json.dumps([run.identity, run.facts.get("source")], sort_keys=True)
        other = best.setdefault(key, run)
        if other is not run:
            best[key] = max(other, run, key=lambda one: one.last_steps)
            dropped = run if best[key] is other else other
            left_out.append(f"{dropped.name}: the same run as {best[key].name}, which got to {best[key].last_steps}")
    return list(best.values()), left_out


def _of_one_scale(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Runs whose scores mean the same: of each benchmark's tasks, those with the most common constants."""
    counts: dict[tuple[str, str], Counter[tuple]] = {}
    for run in runs:
        for task, constants in run.constants.items():
            counts.setdefault((run.benchmark, task), Counter())[tuple(constants)] += 1
    usual = {key: counter.most_common(1)[0][0] for key, counter in counts.items()}
    kept, left_out = [], []
    for run in runs:
        other = [task for task, constants in run.constants.items() if tuple(constants) != usual[run.benchmark, task]]
        if other:
            left_out.append(
                f"{run.name}: {other[0]} is scored by {_scale(run.constants[other[0]])}, "
                f"in other runs by {_scale(usual[run.benchmark, other[0]])}"
            )
        else:
            kept.append(run)
    return kept, left_out


def _scale(constants: Sequence[Any]) -> str:
    metric, low, high = constants
    return f"{metric} from {low:g} to {high:g}" if low is not None and high is not None else f"{metric}, unscaled"


def _rows(run: Run, variant: str, family: str) -> pd.DataFrame:
    """The run's rows of the table."""
    evaluations, tasks = run.evaluations, list(run.constants)
    each = len(tasks)
    flops = run.update_flops * evaluations.update_steps
    values = evaluations.values.reshape(-1, 3)
    return pd.DataFrame(
        {
            "benchmark": run.benchmark,
            "task": tasks * len(evaluations.env_steps),
            "agent": run.identity[AGENT],
            "mode": mode_of(run.identity[TASKS]),
            "width": run.identity[WIDTH],
            "critic_params": run.critic_params,
            "seed": run.identity[SEED],
            "variant": variant,
            "family": family,
            "run": run.name,
            "env_steps": np.repeat(evaluations.env_steps, each),
            "train_flops": np.repeat(flops.astype(float), each),
            "return_": values[:, 0],
            "success": values[:, 1],
            "score": values[:, 2],
            "score_metric": [constants[0] for constants in run.constants.values()] * len(evaluations.env_steps),
        }
    )


def _described(run: Run, variant: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(RUN_COLUMNS),
        **run.facts,
        "benchmark": run.benchmark,
        "variant": variant,
        "mode": mode_of(run.identity[TASKS]),
        "run": run.name,
        "seed": run.identity[SEED],
        "width": run.identity[WIDTH],
        "critic_params": run.critic_params,
        "env_steps": run.last_steps,
        "settings": run.identity,
    }


def _mixed(runs: pd.DataFrame) -> list[str]:
    """A line for each variant whose seeds ran with different code or libraries."""
    notes = []
    for (benchmark, variant), group in groups_of(runs, "benchmark", "variant"):
        commits = {str(commit)[:10] for commit in group["commit"].dropna()}
        if len(commits) > 1:
            notes.append(f"{benchmark}, {variant}: runs of {len(commits)} commits ({', '.join(sorted(commits))})")
        versions = [found for found in group["versions"] if isinstance(found, dict)]
        for package in sorted({name for found in versions for name in found}):
            different = sorted({found.get(package, "none") for found in versions})
            if len(different) > 1:
                notes.append(f"{benchmark}, {variant}: runs with {package} {' and '.join(different)}")
        if any(changed is True for changed in group["changed"]):
            notes.append(f"{benchmark}, {variant}: runs of code that differs from its commit")
    return notes


def _stand_ins(runs: pd.DataFrame) -> list[str]:
    """A line for each set of tasks whose objects are stand-ins, with the variants that learned them."""
    variants: dict[tuple[str, ...], list[str]] = {}
    for (benchmark, variant), group in groups_of(runs, "benchmark", "variant"):
        lists = [found for found in group["stand_ins"] if isinstance(found, list)]
        if names := tuple(dict.fromkeys(task.partition("/")[2] for found in lists for task in found)):
            variants.setdefault((benchmark, *names), []).append(variant)
    return [
        f"{benchmark}, {' and '.join(of)}: {len(names)} objects are stand-ins, made by recipes: {', '.join(names)}"
        for (benchmark, *names), of in variants.items()
    ]
