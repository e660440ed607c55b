"""Which evaluations may be averaged or compared, and what that leaves out."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd


class Selection(NamedTuple):
    """Some rows of a table of `analysis.load`, and one line for each thing that is not among them."""

    table: pd.DataFrame
    left_out: list[str]


def scored(table: pd.DataFrame) -> Selection:
    """Only tasks that have a normalised score."""
    has_score = table["score"].notna().groupby([table["benchmark"], table["task"]]).transform("any")
    tasks = table.loc[~has_score, ["benchmark", "task"]].drop_duplicates()
    notes = [f"{benchmark}: {task} has no score to average" for benchmark, task in tasks.itertuples(index=False)]
    return Selection(table.loc[has_score], notes)


def common_steps(table: pd.DataFrame) -> Selection:
    """Only evaluations that all runs of their variant have reached.

    A seed that has not been evaluated since its start (env step 0) would end its variant's curve there; it is left out
    where another seed of the variant has got further.
    """
    kept = []
    notes = []
    for _, group in table.groupby(["benchmark", "variant"], sort=False):
        name = ", ".join(group.iloc[0][["benchmark", "variant"]])
        waiting = _waiting(group, "seed")
        notes += [f"{name}: seed {seed} is not averaged: no evaluation after env step 0 yet" for seed in waiting]
        group = group.loc[~group["seed"].isin(waiting)]
        common = _steps_of_all(group, "seed")
        is_common = group["env_steps"].isin(common)
        kept.append(group.loc[is_common])
        beyond = group.loc[~is_common, ["seed", "env_steps"]].drop_duplicates().groupby("seed").size()
        if len(beyond):
            seeds = ", ".join(f"{count} of seed {seed}" for seed, count in beyond.items())
            end = f"up to env step {max(common):,}" if common else "nothing"
            notes.append(f"{name}: averages {end}; evaluations that not all seeds have reached: {seeds}")
    return Selection(_joined(kept, table), notes)


def last_shared_step(table: pd.DataFrame) -> Selection:
    """Of each benchmark, only the last evaluation that all its variants have, so that sizes compare at equal data.

    Args:
      table: evaluations that are common to the runs of a variant (`common_steps`). A variant that has none after
        env step 0 is left out where another has.
    """
    kept = []
    notes = []
    for benchmark, group in table.groupby("benchmark", sort=False):
        waiting = _waiting(group, "variant")
        notes += [f"{benchmark}, {variant}: not compared: no evaluation after env step 0 yet" for variant in waiting]
        group = group.loc[~group["variant"].isin(waiting)]
        shared = _steps_of_all(group, "variant")
        if not shared:
            notes.append(f"{benchmark}: no env step at which all variants were evaluated")
            continue
        at = max(shared)
        kept.append(group.loc[group["env_steps"] == at])
        notes += [
            f"{benchmark}, {variant}: compared at env step {at:,} of its {last:,}"
            for variant, last in _last_steps(group, "variant").items()
            if last > at
        ]
    return Selection(_joined(kept, table), notes)


def _last_steps(rows: pd.DataFrame, by: str) -> dict[Any, int]:
    """The last evaluation of each value of a column, in order of appearance."""
    return rows.groupby(by, sort=False).agg(last=("env_steps", "max"))["last"].to_dict()


def _waiting(rows: pd.DataFrame, by: str) -> list[Any]:
    """Values of a column that have been evaluated at the start only, where another has got further."""
    last = _last_steps(rows, by)
    return [value for value, steps in last.items() if steps == 0 < max(last.values())]


def _steps_of_all(rows: pd.DataFrame, by: str) -> set[int]:
    """Env steps at which every value of a column was evaluated."""
    return set.intersection(*(set(group["env_steps"]) for _, group in rows.groupby(by)))


def _joined(parts: list[pd.DataFrame], whole: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts) if parts else whole.iloc[:0]
