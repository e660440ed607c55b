"""Final interquartile mean against the critic's parameters, or against the compute that went into it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogFormatterSciNotation, LogLocator, NullLocator

from analysis import captions, style
from analysis.context import Context, Plot
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


def figures(context: Context) -> Iterator[Plot]:
    """Yields the score over parameters and over compute, where there are at least two sizes."""
    for x, (name, title, _, explained) in AXES.items():
        values = compute(context, x)
        if has_sizes(values):
            caption = (
                f"At {captions.steps(values)} env steps per task. {captions.iqm_over(values)}{describe_fits(values)}"
                f"{explained}"
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
      fewer than three sizes.
    """
    table = context.table
    sized = context.narrowed(table.loc[table[x].notna() & (table[x].fillna(0) > 0)])
    parts = []
    for _, of_family in groups_of(sized.ends.table, "benchmark", "family"):
        found_rows, spreads = [], []
        for number, (_, group) in enumerate(groups_of(of_family, "variant")):
            found = points(group)
            rng = np.random.default_rng(
                [context.seed, number]
            )  # sizes are independent, so the slope's replicates must be
            spread = iqm(found.values, found.strata.resampled(rng, context.replicates), found.strata)[0]
            has_interval = found.strata.sizes.max() > 1
            low, high = percentile_interval(spread) if has_interval else (np.nan, np.nan)
            value = iqm(found.values, found.strata.once(), found.strata)[0, 0]
            about = described(group, found).assign(
                env_steps=found.env_steps, size=float(np.mean(group[x].to_numpy(float)))
            )
            found_rows.append(about.assign(value=value, low=low, high=high))
            spreads.append(spread)
        points_of = pd.concat(found_rows, ignore_index=True)
        resampled = np.stack(spreads) if not np.isnan(points_of["high"].to_numpy(float)).any() else None
        fit = scaling_fit(points_of["size"].to_numpy(float), points_of["value"].to_numpy(float), resampled)
        fit_row = dict(zip(FIT_COLUMNS, fit or [None] * len(FIT_COLUMNS), strict=True))
        parts.append(points_of.assign(x=x, **fit_row).sort_values("size", kind="stable"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["size"])


def has_sizes(values: pd.DataFrame) -> bool:
    """Says whether there is anything to draw: at least two sizes."""
    return len(distinct(values, "size")) > 1


def fits(values: pd.DataFrame) -> dict[str, Fit]:
    """Returns the fitted law of each family that has one."""
    rows = values.dropna(subset="law").drop_duplicates("family") if "law" in values else values.iloc[:0]
    return {one.family: Fit(*(getattr(one, name) for name in FIT_COLUMNS)) for one in rows_of(rows)}


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.curves_size(distinct(values, "family"))


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a line for each family of variants that differ in size alone, and dotted the family's fitted law."""
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
