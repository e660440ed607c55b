"""One look for all figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

DPI = 200
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
        "savefig.dpi": DPI,
    }


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure, independent of any window system."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


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


def steps_axis(ax: Axes, intervals: int) -> None:
    """Write env steps as 250k or 1M, with at most so many intervals between ticks."""
    ax.xaxis.set_major_locator(MaxNLocator(intervals, steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))


def legend(figure: Figure, lines: dict[str, dict[str, Any]]) -> None:
    """All lines' names above the figure, in as many columns as fit."""
    widest = max(map(len, lines))
    columns = max(1, min(len(lines), int(figure.get_figwidth() * 14 / (widest + 5))))
    handles = [Line2D([], [], label=name, **line) for name, line in lines.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def caption(figure: Figure, text: str) -> None:
    """Small print under the figure, wrapped to its width."""
    columns = int(figure.get_figwidth() * 19)
    figure.supxlabel(textwrap.fill(text, columns), x=0.01, ha="left", fontsize=6.5, color=GREY)


def count(numbers: Iterable[Any], noun: str) -> str:
    """`3 seeds`, `1 seed` or `1 to 3 seeds`."""
    low, *_, high = sorted([*numbers] * 2)
    return f"{low if low == high else f'{low} to {high}'} {noun}{'' if high == 1 else 's'}"
