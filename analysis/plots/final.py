"""Aggregate scores at the end of training, by four statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import distinct, groups_of
from analysis.plots.aggregate import described
from analysis.select import at_end, common_steps, points, scored
from analysis.stats import REPLICATES, STATISTICS, estimate

COLUMNS = (
    "benchmark",
    "variant",
    "family",
    "mode",
    "critic_params",
    "env_steps",
    "statistic",
    "value",
    "low",
    "high",
    "seeds",
    "most_seeds",
    "tasks",
)
TITLES = {"iqm": "IQM", "mean": "mean", "median": "median", "optimality_gap": "optimality gap"}


def compute(table: pd.DataFrame, seed: int = 0, replicates: int = REPLICATES) -> pd.DataFrame:
    """Four statistics of each variant at the last evaluation at which its benchmark's variants compare.

    Args:
      table: of `analysis.load`.
      seed, replicates: of the bootstrap.
    Returns:
      `COLUMNS`, four rows a variant: IQM, mean, median (over tasks) and optimality gap.
    """
    parts = []
    for _, group in groups_of(at_end(common_steps(scored(table).table).table).table, "benchmark", "variant"):
        found = points(group)
        about = described(group, found).assign(env_steps=found.env_steps)
        for name, statistic in STATISTICS.items():
            values = estimate(found.values, found.strata, statistic, np.random.default_rng(seed), replicates)
            parts.append(about.assign(statistic=name, value=values.value, low=values.low, high=values.high))
    return (
        pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))
        if parts
        else pd.DataFrame(columns=list(COLUMNS))
    )


def iqms(finals: pd.DataFrame) -> pd.DataFrame:
    """Only the interquartile means."""
    return finals.loc[finals["statistic"] == "iqm"].reset_index(drop=True)


def figure_size(finals: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    return style.PAGE_IN, 0.7 + 0.34 * len(distinct(finals, "variant"))


def draw(finals: pd.DataFrame, figure: Figure) -> None:
    """A panel a statistic, a bar a variant; `finals` of one benchmark."""
    axes = figure.subplots(1, len(STATISTICS), sharey=True)
    lines = style.lines_of(finals["variant"])
    names = style.sized(finals, lines=2)
    for ax, (statistic, title) in zip(axes, TITLES.items(), strict=True):
        rows = finals.loc[finals["statistic"] == statistic]
        style.bars(ax, rows, [names[name] for name in rows["variant"]], [lines[v]["color"] for v in rows["variant"]])
        ax.set_title(title)
    figure.supxlabel("normalised score", fontsize=8)
