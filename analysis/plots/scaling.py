"""Final interquartile mean against the critic's parameters, or against the compute that went into it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogFormatterSciNotation, LogLocator, NullLocator

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.extrapolation import forecast
from analysis.frames import distinct, groups_of, rows_of
from analysis.plots.aggregate import described
from analysis.select import points
from analysis.stats import Fit, iqm, percentile_interval, scaling_fit

MAX_LABELLED_SIZES = 6
AXES = {
    "critic_params": ("scaling", "Scaling in parameters", "critic parameters", ""),
    "train_flops": (
        "scaling_compute",
        "Scaling in compute",
        "learner's training, FLOPs",
        " FLOPs: what one update takes, as the run recorded, times the updates.",
    ),
}
"""Column of the sizes -> the figure's name, its title, the label of its axis, and the end of its caption."""
FIT_COLUMNS = ("law", "slope", "slope_low", "slope_high", "intercept", "residual")
NEXT_COLUMNS = ("next_value", "next_low", "next_high")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the score over parameters and over compute, where there are at least two sizes."""
    for x, (name, title, _, explained) in AXES.items():
        values = compute(context, x)
        if has_sizes(values):
            caption = (
                f"At {captions.steps(values)} env steps per task. {captions.iqm_over(values)}{describe_fits(values)}"
                f"{explained}{describe_next(values)}"
            )
            yield context.plot(name, title, caption, values, draw, figure_size(values), notes=context.uncompared)


def compute(context: Context, x: str = "critic_params") -> pd.DataFrame:
    """Computes each variant's final IQM, and the law that fits its family.

    Rows without a size (published curves) are left out.

    Args:
      context: the context of one or more benchmarks.
      x: the column of the sizes, a key of `AXES`.
    Returns:
      One row a variant, by family and increasing size: benchmark, variant, family, x (the column), size, env_steps,
      value, low, high, seeds, tasks, and `FIT_COLUMNS` of the family's `analysis.stats.Fit`, missing where it has
      fewer than three sizes. `next_size` is as far from the largest size as that is from the one before, and
      `NEXT_COLUMNS` what is expected there (`analysis.extrapolation`), missing also where some size has a single seed.
    """
    table = context.table
    sized = context.narrowed(table.loc[table[x].notna() & (table[x].fillna(0) > 0)])
    parts = []
    for _, of_family in groups_of(sized.ends.table, "benchmark", "family"):
        points_of, spreads = measured(of_family, x, context.seed, context.replicates)
        resampled = None if np.isnan(points_of["high"].to_numpy(float)).any() else spreads
        sizes, scores = (points_of[name].to_numpy(float) for name in ("size", "value"))
        fit = scaling_fit(sizes, scores, resampled)
        fit_row = dict(zip(FIT_COLUMNS, fit or [None] * len(FIT_COLUMNS), strict=True))
        ordered, seeds = np.unique(sizes), int(points_of["seeds"].to_numpy(int).min())
        next_size = float(ordered[-1] ** 2 / ordered[-2]) if len(ordered) > 1 else np.nan
        rng = np.random.default_rng([context.seed, len(sizes)])
        expected = forecast(sizes, scores, spreads, seeds, next_size, rng)
        next_row = dict(zip(NEXT_COLUMNS, expected or [np.nan] * len(NEXT_COLUMNS), strict=True))
        part = points_of.assign(x=x, **fit_row, next_size=next_size if expected else np.nan, **next_row)
        parts.append(part.sort_values("size", kind="stable"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["size"])


def measured(ends: pd.DataFrame, x: str, seed: int, replicates: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Computes the IQM of each variant of one family at its end.

    Args:
      ends: one evaluation of each variant.
      x: the column of the sizes.
      seed: of the bootstrap.
      replicates: their number `R`.
    Returns:
      a row for each of `K` variants, with size, env_steps, value, low and high, and replicates `[K, R]` of the values,
      which are independent of each other as the sizes' seeds are.
    """
    rows, spreads = [], []
    for number, (_, group) in enumerate(groups_of(ends, "variant")):
        found = points(group)
        rng = np.random.default_rng([seed, number])
        spread = iqm(found.values, found.strata.resampled(rng, replicates), found.strata)[0]
        low, high = percentile_interval(spread) if found.strata.sizes.max() > 1 else (np.nan, np.nan)
        value = iqm(found.values, found.strata.once(), found.strata)[0, 0]
        about = described(group, found).assign(env_steps=found.env_steps, size=float(np.mean(group[x].to_numpy(float))))
        rows.append(about.assign(value=value, low=low, high=high))
        spreads.append(spread)
    return pd.concat(rows, ignore_index=True), np.stack(spreads)


