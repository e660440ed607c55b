"""Each task's raw return or success against env steps: the mean over seeds, and every seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of
from analysis.variants import short_task

FEW_TASKS = 16
COLUMNS_OF_FEW, COLUMNS_OF_MANY = 4, 6
PANEL_IN = (1.9, 1.55)
SMALL_PANEL_IN = (1.3, 1.1)
TITLE_LENGTH = 20
DENSE = 100
"""From more evaluations than this on, single seeds would hide each other."""
COLUMNS = ("benchmark", "task", "variant", "metric", "env_steps", "mean", "seeds")
NAMES = {"return": "return", "success": "success rate"}


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure of one benchmark's tasks."""
    curves = compute(context)
    yield context.plot(
        "learning_curves",
        "Each task",
        caption(curves),
        curves,
        draw,
        figure_size(curves),
        notes=context.common_of_all_tasks.left_out,
        summary=final(curves),
    )


def compute(context: Context) -> pd.DataFrame:
    """Returns every seed's value at every evaluation, beside the mean over seeds, of one benchmark.

    Returns:
      Columns benchmark, task, variant, metric ("return" or "success", by which the task is judged), env_steps; mean
      and seeds: over how many seeds, where all the variant's runs have been evaluated, else NaN and 0; and a column
      "seed <n>" for each seed, NaN where a variant lacks it.
    """
    table = context.table
    value = table["return_"].where(table["score_metric"] == "return", table["success"])
    point = ["benchmark", "task", "variant", "score_metric", "env_steps"]
    rows = table[[*point, "seed"]].assign(
        value=value, averaged=table.index.isin(context.common_of_all_tasks.table.index)
    )
    averaged = rows.loc[rows["averaged"]].groupby(point, sort=False)["value"].agg(["mean", "count"])
    by_seed = rows.pivot(index=point, columns="seed", values="value").add_prefix("seed ")
    order = pd.MultiIndex.from_frame(rows.drop_duplicates(point).filter(point))
    found = by_seed.assign(mean=averaged["mean"], seeds=averaged["count"]).loc[order].reset_index()
    found = found.rename(columns={"score_metric": "metric"}).fillna({"seeds": 0}).astype({"seeds": int})
    return found.reindex(columns=[*COLUMNS, *by_seed.columns])


def seeds_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns the columns of single seeds."""
    return curves.drop(columns=list(COLUMNS))


def final(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns the last mean of each task and variant."""
    means = curves.dropna(subset="mean").filter(list(COLUMNS))
    return means.drop_duplicates(["task", "variant"], keep="last")


def figure_size(curves: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches for the tasks of `compute`'s table."""
    rows, columns, (width, height) = _grid(len(distinct(curves, "task")))
    return max(style.COLUMN_IN, width * columns), height * rows + _top_in(curves) + 0.15


def draw(curves: pd.DataFrame, figure: Figure) -> None:
    """Draws a panel for each task of one benchmark, with a line for each variant."""
    by_task = dict(groups_of(curves, "task"))
    lines = style.lines_of(curves["variant"])
    rows, columns, (width, height) = _grid(len(by_task))
    full_width, full_height = figure.get_size_inches()
    small = len(by_task) > FEW_TASKS
    gap_x, gap_y = (0.25, 0.32) if small else (0.5, 0.5)
    frame = {
        "left": 0.5 / full_width,
        "right": 1 - 0.08 / full_width,
        "top": 1 - (_top_in(curves) + 0.2) / full_height,
        "bottom": 0.38 / full_height,
        "wspace": gap_x / (width - gap_x),
        "hspace": gap_y / (height - gap_y),
    }
    # Solving the layout of a hundred panels, or sharing axes among them, would take most of the time.
    figure.set_layout_engine("none")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=frame).ravel()
    steps = curves["env_steps"].min(), curves["env_steps"].max()
    margin = 0.04 * max(1, steps[1] - steps[0])
    same_scale = set(curves["metric"]) == {"success"}
    for number, (ax, (task, group)) in enumerate(zip(axes, by_task.items(), strict=False)):
        _draw_task(ax, group, lines)
        title = short_task(str(task))
        title = title if len(title) <= TITLE_LENGTH else f"{title[: TITLE_LENGTH - 1]}…"
        ax.set_title(title, fontsize=6 if small else 8, pad=3)
        ax.set_xlim(steps[0] - margin, steps[1] + margin)
        is_bottom, is_left = number + columns >= len(by_task), number % columns == 0
        size = 5 if small else 7
        ax.tick_params(labelbottom=is_bottom, labelleft=is_left or not same_scale, labelsize=size, pad=1.5)
        if is_bottom:
            ax.set_xlabel("env steps" if small else "env steps per task")
        if is_left or (not small and len(distinct(curves, "metric")) > 1):
            ax.set_ylabel(NAMES[str(group["metric"].iloc[0])])
    for unused in axes[len(by_task) :]:
        unused.set_visible(False)
    style.legend(figure, lines)


