"""Which runs of two sets share their history, so that the two are compared pair by pair.

Two forks of one checkpoint do, and a fork and the run that it was forked from: they differ by what happened since, and
the noise of all that came before is the same in both.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.frames import groups_of, rows_of
from analysis.variants import SEED, TASKS


def paired_benchmarks(a: pd.DataFrame, b: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Find the benchmarks on which every run of A shares its history with the run of B that has the same seed.

    Args:
      a, b: the runs of two variants, with the columns `analysis.table.RUN_COLUMNS`; of published curves there are none.
    Returns:
      the benchmarks, and a line for each on which only a part of the runs does.
    """
    found, notes = [], []
    for benchmark, group in groups_of(a, "benchmark"):
        ours, theirs = _by_seed(group), _by_seed(b.loc[b["benchmark"] == benchmark])
        shared = sum(_share(ours[key], theirs[key]) for key in ours.keys() & theirs.keys())
        total = len(ours.keys() | theirs.keys())
        if shared and shared == total:
            found.append(benchmark)
        elif shared:
            notes.append(
                f"{benchmark}: only {shared} of {total} seeds are pairs with one history; not compared as pairs"
            )
    return found, notes


def _by_seed(runs: pd.DataFrame) -> dict[Any, Any]:
    """The runs by seed, and by tasks, which single-task runs of one variant differ in."""
    return {(one.settings[SEED], *one.settings[TASKS]): one for one in rows_of(runs)}


def _share(a: Any, b: Any) -> bool:
    """Whether two runs were forked from one checkpoint, or one of them from the other."""
    of_a, of_b = (one.source if isinstance(one.source, str) else "" for one in (a, b))  # a frame may have NaN for None
    if of_a and of_a == of_b:
        return True
    return of_a.partition("@")[0] == b.identity or of_b.partition("@")[0] == a.identity
