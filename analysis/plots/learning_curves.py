"""Each task's raw return or success against env steps: the mean over seeds, and every seed."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.select import common_steps
from analysis.variants import short_task

MAX_COLUMNS = 4
PANEL_IN = (1.9, 1.55)
NAMES = {"return": "return", "success": "success rate"}


def compute(table: pd.DataFrame) -> pd.DataFrame:
    """Every seed's value at every evaluation, beside the mean over seeds.

    Args:
      table: of `analysis.load`.
    Returns:
      Columns benchmark, task, variant, seed, run, env_steps; metric ("return" or "success", by which the task is
      judged) and value; mean and seeds: over how many seeds, where all the variant's runs have been evaluated, else
      NaN and 0.
    """
    rows = table[["benchmark", "task", "variant", "seed", "run", "env_steps"]].assign(
        metric=table["score_metric"],
        value=table["return_"].where(table["score_metric"] == "return", table["success"]),
    )
    averaged = rows.loc[common_steps(table).table.index]
    point = ["benchmark", "task", "variant", "env_steps"]
    means = averaged.groupby(point, sort=False)["value"].agg(mean="mean", seeds="count").reset_index()
    joined = averaged.merge(means, on=point).set_index(averaged.index)
    rows["mean"] = joined["mean"]
    rows["seeds"] = joined["seeds"].reindex(rows.index, fill_value=0)
    return rows


def figure_size(curves: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches for the tasks of `compute`'s table."""
    rows, columns = _grid(len(curves["task"].unique()))
    return max(3.4, PANEL_IN[0] * columns), PANEL_IN[1] * rows + 0.75


def draw(curves: pd.DataFrame, figure: Figure) -> None:
    """One panel a task, one line a variant; `curves` of one benchmark, from `compute`."""
    tasks = list(dict.fromkeys(curves["task"]))
    lines = style.lines_of(curves["variant"])
    rows, columns = _grid(len(tasks))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for ax, task in zip(axes, tasks, strict=False):
        _draw_task(ax, curves.loc[curves["task"] == task], lines)
        ax.set_title(short_task(task))
    for unused in axes[len(tasks) :]:
        unused.set_visible(False)
    for ax in axes[(rows - 1) * columns : len(tasks)]:
        ax.set_xlabel("env steps per task")
    for number, ax in enumerate(axes):
        ax.tick_params(labelbottom=True)
        if number % columns and len(set(curves["metric"])) == 1:
            ax.set_ylabel("")
    style.legend(figure, lines)
    style.caption(figure, _caption(curves))


def _draw_task(ax: Axes, curves: pd.DataFrame, lines: dict[str, dict[str, Any]]) -> None:
    for variant, group in curves.groupby("variant", sort=False):
        line = lines[str(variant)]
        if len(set(group["seed"])) > 1:
            for _, seed in group.groupby("seed"):
                ax.plot(seed["env_steps"], seed["value"], **line, linewidth=0.6, alpha=0.4)
        mean = group.dropna(subset="mean").drop_duplicates("env_steps")
        ax.plot(mean["env_steps"], mean["mean"], **line, marker=style.marker_of(len(mean)), markersize=4)
    metric = str(curves["metric"].iloc[0])
    if metric == "success":
        ax.set_ylim(-0.04, 1.04)
    elif min(curves["value"]) >= 0:
        top = max(1, ax.get_ylim()[1])
        ax.set_ylim(-0.04 * top, top)
    ax.set_ylabel(NAMES[metric])
    style.steps_axis(ax, 4)


def _grid(tasks: int) -> tuple[int, int]:
    columns = min(MAX_COLUMNS, tasks)
    return math.ceil(tasks / columns), columns


def _caption(curves: pd.DataFrame) -> str:
    seeds = [len(set(group["seed"])) for _, group in curves.groupby("variant")]
    tasks = style.count([len(set(curves["task"]))], "task")
    what = "Thick: mean over seeds; thin: each seed." if max(seeds) > 1 else "One seed, so no mean over seeds."
    return f"{curves['benchmark'].iloc[0]}: {tasks}, {style.count(seeds, 'seed')} a line. {what} No interval is shown."
