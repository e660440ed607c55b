"""Whether two sets of runs differ: the difference of their scores on each benchmark and over all."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import groups_of, rows_of
from analysis.select import Selection, at_end, common_steps, points, scored, shared_tasks
from analysis.stats import (
    REPLICATES,
    differences,
    improvement_by_task,
    iqm,
    mean_of_benchmarks,
    paired_differences,
    percentile_interval,
)

A, B = "A", "B"
OVERALL = "over all"
COLUMNS = (
    "benchmark",
    "iqm_a",
    "iqm_b",
    "value",
    "low",
    "high",
    "improvement",
    "env_steps",
    "tasks",
    "better",
    "worse",
    "pairs",
    "narrower",
)


def comparable(table: pd.DataFrame) -> Selection:
    """The final scores that A and B share: benchmarks, tasks and length of training.

    Args:
      table: of `analysis.load`, with variants `A` and `B`.
    """
    usable = scored(table)
    common = common_steps(usable.table)
    ends = at_end(common.table)
    both = shared_tasks(ends.table)
    alone = [name for name, group in groups_of(both.table, "benchmark") if len(set(group["variant"])) < 2]
    notes = [f"{name}: only one of the two has it" for name in alone]
    rows = both.table.loc[~both.table["benchmark"].isin(alone)]
    return Selection(rows, [*usable.left_out, *common.left_out, *ends.left_out, *both.left_out, *notes])


def compute(
    rows: pd.DataFrame, seed: int = 0, replicates: int = REPLICATES, paired: Collection[str] = ()
) -> pd.DataFrame:
    """B minus A in IQM on each benchmark and, where there are several, as their mean of equal weight.

    Args:
      rows: of `comparable`.
      seed, replicates: of the bootstrap, which resamples A and B independently, but pairs of runs as pairs.
      paired: the benchmarks on which runs of A and B with one seed are pairs (`analysis.pairs.paired_benchmarks`).
    Returns:
      `COLUMNS`: `value` is the difference of IQMs with its interval (NaN where A or B has one seed of every task),
      `improvement` P(a run of B scores above one of A), `better` and `worse` how many tasks B differs on at a
      false-discovery rate of 5 %. `pairs` is the number of pairs of runs, and `narrower` the share by which their
      interval is narrower than if A and B were resampled independently; 0 and NaN where there are none.
    """
    parts, spreads, independents = [], [], []
    for number, (benchmark, group) in enumerate(groups_of(rows, "benchmark")):
        a, b = (points(group.loc[group["variant"] == name]) for name in (A, B))
        once = a.strata.once(), b.strata.once()
        iqms = [float(iqm(one.values, count, one.strata)[0, 0]) for one, count in zip((a, b), once, strict=True)]
        rng = np.random.default_rng([seed, number])
        counts = [one.strata.resampled(rng, replicates) for one in (a, b)]
        drawn = [iqm(one.values, count, one.strata)[0] for one, count in zip((a, b), counts, strict=True)]
        can_vary = min(a.strata.sizes.max(), b.strata.sizes.max()) > 1
        independent = drawn[1] - drawn[0] if can_vary else np.full(replicates, np.nan)
        pairs = _pairs(group) if benchmark in paired and can_vary else 0
        spread = iqm(b.values, counts[0], b.strata)[0] - drawn[0] if pairs else independent
        spreads.append(spread)
        independents.append(independent)
        by_task = (
            paired_differences(b.values[0] - a.values[0], a.strata)
            if pairs
            else differences(b.values[0], b.strata, a.values[0], a.strata)
        )
        higher = improvement_by_task(b.values[0], once[1], b.strata, a.values[0], once[0], a.strata).mean()
        steps = int(max(a.env_steps[0], b.env_steps[0]))
        flagged = [int((by_task.flagged & (sign * by_task.value > 0)).sum()) for sign in (1, -1)]
        low, high = percentile_interval(spread)
        narrower = _narrower(spread, independent) if pairs else np.nan
        ends = (low, high, higher, steps, len(a.tasks), *flagged, pairs, narrower)
        parts.append((benchmark, *iqms, iqms[1] - iqms[0], *ends))
    found = pd.DataFrame(parts, columns=list(COLUMNS))
    if len(found) > 1:
        spread, independent = mean_of_benchmarks(spreads), mean_of_benchmarks(independents)
        low, high = percentile_interval(spread)
        means = {name: found[name].mean() for name in ("iqm_a", "iqm_b", "value", "improvement")}
        sums = {name: found[name].sum() for name in ("tasks", "better", "worse", "pairs")}
        overall = {
            "benchmark": OVERALL,
            **means,
            "low": low,
            "high": high,
            "env_steps": found["env_steps"].max(),
            **sums,
            "narrower": _narrower(spread, independent) if found["pairs"].to_numpy(int).any() else np.nan,
        }
        found = pd.concat([found, pd.DataFrame([overall])], ignore_index=True)
    return found


def _pairs(rows: pd.DataFrame) -> int:
    """The number of pairs of runs in the rows of A and B; 0 where one of the two lacks a task or seed."""
    of_a, of_b = ({(one.task, one.seed) for one in rows_of(rows.loc[rows["variant"] == name])} for name in (A, B))
    return rows.loc[rows["variant"] == A, "run"].nunique() if of_a == of_b else 0


def _narrower(spread: np.ndarray, independent: np.ndarray) -> float:
    """The share by which an interval of replicates is narrower than that of others; NaN where these do not vary."""
    widths = [float(high - low) for low, high in map(percentile_interval, (spread, independent))]
    return 1 - widths[0] / widths[1] if widths[1] > 0 else np.nan


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.COLUMN_IN * 1.2, 0.75 + 0.3 * len(values)


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """A bar a benchmark; the line at zero is where A and B are equal."""
    ax = figure.subplots()
    color = next(iter(style.lines_of([""]).values()))["color"]
    style.bars(
        ax,
        values,
        [f"{one.benchmark} ({style.count([one.tasks], 'task')})" for one in rows_of(values)],
        [color] * len(values),
    )
    ax.axvline(0, color=style.GREY, linewidth=0.8, linestyle="--")
    ax.set_xlabel("IQM of B minus IQM of A")
