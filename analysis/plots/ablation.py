"""What changing one setting does to the final score."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import groups_of, rows_of
from analysis.plots import final
from analysis.variants import BENCHMARK, CRITIC_SIZE, MULTI, SEED, TASKS
from conf.typed import show

COLUMNS = (*final.COLUMNS, "change")


def figures(context: Context) -> Iterator[Plot]:
    """Yields a figure for each mode (multi-task, single-task) that has variants with one changed setting."""
    for mode, values in groups_of(compute(context), "mode"):
        caption = (
            f"{mode}, at {captions.steps(values)} env steps per task: one setting changed. {captions.iqm_over(values)}"
        )
        name, size = "ablation" if mode == MULTI else "ablation-single", figure_size(values)
        yield context.plot(name, "Ablations", caption, values, draw, size, notes=context.uncompared)


def compute(context: Context) -> pd.DataFrame:
    """Computes the final IQM of a base variant and of those that differ in one setting, the critic's size aside.

    The base of a benchmark and mode has the most common value of most settings; among variants of equal claim, the
    first in the table is the base.

    Returns:
      `COLUMNS`: `change` is "key=value", of the base "base"; no rows for a benchmark without such variants.
    """
    parts = []
    for (benchmark, mode), members in groups_of(context.runs, "benchmark", "mode"):
        settings = {one.variant: _comparable(one.settings) for one in rows_of(members)}
        changes = _changes(settings)
        if len(changes) < 2:
            continue
        table = context.table
        rows = table.loc[(table["benchmark"] == benchmark) & (table["mode"] == mode) & table["variant"].isin(changes)]
        finals = final.iqms(final.compute(context.narrowed(rows)))
        parts.append(finals.assign(change=[changes[variant] for variant in finals["variant"]]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _comparable(settings: dict) -> dict[str, str]:
    """Settings that make an ablation, as text."""
    return {key: json.dumps(value) for key, value in settings.items() if key not in (SEED, BENCHMARK, TASKS)}


def _changes(settings: dict[str, dict[str, str]]) -> dict[str, str]:
    """Variant -> what it changes about the base, of the base and those with one change."""
    keys = dict.fromkeys(key for one in settings.values() for key in one)
    usual = {key: Counter(one.get(key) for one in settings.values()).most_common(1)[0][0] for key in keys}

    def changed(one: dict[str, str], base: dict[str, str | None]) -> list[str]:
        return [key for key in keys if one.get(key) != base.get(key)]

    base = min(settings, key=lambda name: len(changed(settings[name], usual)))
    found = {base: "base"}
    for name, one in settings.items():
        differing = changed(one, dict(settings[base]))
        if len(differing) == 1 and differing[0] not in CRITIC_SIZE:
            value = one.get(differing[0])
            found[name] = f"{differing[0]}={show(json.loads(value)) if value is not None else 'unset'}"
    return found


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.PAGE_IN * 0.75, 0.6 + 0.24 * len(values)


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a bar for each change of one benchmark and mode; the base is on top and a dashed line."""
    ax = figure.subplots()
    ordered = pd.concat([values.loc[values["change"] == "base"], values.loc[values["change"] != "base"]])
    grey, color = "0.45", next(iter(style.lines_of([""]).values()))["color"]
    colors = [grey if change == "base" else color for change in ordered["change"]]
    names = [f"base: {one.variant}" if one.change == "base" else one.change for one in rows_of(ordered)]
    style.bars(ax, ordered, names, colors)
    base = ordered["value"].iloc[0]
    if np.isfinite(base):
        ax.axvline(base, color=grey, linewidth=0.8, linestyle="--")
    ax.set_xlabel("normalised score, IQM")
