"""Multi-task against single-task learning on the same tasks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of, rows_of
from analysis.plots import final
from analysis.select import shared_tasks
from analysis.variants import MULTI, setting

COLUMNS = (*final.COLUMNS, "setting")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figure, where some setting was trained in both modes."""
    values = compute(context)
    if len(values):
        caption = (
            f"Final scores over the tasks that both have, at {captions.steps(values)} env steps per task. "
            f"{captions.iqm_over(values)}"
        )
        title, size = "Multi-task against single-task", figure_size(values)
        yield context.plot("modes", title, caption, values, draw, size, notes=[])


def compute(context: Context) -> pd.DataFrame:
    """Computes the final IQM of both modes of each setting that has both, over the tasks that both have.

    Returns:
      `COLUMNS`; two rows for each benchmark and setting.
    """
    rows = context.table.assign(setting=[setting(variant) for variant in context.table["variant"]])
    parts = []
    for _, group in groups_of(rows, "benchmark", "setting"):
        if len(distinct(group, "mode")) == 2:
            finals = final.iqms(final.compute(context.narrowed(shared_tasks(group).table)))
            if len(finals) == 2:
                parts.append(finals.assign(setting=group["setting"].iloc[0]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def figure_size(finals: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    groups = len(finals) // 2
    return min(style.PAGE_IN, max(style.COLUMN_IN, 0.9 * groups + 0.6)), 2.9


def draw(finals: pd.DataFrame, figure: Figure) -> None:
    """Draws two bars for each benchmark and setting."""
    ax = figure.subplots()
    several = len(distinct(finals, "setting")) > 1
    groups = list(rows_of(finals.drop_duplicates(["benchmark", "setting"])))
    lines = style.lines_of([MULTI, "single-task"])
    for number, mode in enumerate(lines):
        rows = finals.loc[finals["mode"] == mode]
        x = np.arange(len(groups)) + 0.38 * (number - 0.5)
        ax.bar(x, rows["value"], 0.36, color=lines[mode]["color"], alpha=0.85, linewidth=0)
        ax.vlines(x, rows["low"], rows["high"], color="0.2", linewidth=1.2)
    names = [f"{one.benchmark}\n{one.setting}" if several else one.benchmark for one in groups]
    wrapped = [name.replace("_", "_\n", 1) for name in names]
    ax.set_xticks(range(len(groups)), wrapped, fontsize=6.5)
    ax.set_ylabel("normalised score, IQM")
    ax.grid(axis="x", visible=False)
    handles = {mode: {"color": line["color"], "linewidth": 6} for mode, line in lines.items()}
    style.legend(figure, handles)
