"""Final interquartile mean against the critic's parameters."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullLocator

from analysis import style
from analysis.plots import aggregate
from analysis.select import common_steps, last_shared_step, scored

SIZE_IN = (4.2, 3.0)
MAX_LABELLED_SIZES = 8


def compute(table: pd.DataFrame, seed: int = 0, replicates: int = 2000) -> pd.DataFrame:
    """Each variant's IQM at the last env step that all variants of its benchmark share.

    Args:
      table: of `analysis.load`.
      seed, replicates: of the bootstrap.
    Returns:
      The columns of `aggregate.compute`, one row a variant, by increasing critic_params.
    """
    rows = last_shared_step(common_steps(scored(table).table).table).table
    points = aggregate.compute(rows, seed, replicates)
    return points.sort_values(["benchmark", "critic_params"], kind="stable", ignore_index=True)


def has_sizes(points: pd.DataFrame) -> bool:
    """Whether there is anything to draw: at least two sizes."""
    return len(points["critic_params"].unique()) > 1


def draw(points: pd.DataFrame, figure: Figure) -> None:
    """A line a family of variants that differ in size alone; `points` of one benchmark, from `compute`."""
    ax = figure.subplots()
    lines = style.lines_of(points["family"])
    for family, group in points.groupby("family", sort=False):
        line = lines[str(family)]
        ax.plot(group["critic_params"], group["iqm"], **line, marker="o", markersize=4)
        ax.vlines(group["critic_params"], group["low"], group["high"], color=line["color"], linewidth=1.2)
    ax.set_xscale("log")
    sizes = sorted(points["critic_params"].unique())
    ax.xaxis.set_major_locator(FixedLocator(sizes) if len(sizes) <= MAX_LABELLED_SIZES else LogLocator())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(EngFormatter(places=1, sep=""))
    ax.set_xlabel("critic parameters")
    ax.set_ylabel("normalised score, IQM")
    style.legend(figure, lines)
    steps = points["env_steps"].iloc[0]
    text = f"{points['benchmark'].iloc[0]} at {steps:,} env steps per task: {aggregate.describe(points)}"
    style.caption(figure, text)
