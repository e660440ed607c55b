"""The words that captions and sentences of several figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats import CONFIDENCE

MAX_NOTES = 3
NO_INTERVAL = "No interval: one seed says nothing about the spread over seeds."


def count(numbers: Iterable[Any], noun: str) -> str:
    """Returns `3 seeds`, `1 seed` or `1 to 3 seeds`."""
    low, *_, high = sorted([*numbers] * 2)
    return f"{low if low == high else f'{low} to {high}'} {noun}{'' if high == 1 else 's'}"


def steps(values: pd.DataFrame) -> str:
    """Returns the env steps of a figure's rows in words: `500` or `500 to 1,000`."""
    found = sorted(set(values["env_steps"]))
    return f"{found[0]:,.0f}" if len(found) == 1 else f"{found[0]:,.0f} to {found[-1]:,.0f}"


def interval(values: pd.DataFrame, kind: str = "") -> str:
    """Returns a sentence that says which interval the columns `low` and `high` are, and which rows have none."""
    missing = np.isnan(values["low"].to_numpy(float))
    if missing.all():
        return NO_INTERVAL
    text = f"{CONFIDENCE:.0%} {kind}stratified-bootstrap interval over seeds"
    return f"{text}, none where there is one seed." if missing.any() else f"{text}."


def iqm_over(rows: pd.DataFrame) -> str:
    """Returns a sentence that says over how many seeds and tasks an IQM is taken, and what its interval is.

    Args:
      rows: any rows with the columns benchmark, variant, seeds, most_seeds and tasks.
    """
    by_variant = rows.drop_duplicates(["benchmark", "variant"])
    seeds = count([*by_variant["seeds"], *by_variant["most_seeds"]], "seed")
    over = f"IQM over {count(by_variant['tasks'], 'task')} and {seeds}"
    single = by_variant.loc[by_variant["most_seeds"] == 1, "variant"].unique()
    named = f"{CONFIDENCE:.0%} stratified-bootstrap interval over seeds"
    if len(single) and max(by_variant["most_seeds"]) == 1:
        return f"{over}. {NO_INTERVAL}"
    if len(single):
        return f"{over}; {named}, none where there is one seed ({', '.join(single)})."
    return f"{over}; {named}."


def with_notes(caption: str, notes: Sequence[str], unusable: int) -> str:
    """Returns the caption, followed by what the figure leaves out.

    Args:
      caption: what the figure shows.
      notes: one line for each thing that the figure leaves out; the first `MAX_NOTES` are written out.
      unusable: how many runs or curves could not be read at all.
    """
    shown = "; ".join(notes[:MAX_NOTES])
    more = f"; and {len(notes) - MAX_NOTES} more, listed under Left out" if len(notes) > MAX_NOTES else ""
    left = f" Left out: {shown}{more}." if notes else ""
    noun = "run or curve" if unusable == 1 else "runs or curves"
    unused = f" {unusable} {noun} could not be used." if unusable else ""
    return f"{caption}{left}{unused}"
