"""Which evaluations may be averaged or compared, and what that leaves out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.frames import groups_of, rows_of
from analysis.stats import Strata
from analysis.variants import SINGLE, short_task

SAME_END = 0.02
"""Evaluations whose env steps differ by less than this fraction count as equally long training."""


class Selection(NamedTuple):
    """Some rows of a table of `analysis.load`, and one line for each thing that is not among them."""

    table: pd.DataFrame
    left_out: list[str]


class Points(NamedTuple):
    """One variant's scores on one benchmark, ready for `analysis.stats`."""

    env_steps: np.ndarray
    """`[P]`"""
    values: np.ndarray
    """`[P, N]`, normalised scores; pairs of one task are neighbours."""
    strata: Strata
    tasks: list[str]
    """`T` task ids, in the order of the strata."""


def points(rows: pd.DataFrame, column: str = "score") -> Points:
    """The scores of one variant of one benchmark, all of whose runs have all of these evaluations."""
    pivot = rows.pivot(index="env_steps", columns=["task", "seed"], values=column).sort_index(axis=1)
    sizes = pivot.columns.get_level_values("task").value_counts(sort=False)
    return Points(pivot.index.to_numpy(), pivot.to_numpy(float), Strata(sizes.to_numpy()), list(sizes.index))


def scored(table: pd.DataFrame) -> Selection:
    """Only tasks that have a normalised score."""
    has_score = table["score"].notna().groupby([table["benchmark"], table["task"]]).transform("any")
    tasks = table.loc[~has_score, ["benchmark", "task"]].drop_duplicates()
    notes = [f"{benchmark}: {task} has no score to average" for benchmark, task in rows_of(tasks)]
    return Selection(table.loc[has_score], notes)


def common_steps(table: pd.DataFrame) -> Selection:
    """Only evaluations that all runs of their variant have reached.

    A run that has not been evaluated since its start (env step 0) would end its variant's curve there; it is left out
    where another run of the variant has got further.
    """
    kept = []
    notes = []
    for (benchmark, variant), group in groups_of(table, "benchmark", "variant"):
        name = f"{benchmark}, {variant}"
        waiting = _waiting(group, "run")
        notes += [f"{name}: {_who(group, run)} is not averaged: no evaluation after env step 0 yet" for run in waiting]
        group = group.loc[~group["run"].isin(waiting)]
        curves_at = group["env_steps"].value_counts()  # a row is one point of one curve: a run's on a task
        common = curves_at.index[curves_at == len(group.drop_duplicates(["run", "task"]))]
        is_common = group["env_steps"].isin(common)
        kept.append(group.loc[is_common])
        beyond = group.loc[~is_common].drop_duplicates(["run", "env_steps"]).groupby("run", sort=False).size()
        if len(beyond):
            end = f"averages up to env step {max(common):,}" if len(common) else "averages nothing"
            runs = ", ".join(f"{count} of {_who(group, run)}" for run, count in beyond.items())
            notes.append(f"{name}: {end}; evaluations that not all runs have reached: {runs}")
    return Selection(_joined(kept, table), notes)


def at_end(table: pd.DataFrame) -> Selection:
    """Selects one evaluation of each variant: the last at which all variants of its benchmark learned equally long.

    Args:
      table: evaluations that are common to the runs of a variant (`common_steps`). A variant that has none after
        env step 0 is left out where another has. Env steps within `SAME_END` of each other count as equal.
    """
    kept = []
    notes = []
    for benchmark, group in groups_of(table, "benchmark"):
        waiting = _waiting(group, "variant")
        notes += [f"{benchmark}, {variant}: not compared: no evaluation after env step 0 yet" for variant in waiting]
        group = group.loc[~group["variant"].isin(waiting)]
        steps = {variant: np.unique(rows["env_steps"]) for variant, rows in groups_of(group, "variant")}
        chosen = _equally_long(list(steps.values()))
        if chosen is None:
            notes.append(f"{benchmark}: no env step at which all variants were evaluated")
            continue
        for (variant, known), at in zip(steps.items(), chosen, strict=True):
            kept.append(group.loc[(group["variant"] == variant) & (group["env_steps"] == at)])
            if known[-1] > at:
                notes.append(f"{benchmark}, {variant}: compared at env step {at:,} of its {known[-1]:,}")
    return Selection(_joined(kept, table), notes)


def _equally_long(steps: list[np.ndarray]) -> list[int] | None:
    """For increasing env steps of each variant, the latest of each that are within `SAME_END` of one another."""
    shortest = min(steps, key=lambda known: known[-1])
    for target in shortest[::-1]:
        # The longest training that still counts as equal: so that each variant's own end is used where ends agree.
        within = [known[(known >= target * (1 - SAME_END)) & (known <= target * (1 + SAME_END))] for known in steps]
        if all(len(known) for known in within):
            return [int(known[-1]) for known in within]
    return None


def shared_tasks(table: pd.DataFrame) -> Selection:
    """Only the tasks that all variants of a benchmark have, so that averages over tasks compare."""
    variants_of = table.groupby(["benchmark", "task"])["variant"].transform("nunique")
    variants = table.groupby("benchmark")["variant"].transform("nunique")
    shared = variants_of == variants
    lost = table.loc[~shared].groupby("benchmark", sort=False)["task"].nunique()
    notes = [
        f"{benchmark}: {count} tasks that not all variants have are not compared" for benchmark, count in lost.items()
    ]
    return Selection(table.loc[shared], notes)


def _who(rows: pd.DataFrame, run: Any) -> str:
    first = rows.loc[rows["run"] == run].iloc[0]
    task = f"{short_task(first['task'])}, " if first["mode"] == SINGLE else ""
    return f"{task}seed {first['seed']}"


def _waiting(rows: pd.DataFrame, by: str) -> list[Any]:
    """Values of a column that have been evaluated at the start only, where another has got further."""
    last = {value: max(group["env_steps"]) for value, group in groups_of(rows, by)}
    return [value for value, env_steps in last.items() if env_steps == 0 < max(last.values())]


def _joined(parts: list[pd.DataFrame], whole: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts) if parts else whole.iloc[:0]
