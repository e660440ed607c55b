"""Performance profile: the fraction of runs whose final score is above each level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import groups_of
from analysis.plots.aggregate import band, described
from analysis.select import at_end, common_steps, points, scored
from analysis.stats import REPLICATES, percentile_interval, performance_profile

LEVELS = 101
COLUMNS = ("benchmark", "variant", "level", "value", "low", "high", "env_steps", "seeds", "most_seeds", "tasks")


def compute(table: pd.DataFrame, seed: int = 0, replicates: int = REPLICATES) -> pd.DataFrame:
    """The profile of each variant's final scores, with a pointwise interval.

    Args:
      table: of `analysis.load`.
      seed, replicates: of the bootstrap.
    Returns:
      `COLUMNS`: `value` is the fraction of runs above `level`, averaged over tasks.
    """
    rows = at_end(common_steps(scored(table).table).table).table
    parts = []
    for _, of_benchmark in groups_of(rows, "benchmark"):
        levels = np.linspace(min(0, of_benchmark["score"].min()), max(1, of_benchmark["score"].max()), LEVELS)
        for _, group in groups_of(of_benchmark, "variant"):
            found = points(group)
            values, strata = found.values[0], found.strata
            low = high = np.nan
            if strata.sizes.max() > 1:
                counts = strata.resampled(np.random.default_rng(seed), replicates)
                low, high = percentile_interval(performance_profile(values, counts, strata, levels))
            about = described(group, found).loc[[0] * LEVELS].reset_index(drop=True)
            value = performance_profile(values, strata.once(), strata, levels)[:, 0]
            about = about.assign(level=levels, value=value, low=low, high=high, env_steps=found.env_steps[0])
            parts.append(about[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def figure_size(profile: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    return style.curves_size(list(style.sized(profile).values()))


def draw(profile: pd.DataFrame, figure: Figure) -> None:
    """A falling line and its band for each variant; of one benchmark."""
    ax = figure.subplots()
    lines = style.lines_of(profile["variant"])
    for variant, group in groups_of(profile, "variant"):
        band(ax, group, "level", lines[str(variant)])
    ax.set_xlabel("normalised score τ")
    ax.set_ylabel("fraction of runs above τ")
    ax.set_ylim(-0.02, 1.02)
    names = style.sized(profile)
    style.legend(figure, {names[variant]: line for variant, line in lines.items()})