def _draw_task(ax: Axes, curves: pd.DataFrame, lines: dict[str, dict[str, Any]]) -> None:
    for variant, group in groups_of(curves, "variant"):
        line: Any = lines[str(variant)]
        x, seeds = group["env_steps"].to_numpy(float), seeds_of(group).dropna(axis=1, how="all").to_numpy(float)
        is_dense = len(group) > DENSE
        if seeds.shape[1] > 1 and is_dense:
            low, high = np.nanmin(seeds, axis=1), np.nanmax(seeds, axis=1)
            ax.fill_between(x, low, high, color=line["color"], alpha=0.2, linewidth=0)
        elif seeds.shape[1] > 1:
            # All seeds as one line with gaps between them: a figure of hundreds of lines is slow to draw.
            ends = np.full((1, seeds.shape[1]), np.nan)
            xs = np.tile([*x, np.nan], seeds.shape[1])
            ax.plot(xs, np.concatenate([seeds, ends]).T.ravel(), **line | {"linewidth": 0.5, "alpha": 0.4})
        mean = group.dropna(subset="mean")
        width = {"linewidth": 0.8 if is_dense else 1.2}
        ax.plot(mean["env_steps"], mean["mean"], **line | width, marker=style.marker_of(len(mean)), markersize=4)
    metric = str(curves["metric"].iloc[0])
    if metric == "success":
        ax.set_ylim(-0.04, 1.04)
    elif seeds_of(curves).min(axis=None) >= 0:
        top = max(1, ax.get_ylim()[1])
        ax.set_ylim(-0.04 * top, top)
    style.steps_axis(ax, 3)


def _grid(tasks: int) -> tuple[int, int, tuple[float, float]]:
    """Returns the number of rows and of columns, and the size of a panel."""
    few = tasks <= FEW_TASKS
    columns = min(COLUMNS_OF_FEW if few else COLUMNS_OF_MANY, tasks)
    return math.ceil(tasks / columns), columns, PANEL_IN if few else SMALL_PANEL_IN


def _top_in(curves: pd.DataFrame) -> float:
    """Returns the height of the legend in inches: a line for each two variants."""
    return 0.12 + 0.17 * len(distinct(curves, "variant"))


def caption(curves: pd.DataFrame) -> str:
    """Returns sentences that say what is averaged, over how many tasks and seeds."""
    seeds = [seeds_of(group).notna().any().sum() for _, group in groups_of(curves, "variant")]
    points = curves.groupby(["task", "variant"]).size()
    single = "thin: each seed" if max(points) <= DENSE else f"band, above {DENSE} evaluations: lowest to highest seed"
    what = f"Thick: mean over seeds; {single}." if max(seeds) > 1 else "One seed, so no mean over seeds."
    tasks = captions.count([len(distinct(curves, "task"))], "task")
    return f"{tasks}, {captions.count(seeds, 'seed')} a line. {what} No interval is shown."
