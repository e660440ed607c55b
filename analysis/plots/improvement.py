"""Probability that a run of one variant scores above a run of another on the same task."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import groups_of, rows_of
from analysis.select import points, shared_tasks
from analysis.stats import improvement_by_task, iqm, percentile_interval

MAX_ALL_PAIRS = 4
COLUMNS = ("benchmark", "x", "y", "value", "low", "high", "tasks")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where two variants have a task in common."""
    values = compute(context)
    if len(values):
        caption = "P(a run of X scores above one of Y on the same task), mean over tasks. " + captions.interval(values)
        size, title = figure_size(values), "Probability of improvement"
        yield context.plot("improvement", title, caption, values, draw, size, notes=context.uncompared)


def compute(context: Context) -> pd.DataFrame:
    """Computes P(X > Y) at the end of training, averaged over the tasks that both have; ties count half.

    Returns:
      `COLUMNS`: every pair of at most four variants, else the best against each other one. X is the better by IQM.
      The bootstrap resamples both variants.
    """
    parts = []
    for benchmark, group in groups_of(context.ends.table, "benchmark"):
        found = {str(variant): points(of_variant) for variant, of_variant in groups_of(group, "variant")}
        score = {name: iqm(one.values, one.strata.once(), one.strata)[0, 0] for name, one in found.items()}
        ranked = sorted(found, key=lambda name: -score[name])
        pairs = combinations(ranked, 2) if len(ranked) <= MAX_ALL_PAIRS else ((ranked[0], name) for name in ranked[1:])
        for x, y in pairs:
            both = shared_tasks(group.loc[group["variant"].isin([x, y])]).table
            if both.empty:
                continue
            a, b = (points(both.loc[both["variant"] == name]) for name in (x, y))
            strata = a.strata, b.strata
            counts = [one.once() for one in strata]
            value = improvement_by_task(a.values[0], counts[0], strata[0], b.values[0], counts[1], strata[1]).mean()
            low = high = np.nan
            if min(one.sizes.max() for one in strata) > 1:
                rng = np.random.default_rng(context.seed)
                counts = [one.resampled(rng, context.replicates) for one in strata]
                by_task = improvement_by_task(a.values[0], counts[0], strata[0], b.values[0], counts[1], strata[1])
                low, high = percentile_interval(by_task.mean(axis=1))
            parts.append((benchmark, x, y, value, low, high, len(a.tasks)))
    return pd.DataFrame(parts, columns=list(COLUMNS))


def figure_size(pairs: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.PAGE_IN * 0.75, 0.6 + 0.42 * len(pairs)


def draw(pairs: pd.DataFrame, figure: Figure) -> None:
    """Draws a bar for each pair; the line at one half is where neither variant is better."""
    ax = figure.subplots()
    names = [f"{one.x}\n> {one.y}" for one in rows_of(pairs)]
    style.bars(ax, pairs, names, [next(iter(style.lines_of([""]).values()))["color"]] * len(pairs))
    ax.axvline(0.5, color=style.GREY, linewidth=0.8, linestyle="--")
    ax.set_xlim(0, 1)
    ax.set_xlabel("P(X > Y)")
