"""The difference between two variants on each task, and which of them stand when all tasks are looked at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of, rows_of
from analysis.select import points
from analysis.stats import differences
from analysis.variants import MULTI, SINGLE, setting, short_task

COLUMNS = (
    "benchmark",
    "a",
    "b",
    "task",
    "mean_a",
    "mean_b",
    "value",
    "low",
    "high",
    "p",
    "flagged",
    "seeds_a",
    "seeds_b",
)


def figures(context: Context) -> Iterator[Plot]:
    """Yields a figure for each pair of variants that is compared."""
    for number, (a, b) in enumerate(pairs(context)):
        values = compute(context, a, b)
        if len(values):
            name = f"differences{f'-{number + 1}' if number else ''}"
            title, size = f"Task by task: {a} and {b}", figure_size(values)
            yield context.plot(name, title, caption(values), values, draw, size, notes=context.uncompared)


def pairs(context: Context) -> list[tuple[str, str]]:
    """Chooses which variants of one benchmark are compared task by task.

    Returns:
      The two modes of each setting, and the best of our variants with the published curves of the same mode; where
      there is neither, the only two variants that there are.
    """
    names = context.table.drop_duplicates("variant").set_index("variant").filter(["mode", "agent"])
    multi = [name for name in names.index if names.at[name, "mode"] == MULTI]
    found = [(name, f"{name} {SINGLE}") for name in multi if f"{name} {SINGLE}" in names.index]
    published = [name for name in names.index if str(names.at[name, "agent"]).endswith("(published)")]
    ends = groups_of(context.ends.table, "variant") if published else ()
    means = {variant: float(np.mean(group["score"])) for variant, group in ends}
    for theirs in published:
        ours = [one for one in means if one not in published and names.at[one, "mode"] == names.at[theirs, "mode"]]
        found += [(max(ours, key=lambda one: means[one]), theirs)] if ours else []
    return found or ([(names.index[0], names.index[1])] if len(names) == 2 else [])


def compute(context: Context, a: str, b: str) -> pd.DataFrame:
    """Computes A minus B in final normalised score on each task that both have, largest first.

    Args:
      context: the context of one benchmark.
      a: the name of a variant.
      b: the name of the variant that is subtracted.
    Returns:
      `COLUMNS`: Welch's interval and p, and `flagged` at a false-discovery rate of 5 % over the tasks
      (`analysis.stats.differences`).
    """
    both = context.narrowed(context.table.loc[context.table["variant"].isin([a, b])]).shared.table
    if len(distinct(both, "variant")) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    of_a, of_b = (points(both.loc[both["variant"] == name]) for name in (a, b))
    found = differences(of_a.values[0], of_a.strata, of_b.values[0], of_b.strata)
    means = [both.loc[both["variant"] == name].groupby("task")["score"].mean().loc[of_a.tasks] for name in (a, b)]
    values = pd.DataFrame(
        {
            "benchmark": both["benchmark"].iloc[0],
            "a": a,
            "b": b,
            "task": of_a.tasks,
            "mean_a": means[0].to_numpy(),
            "mean_b": means[1].to_numpy(),
            **found._asdict(),
            "seeds_a": of_a.strata.sizes,
            "seeds_b": of_b.strata.sizes,
        }
    )
    return values.sort_values("value", ascending=False, kind="stable", ignore_index=True).reindex(columns=list(COLUMNS))


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.COLUMN_IN * 1.3, 0.9 + 0.115 * len(values)


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a mark and an interval for each task, coloured where the difference stands."""
    ax = figure.subplots()
    better, worse = (line["color"] for line in style.lines_of([MULTI, SINGLE]).values())
    colors = [style.GREY if not one.flagged else better if one.value > 0 else worse for one in rows_of(values)]
    y = range(len(values))
    # An interval of few seeds can be wider than any score; it is cut at the axis.
    limit = 1.15 * max(0.1, float(np.abs(values["value"].to_numpy(float)).max()))
    ax.hlines(y, values["low"].clip(-limit, limit), values["high"].clip(-limit, limit), color=colors, linewidth=0.8)
    ax.scatter(values["value"], y, color=colors, s=9, zorder=3)
    ax.set_yticks(y, [short_task(task) for task in values["task"]], fontsize=5.5)
    ax.set_ylim(len(values) - 0.4, -0.6)
    ax.set_xlim(-limit, limit)
    ax.axvline(0, color=style.GREY, linewidth=0.8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", linewidth=0.3)
    ax.set_xlabel("difference in normalised score")
    a, b = values["a"].iloc[0], values["b"].iloc[0]
    short_b = SINGLE if setting(a) == setting(b) else b
    marks = {f"{a} better": better, f"{short_b} better": worse, "not told apart": style.GREY}
    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, label=name, markersize=3.5)
        for name, color in marks.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=1 if len(a) + len(b) > 30 else 3)


def caption(values: pd.DataFrame) -> str:
    """Returns sentences that say over how many tasks and seeds, and how many differences stand."""
    one = values.iloc[0]
    seeds = [captions.count(values[column], "seed") for column in ("seeds_a", "seeds_b")]
    up = np.count_nonzero(values["flagged"] & (values["value"] > 0))
    down = np.count_nonzero(values["flagged"] & (values["value"] < 0))
    untested = np.count_nonzero(values["p"].isna())
    text = (
        f"{one.a} ({seeds[0]}) minus {one.b} ({seeds[1]}) on {captions.count([len(values)], 'task')}, with Welch's 95% "
        f"interval. Coloured where it stands at a false-discovery rate of 5% over the tasks: {up} better, {down} worse."
    )
    return f"{text} No test on {captions.count([untested], 'task')} for want of seeds." if untested else text
