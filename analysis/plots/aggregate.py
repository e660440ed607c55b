"""Interquartile mean of normalised scores over tasks and seeds, against env steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import groups_of
from analysis.select import Points, points
from analysis.stats import estimate, iqm

COLUMNS = (
    "benchmark",
    "variant",
    "family",
    "mode",
    "critic_params",
    "env_steps",
    "value",
    "low",
    "high",
    "seeds",
    "most_seeds",
    "tasks",
)


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where there are scores to average."""
    curves = compute(context)
    if len(curves):
        yield context.plot(
            "aggregate",
            "Score while learning",
            captions.iqm_over(curves),
            curves,
            draw,
            figure_size(curves),
            notes=context.unaveraged,
            summary=last(curves),
        )


def compute(context: Context) -> pd.DataFrame:
    """Computes the IQM of each variant at each evaluation that all its runs have reached, with its interval.

    A variant's interval depends on its own scores and on the context's seed and number of replicates alone.

    Returns:
      `COLUMNS`; `low` and `high` end the 95 % stratified-bootstrap interval over seeds and are NaN with one seed,
      which allows none. `seeds` and `most_seeds` are the fewest and the most of any task.
    """
    parts = []
    for _, group in groups_of(context.common.table, "benchmark", "variant"):
        found = points(group)
        iqms = estimate(found.values, found.strata, iqm, np.random.default_rng(context.seed), context.replicates)
        parts.append(
            described(group, found).assign(env_steps=found.env_steps, value=iqms.value, low=iqms.low, high=iqms.high)[
                list(COLUMNS)
            ]
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def described(rows: pd.DataFrame, found: Points) -> pd.DataFrame:
    """Returns a row for each point of a variant, with the columns of `COLUMNS` that no statistic gives."""
    first = rows.iloc[0]
    return pd.DataFrame(
        {
            **{name: first[name] for name in ("benchmark", "variant", "family", "mode", "critic_params")},
            "seeds": found.strata.sizes.min(),
            "most_seeds": found.strata.sizes.max(),
            "tasks": len(found.tasks),
        },
        index=range(len(found.env_steps)),
    )


def last(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns the last point of each variant's curve."""
    return curves.groupby("variant", sort=False).tail(1)


def figure_size(curves: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.curves_size(list(style.sized(curves).values()))


def draw(curves: pd.DataFrame, figure: Figure) -> None:
    """Draws a line and a band for each variant of one benchmark."""
    ax = figure.subplots()
    lines = style.lines_of(curves["variant"])
    for variant, group in groups_of(curves, "variant"):
        band(ax, group, "env_steps", lines[str(variant)])
    ax.set_xlabel("env steps per task")
    ax.set_ylabel("normalised score, IQM")
    style.steps_axis(ax, 5)
    names = style.sized(curves)
    style.legend(figure, {names[variant]: line for variant, line in lines.items()})


def band(ax: Axes, group: pd.DataFrame, x: str, line: dict) -> None:
    """Draws one line with its interval.

    Args:
      ax: where to draw.
      group: rows of one line, with the columns `x`, value, low and high.
      x: the column of the x axis.
      line: matplotlib's colour and line style.
    """
    ax.plot(group[x], group["value"], **line, marker=style.marker_of(len(group)))
    if len(group) == 1:
        ax.vlines(group[x], group["low"], group["high"], color=line["color"])
    else:
        low, high = group["low"].to_numpy(float), group["high"].to_numpy(float)
        ax.fill_between(group[x], low, high, color=line["color"], alpha=0.18, linewidth=0)
