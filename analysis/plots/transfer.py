"""Learning on tasks that were held out: from a multi-task checkpoint and from nothing."""

from __future__ import annotations

import pandas as pd

from analysis.frames import rows_of
from analysis.plots import aggregate
from analysis.stats import REPLICATES

SUFFIX = "_transfer"
KEY = "transfer."
"""Settings of this group say what a run started from."""

figure_size = aggregate.figure_size
draw = aggregate.draw


def compute(table: pd.DataFrame, runs: pd.DataFrame, seed: int = 0, replicates: int = REPLICATES) -> pd.DataFrame:
    """Aggregate curves of benchmarks of held-out tasks, or on which some run started from another's checkpoint.

    Args:
      table, runs: of `analysis.load`.
      seed, replicates: of the bootstrap.
    Returns:
      The columns of `aggregate.compute`; no rows where there is no transfer.
    """
    continued = {
        one.benchmark
        for one in rows_of(runs)
        if any(key.startswith(KEY) and value is not None for key, value in one.settings.items())
    }
    held_out = table["benchmark"].str.endswith(SUFFIX) | table["benchmark"].isin(list(continued))
    return aggregate.compute(table.loc[held_out], seed, replicates)
