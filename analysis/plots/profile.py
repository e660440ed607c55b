"""Performance profile: the fraction of runs whose final score is above each level."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import groups_of
from analysis.plots.aggregate import band, described
from analysis.select import points
from analysis.stats import percentile_interval, performance_profile

LEVELS = 101
SUMMARY_ROWS = 10
COLUMNS = ("benchmark", "variant", "level", "value", "low", "high", "env_steps", "seeds", "most_seeds", "tasks")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where the variants have an evaluation at which they compare."""
    values = compute(context)
    if len(values):
        interval = captions.interval(values, "pointwise ")
        yield context.plot(
            "profile",
            "Performance profile",
            f"Final scores at {captions.steps(values)} env steps per task. {interval}",
            values,
            draw,
            figure_size(values),
            notes=context.uncompared,
            summary=values.iloc[:: LEVELS // SUMMARY_ROWS],
        )


def compute(context: Context) -> pd.DataFrame:
    """Computes the profile of each variant's final scores, with a pointwise interval.

    Returns:
      `COLUMNS`: `value` is the fraction of runs above `level`, averaged over tasks.
    """
    parts = []
    for _, of_benchmark in groups_of(context.ends.table, "benchmark"):
        levels = np.linspace(min(0, of_benchmark["score"].min()), max(1, of_benchmark["score"].max()), LEVELS)
        for _, group in groups_of(of_benchmark, "variant"):
            found = points(group)
            values, strata = found.values[0], found.strata
            low = high = np.nan
            if strata.sizes.max() > 1:
                counts = strata.resampled(np.random.default_rng(context.seed), context.replicates)
                low, high = percentile_interval(performance_profile(values, counts, strata, levels))
            about = described(group, found).loc[[0] * LEVELS].reset_index(drop=True)
            value = performance_profile(values, strata.once(), strata, levels)[:, 0]
            about = about.assign(level=levels, value=value, low=low, high=high, env_steps=found.env_steps[0])
            parts.append(about[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def figure_size(profile: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.curves_size(list(style.sized(profile).values()))


def draw(profile: pd.DataFrame, figure: Figure) -> None:
    """Draws a falling line and its band for each variant of one benchmark."""
    ax = figure.subplots()
    lines = style.lines_of(profile["variant"])
    for variant, group in groups_of(profile, "variant"):
        band(ax, group, "level", lines[str(variant)])
    ax.set_xlabel("normalised score τ")
    ax.set_ylabel("fraction of runs above τ")
    ax.set_ylim(-0.02, 1.02)
    names = style.sized(profile)
    style.legend(figure, {names[variant]: line for variant, line in lines.items()})
