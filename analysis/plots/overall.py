"""One score over all benchmarks, each of equal weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of, rows_of
from analysis.plots.aggregate import band
from analysis.select import points
from analysis.stats import iqm, mean_of_benchmarks, percentile_interval
from analysis.variants import by_parts
from conf.benchmarks import wholes

FRACTIONS = np.arange(1, 21) / 20
SIZE_IN = (style.PAGE_IN, 2.6)
COLUMNS = ("variant", "fraction", "value", "low", "high", "benchmarks", "names")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where some variant was trained on several benchmarks."""
    values = compute(context)
    if len(values):
        title, summary = "Over all benchmarks", final(values)
        yield context.plot("overall", title, caption(values), values, draw, SIZE_IN, notes=[], summary=summary)


def compute(context: Context) -> pd.DataFrame:
    """Computes the mean of the IQM over benchmarks, at equal fractions of training, of variants that have several.

    The bootstrap resamples each benchmark on its own. A benchmark that is made up of others counts once, in their
    place: its runs by parts are those of the variant of the parts.

    Returns:
      `COLUMNS`: `fraction` of each benchmark's training, `benchmarks` how many, `names` which.
    """
    parts_of = wholes()
    whole_names = {by_parts(variant): variant for variant in distinct(context.table, "variant")}
    curves, ends = {}, {}
    for name, part in context.benchmarks.items():
        own = distinct(part.table, "variant")
        called = {one: whole_names[one] for one in own if one in whole_names and whole_names[one] not in own}
        for variant, group in groups_of(part.common.table, "variant"):
            curves[name, called.get(variant, str(variant))] = group
        for variant, group in groups_of(part.ends.table, "variant"):
            ends[name, called.get(variant, str(variant))] = max(group["env_steps"])
    parts = []
    for variant in dict.fromkeys(variant for _, variant in curves):
        members = [name for name in context.benchmarks if (name, variant) in ends]
        members = [name for name in members if not any(name in parts_of.get(whole, ()) for whole in members)]
        if len(members) < 2:
            continue
        values, spreads, resampled = [], [], False
        for number, name in enumerate(members):
            found = points(curves[name, variant])
            # The last evaluation at or before each fraction of training.
            at = np.searchsorted(found.env_steps, FRACTIONS * ends[name, variant] * (1 + 1e-9), side="right") - 1
            known = np.where(at[:, None] >= 0, found.values[np.maximum(at, 0)], np.nan)
            values.append(iqm(known, found.strata.once(), found.strata)[:, 0])
            counts = found.strata.resampled(np.random.default_rng([context.seed, number]), context.replicates)
            spreads.append(iqm(known, counts, found.strata))
            resampled |= bool(found.strata.sizes.max() > 1)
        low, high = percentile_interval(mean_of_benchmarks(spreads)) if resampled else (np.nan, np.nan)
        part = {
            "variant": variant,
            "fraction": FRACTIONS,
            "value": mean_of_benchmarks(values),
            "low": low,
            "high": high,
        }
        parts.append(pd.DataFrame(part).assign(benchmarks=len(members), names=", ".join(members)))
    return pd.concat(parts, ignore_index=True).dropna(subset="value") if parts else pd.DataFrame(columns=list(COLUMNS))


def draw(curves: pd.DataFrame, figure: Figure) -> None:
    """Draws the curves, and bars of their ends."""
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    lines = style.lines_of(curves["variant"])
    for variant, group in groups_of(curves, "variant"):
        band(left, group, "fraction", lines[str(variant)])
    left.xaxis.set_major_formatter(PercentFormatter(1))
    left.set_xlabel("fraction of training")
    left.set_ylabel("IQM, mean over benchmarks")
    ends = final(curves)
    names = [f"{one.variant}\n{one.benchmarks} benchmarks" for one in rows_of(ends)]
    style.bars(right, ends, names, [lines[variant]["color"] for variant in ends["variant"]])
    right.set_xlabel("at the end")


def final(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns the end of each curve."""
    return curves.loc[curves["fraction"] == 1].reset_index(drop=True)


def caption(curves: pd.DataFrame) -> str:
    """Returns a sentence that says which benchmarks each average is over."""
    members = {one.variant: one.names for one in rows_of(final(curves))}
    if len(set(members.values())) == 1:
        over = f"over {next(iter(members.values()))}"
    else:
        over = "over different benchmarks, so the variants do not compare: " + "; ".join(
            f"{variant}: {names}" for variant, names in members.items()
        )
    return (
        f"Mean, of equal weight a benchmark, of the IQM {over}. x: fraction of each benchmark's training. "
        "95% stratified-bootstrap interval, each benchmark resampled on its own; none where no task has two seeds."
    )
