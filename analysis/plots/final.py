"""Aggregate scores at the end of training, by four statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of
from analysis.plots.aggregate import described
from analysis.select import points
from analysis.stats import STATISTICS, estimate

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


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where the variants have an evaluation at which they compare."""
    finals = compute(context)
    if len(finals):
        over = captions.iqm_over(finals).removeprefix("IQM over")
        caption = (
            f"At {captions.steps(finals)} env steps per task. Over{over} The median is over tasks, of means over "
            "seeds; the optimality gap is what is missing to 1 on average."
        )
        size = figure_size(finals)
        yield context.plot("final", "Final scores", caption, finals, draw, size, notes=context.uncompared)


def compute(context: Context) -> pd.DataFrame:
    """Computes four statistics of each variant at the last evaluation at which its benchmark's variants compare.

    Returns:
      `COLUMNS`, four rows a variant: IQM, mean, median (over tasks) and optimality gap.
    """
    parts = []
    for _, group in groups_of(context.ends.table, "benchmark", "variant"):
        found = points(group)
        about = described(group, found).assign(env_steps=found.env_steps)
        for name, statistic in STATISTICS.items():
            rng = np.random.default_rng(context.seed)
            values = estimate(found.values, found.strata, statistic, rng, context.replicates)
            parts.append(about.assign(statistic=name, value=values.value, low=values.low, high=values.high))
    return (
        pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))
        if parts
        else pd.DataFrame(columns=list(COLUMNS))
    )


def iqms(finals: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the interquartile mean."""
    return finals.loc[finals["statistic"] == "iqm"].reset_index(drop=True)


def figure_size(finals: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.PAGE_IN, 0.7 + 0.34 * len(distinct(finals, "variant"))


def draw(finals: pd.DataFrame, figure: Figure) -> None:
    """Draws a panel for each statistic, with a bar for each variant of one benchmark."""
    axes = figure.subplots(1, len(STATISTICS), sharey=True)
    lines = style.lines_of(finals["variant"])
    names = style.sized(finals, lines=2)
    for ax, (statistic, title) in zip(axes, TITLES.items(), strict=True):
        rows = finals.loc[finals["statistic"] == statistic]
        style.bars(ax, rows, [names[name] for name in rows["variant"]], [lines[v]["color"] for v in rows["variant"]])
        ax.set_title(title)
    figure.supxlabel("normalised score", fontsize=8)