def has_sizes(values: pd.DataFrame) -> bool:
    """Says whether there is anything to draw: at least two sizes."""
    return len(distinct(values, "size")) > 1


def fits(values: pd.DataFrame) -> dict[str, Fit]:
    """Returns the fitted law of each family that has one."""
    rows = values.dropna(subset="law").drop_duplicates("family") if "law" in values else values.iloc[:0]
    return {one.family: Fit(*(getattr(one, name) for name in FIT_COLUMNS)) for one in rows_of(rows)}


def expected_next(values: pd.DataFrame) -> pd.DataFrame:
    """Returns one row for each family that has a forecast of the next size."""
    return values.dropna(subset="next_value").drop_duplicates("family") if "next_value" in values else values.iloc[:0]


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.curves_size(distinct(values, "family"))


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a line for each family of variants that differ in size alone; dotted its law, hollow what comes next."""
    x = values["x"].iloc[0]
    ax = figure.subplots()
    lines = style.lines_of(values["family"])
    for family, group in groups_of(values, "family"):
        line = lines[str(family)]
        ax.plot(group["size"], group["value"], **line, marker="o", markersize=4)
        ax.vlines(group["size"], group["low"], group["high"], color=line["color"], linewidth=1.2)
    for family, fit in fits(values).items():
        sizes = values.loc[values["family"] == family, "size"]
        grid = np.geomspace(sizes.min(), sizes.max(), 50)
        ax.plot(grid, fit(grid), color=lines[family]["color"], linewidth=0.9, linestyle=":")
    low, high = ax.get_ylim()
    for one in rows_of(expected_next(values)):
        color = lines[str(one.family)]["color"]
        ax.vlines(one.next_size, one.next_low, one.next_high, color=color, linewidth=1.2, linestyle=":")
        ax.plot([one.next_size], [one.next_value], color=color, marker="o", markersize=4, fillstyle="none")
    (bottom, top), reach = ax.get_ylim(), high - low
    ax.set_ylim(max(bottom, low - reach), min(top, high + reach))  # a wide interval leaves the measured sizes room
    ax.set_xscale("log")
    sizes = sorted(values["size"].unique())
    few = len(sizes) <= MAX_LABELLED_SIZES and x == "critic_params"
    ax.xaxis.set_major_locator(FixedLocator(sizes) if few else LogLocator())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(EngFormatter(places=1, sep="") if x == "critic_params" else LogFormatterSciNotation())
    ax.tick_params(axis="x", labelsize=6.5)
    ax.set_xlabel(AXES[x][2])
    ax.set_ylabel("normalised score, IQM")
    style.legend(figure, lines)


def describe_fits(values: pd.DataFrame) -> str:
    """Returns the fitted laws in words."""
    found = []
    for family, fit in fits(values).items():
        interval = f" ({fit.low:.3f} to {fit.high:.3f})" if not np.isnan(fit.low) else ", no interval (one seed)"
        if fit.law == "log":
            found.append(f"{family}: {fit.slope:+.3f}{interval} a decade")
        else:
            found.append(f"{family}: 1 - score falls as size to the -{fit.slope:.3f}{interval}")
    return f" Dotted, the better of a log-linear and a power law: {'; '.join(found)}." if found else ""


def describe_next(values: pd.DataFrame) -> str:
    """Returns the forecasts in words."""
    found = [
        f"{one.family}: {one.next_value:.3f} ({one.next_low:.3f} to {one.next_high:.3f})"
        for one in rows_of(expected_next(values))
    ]
    return f" Hollow, what the next size is expected to score: {'; '.join(found)}." if found else ""
