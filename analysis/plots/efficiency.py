"""Sample efficiency: env steps until the interquartile mean first reaches a level."""

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
from analysis.stats import CONFIDENCE, iqm, steps_to

FRACTIONS = (0.5, 0.75, 0.9)
COLUMNS = (
    "benchmark",
    "variant",
    "fraction",
    "level",
    "value",
    "low",
    "high",
    "reached",
    "seeds",
    "most_seeds",
    "tasks",
)


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where some variant scores above 0 at the end."""
    values = compute(context)
    if len(values):
        size = figure_size(values)
        yield context.plot(
            "efficiency", "Sample efficiency", caption(values), values, draw, size, notes=context.unaveraged
        )


def compute(context: Context) -> pd.DataFrame:
    """Computes the env steps until each variant's IQM reaches fractions of the best final IQM of its benchmark.

    The bootstrap resamples whole curves.

    Returns:
      `COLUMNS`: `value` env steps per task, infinite where the level is never reached; `reached` the share of
      replicates that reach it. No rows where the best IQM is not above 0.
    """
    parts = []
    for _, of_benchmark in groups_of(context.common.table, "benchmark"):
        found = {str(name): (rows, points(rows)) for name, rows in groups_of(of_benchmark, "variant")}
        curves = {name: iqm(one.values, one.strata.once(), one.strata) for name, (_, one) in found.items()}
        best = max(curve[-1, 0] for curve in curves.values())
        if not (best > 0 and max(of_benchmark["env_steps"]) > 0):
            continue
        for name, (rows, one) in found.items():
            counts = one.strata.resampled(np.random.default_rng(context.seed), context.replicates)
            spread = iqm(one.values, counts, one.strata)
            for fraction in FRACTIONS:
                steps = steps_to(spread, one.env_steps, fraction * best)
                has_interval = one.strata.sizes.max() > 1
                # Percentiles that are among the replicates: there is nothing between a step and never.
                low = np.percentile(steps, 50 * (1 - CONFIDENCE), method="lower") if has_interval else np.nan
                high = np.percentile(steps, 50 * (1 + CONFIDENCE), method="higher") if has_interval else np.nan
                about = described(rows, one).iloc[[0]]
                parts.append(
                    about.assign(
                        fraction=fraction,
                        level=fraction * best,
                        value=steps_to(curves[name], one.env_steps, fraction * best)[0],
                        low=low,
                        high=high,
                        reached=float(np.isfinite(steps).mean()),
                    )[list(COLUMNS)]
                )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.PAGE_IN, 0.8 + 0.24 * len(distinct(values, "variant"))


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a panel for each fraction; an arrow stands where a level is never reached."""
    axes = figure.subplots(1, len(FRACTIONS), sharey=True, sharex=True)
    lines = style.lines_of(values["variant"])
    finite = values[["value", "low", "high"]].replace(np.inf, np.nan)
    end = 1.08 * np.nanmax(finite.to_numpy(float))
    for ax, fraction in zip(axes, FRACTIONS, strict=True):
        rows = values.loc[values["fraction"] == fraction]
        style.bars_to_the_end(ax, rows, lines, end)
        ax.set_title(f"IQM of {rows['level'].iloc[0]:.2f} ({fraction:.0%} of best)")
        style.steps_axis(ax, 4)
    figure.supxlabel("env steps per task", fontsize=8)


def caption(values: pd.DataFrame) -> str:
    """Returns a sentence that says what is counted."""
    never = values.loc[np.isinf(values["value"].astype(float))]
    seeds = captions.count([*values["seeds"], *values["most_seeds"]], "seed")
    text = (
        f"Env steps until the IQM first reaches a fraction of the best final IQM "
        f"({captions.count(values['tasks'], 'task')}, {seeds}); 95% interval of bootstrapped curves."
    )
    return f"{text} Arrows: never reached." if len(never) else text
