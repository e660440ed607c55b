"""Interquartile mean of normalised scores over tasks and seeds, against env steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import groups_of
from analysis.select import Points, common_steps, points, scored
from analysis.stats import CONFIDENCE, REPLICATES, estimate, iqm

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


def compute(table: pd.DataFrame, seed: int = 0, replicates: int = REPLICATES) -> pd.DataFrame:
    """The IQM of each variant at each evaluation that all its runs have reached, with its interval.

    Args:
      table: of `analysis.load`. Tasks without a score are left out (`analysis.select.scored`).
      seed: of the bootstrap. Each variant's interval depends on its own scores and this number alone.
      replicates: of the bootstrap.
    Returns:
      `COLUMNS`; `low` and `high` end the 95 % stratified-bootstrap interval over seeds and are NaN with one seed,
      which allows none. `seeds` and `most_seeds` are the fewest and the most of any task.
    """
    parts = []
    for _, group in groups_of(common_steps(scored(table).table).table, "benchmark", "variant"):
        found = points(group)
        iqms = estimate(found.values, found.strata, iqm, np.random.default_rng(seed), replicates)
        parts.append(
            described(group, found).assign(env_steps=found.env_steps, value=iqms.value, low=iqms.low, high=iqms.high)[
                list(COLUMNS)
            ]
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def described(rows: pd.DataFrame, found: Points) -> pd.DataFrame:
    """For each point of a variant, what it is of: the columns of `COLUMNS` that no statistic gives."""
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


def figure_size(curves: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    return style.curves_size(list(style.sized(curves).values()))


def draw(curves: pd.DataFrame, figure: Figure) -> None:
    """A line and a band a variant; `curves` of one benchmark, from `compute`."""
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
    """One line with its interval."""
    ax.plot(group[x], group["value"], **line, marker=style.marker_of(len(group)))
    if len(group) == 1:
        ax.vlines(group[x], group["low"], group["high"], color=line["color"])
    else:
        low, high = group["low"].to_numpy(float), group["high"].to_numpy(float)
        ax.fill_between(group[x], low, high, color=line["color"], alpha=0.18, linewidth=0)


def describe(rows: pd.DataFrame) -> str:
    """How many seeds and tasks the rows are of, and what their interval is."""
    by_variant = rows.drop_duplicates(["benchmark", "variant"])
    seeds = style.count([*by_variant["seeds"], *by_variant["most_seeds"]], "seed")
    over = f"IQM over {style.count(by_variant['tasks'], 'task')} and {seeds}"
    single = by_variant.loc[by_variant["most_seeds"] == 1, "variant"].unique()
    interval = f"{CONFIDENCE:.0%} stratified-bootstrap interval over seeds"
    if len(single) and max(by_variant["most_seeds"]) == 1:
        return f"{over}. No interval: one seed says nothing about the spread over seeds."
    if len(single):
        return f"{over}; {interval}, none where there is one seed ({', '.join(single)})."
    return f"{over}; {interval}."
