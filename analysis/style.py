"""One look for all figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis.frames import rows_of

DPI = 200
BAR_NAME = 38
"""Characters in a line of a bar's name."""
COLUMN_IN, PAGE_IN = 3.4, 7.0
"""Widths of a paper's column and page."""
GREY = "0.35"
DASHES = ("-", "--", ":", "-.")


def look() -> AbstractContextManager[None]:
    """Settings under which figures are made and saved; sizes in points, for a figure of a column's width."""
    return mpl.rc_context(_settings())


def _settings() -> dict[Any, Any]:
    return sns.axes_style("ticks") | {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "axes.linewidth": 0.7,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "0.92",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "pdf.fonttype": 42,  # text stays text
    }


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure, independent of any window system."""
    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def lines_of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and dash of each named line: colour-blind safe colours first, then the same ones dashed."""
    palette = sns.color_palette("colorblind")
    return {
        name: {
            "color": palette[number % len(palette)],
            "linestyle": DASHES[number // len(palette) % len(DASHES)],
        }
        for number, name in enumerate(dict.fromkeys(names))
    }


def marker_of(points: int) -> str | None:
    """A line through one point is invisible without a marker."""
    return "o" if points == 1 else None


def steps_text(env_steps: float) -> str:
    """Env steps as 250k or 1M."""
    return EngFormatter(sep="")(env_steps)


def steps_axis(ax: Axes, intervals: int) -> None:
    """Write env steps as 250k or 1M, with at most so many intervals between ticks."""
    ax.xaxis.set_major_locator(MaxNLocator(intervals, steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def legend(figure: Figure, lines: dict[str, dict[str, Any]]) -> None:
    """All lines' names above the figure, in as many columns as fit."""
    limit = int(figure.get_figwidth() * 14)
    lines = {textwrap.fill(name, limit): line for name, line in lines.items()}
    widest = max(len(part) for name in lines for part in name.splitlines())
    columns = max(1, min(len(lines), int(figure.get_figwidth() * 14 / (widest + 5))))
    handles = [Line2D([], [], label=name, **line) for name, line in lines.items()]
    where = "outside upper left" if figure.get_layout_engine() else "upper left"
    figure.legend(handles=handles, loc=where, ncols=columns)


def curves_size(names: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches of one panel of a column's width under a legend of so many names."""
    return COLUMN_IN, 2.3 + 0.17 * sum(1 + len(name) // int(COLUMN_IN * 14) for name in names)


def bars(ax: Axes, rows: pd.DataFrame, names: Sequence[str], colors: Sequence[Any]) -> None:
    """Draws horizontal intervals `low` to `high` with a mark at `value`, one a row, the first on top.

    Args:
      ax: the panel.
      rows: the columns value, low and high.
      names: the label of each row.
      colors: the colour of each row.
    """
    for position, (row, color) in enumerate(zip(rows_of(rows), colors, strict=True)):
        if row.high > row.low:
            ax.barh(position, row.high - row.low, left=row.low, height=0.6, color=color, alpha=0.55, linewidth=0)
        ax.plot([row.value, row.value], [position - 0.3, position + 0.3], color=color, linewidth=1.8)
    wrapped = ["\n".join(textwrap.fill(line, BAR_NAME) for line in name.splitlines()) for name in names]
    ax.set_yticks(range(len(rows)), wrapped)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.use_sticky_edges = False
    ax.margins(x=0.06)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def bars_to_the_end(ax: Axes, rows: pd.DataFrame, lines: Mapping[str, Mapping[str, Any]], end: float) -> None:
    """Draws the intervals of variants as `bars` does, cut at `end`; an arrow stands there for an infinite value.

    Args:
      ax: the panel.
      rows: the columns variant, value, low and high.
      lines: how each variant is drawn, as `lines_of` says.
      end: the last value of the axis.
    """
    shown = rows.assign(high=rows["high"].clip(upper=end), low=rows["low"].clip(upper=end))
    colors = [lines[variant]["color"] for variant in rows["variant"]]
    bars(ax, shown.replace({"value": {np.inf: np.nan}}), list(rows["variant"]), colors)
    for position, (value, color) in enumerate(zip(rows["value"], colors, strict=True)):
        if np.isinf(value):
            ax.plot(end, position, marker=">", color=color, markersize=5)
    ax.set_xlim(0, end * 1.03)


def sized(names: pd.DataFrame, lines: int = 1) -> dict[str, str]:
    """Variant -> its name with what it is an average over; from columns variant, seeds, most_seeds, tasks.

    Args:
      names: any rows with those columns.
      lines: 1 or 2.
    """
    begin, end = (" (", ")") if lines == 1 else ("\n", "")
    found = {}
    for one in rows_of(names.drop_duplicates("variant")):
        over = f"{count([one.seeds, one.most_seeds], 'seed')}, {count([one.tasks], 'task')}"
        found[one.variant] = f"{one.variant}{begin}{over}{end}"
    return found


def count(numbers: Iterable[Any], noun: str) -> str:
    """`3 seeds`, `1 seed` or `1 to 3 seeds`."""
    low, *_, high = sorted([*numbers] * 2)
    return f"{low if low == high else f'{low} to {high}'} {noun}{'' if high == 1 else 's'}"
