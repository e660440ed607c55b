"""How tasks help or hinder each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis import style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of
from analysis.select import points, shared_tasks
from analysis.variants import MULTI, SINGLE, short_task

MAX_COLUMNS = 10
MEASURE = "multi-task minus single-task score"
COLUMNS = ("benchmark", "variant", "row", "column", "value", "seeds", "most_seeds")


def figures(context: Context) -> Iterator[Plot]:
    """Yields a figure for each variant that was run both ways."""
    for number, (_, values) in enumerate(groups_of(compute(context), "variant")):
        name = f"interference{f'-{number + 1}' if number else ''}"
        summary = values.pivot(index="row", columns="column", values="value").reset_index()
        size = figure_size(values)
        yield context.plot(
            name, "Interference", caption(values), values, draw, size, notes=context.uncompared, summary=summary
        )


def compute(context: Context) -> pd.DataFrame:
    """Computes what each task gains or loses by being learned together with the others.

    Returns:
      `COLUMNS`: `row` is a task, `column` env steps, `value` how much higher (or lower: interference) the task's mean
      normalised score is when it is learned together with the others than when it is learned alone.
    """
    parts = []
    for benchmark, group in groups_of(context.common.table, "benchmark"):
        names = set(group["variant"])
        for multi in group.loc[group["mode"] == MULTI, "variant"].unique():
            single = f"{multi} {SINGLE}"
            if single in names:
                parts += _of_scores(str(benchmark), str(multi), group.loc[group["variant"].isin([multi, single])])
    return pd.DataFrame(parts, columns=list(COLUMNS))


def _of_scores(benchmark: str, variant: str, rows: pd.DataFrame) -> list[tuple]:
    both = shared_tasks(rows).table
    if len(distinct(both, "variant")) < 2:
        return []
    multi, single = (points(both.loc[both["mode"] == mode]) for mode in (MULTI, SINGLE))
    steps = np.intersect1d(multi.env_steps, single.env_steps)
    steps = steps[steps > 0]
    if len(steps) > MAX_COLUMNS:
        steps = steps[np.linspace(0, len(steps) - 1, MAX_COLUMNS + 1).round().astype(int)[1:]]
    means = [
        np.add.reduceat(one.values[np.isin(one.env_steps, steps)], one.strata.starts, axis=1) / one.strata.sizes
        for one in (multi, single)
    ]
    sizes = np.concatenate([multi.strata.sizes, single.strata.sizes])
    seeds = int(sizes.min()), int(sizes.max())
    return [
        (benchmark, variant, task, int(at), means[0][i, j] - means[1][i, j], *seeds)
        for j, task in enumerate(multi.tasks)
        for i, at in enumerate(steps)
    ]


def figure_size(values: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches."""
    rows, columns = len(distinct(values, "row")), len(distinct(values, "column"))
    return max(style.COLUMN_IN, min(style.PAGE_IN, 1.9 + 0.26 * columns)), max(2.2, 0.9 + 0.125 * rows)


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Blue where tasks help, red where they hinder; of one benchmark and variant."""
    ax = figure.subplots()
    means = {task: float(np.mean(group["value"])) for task, group in groups_of(values, "row")}
    order = sorted(means, key=lambda task: -means[task])
    matrix = values.pivot(index="row", columns="column", values="value").loc[order]
    names = [style.steps_text(steps) for steps in matrix.columns]
    limit = max(0.05, float(np.nanmax(np.abs(matrix.to_numpy(float)))))
    rows = [short_task(task) for task in order]
    heat = {"cmap": "RdBu", "vmin": -limit, "vmax": limit, "cbar_kws": {"label": MEASURE}}
    sns.heatmap(matrix.astype(float), ax=ax, xticklabels=names, yticklabels=rows, **heat)
    ax.tick_params(labelsize=5.5, length=0)
    ax.tick_params(axis="x", rotation=60)
    ax.set_ylabel("")
    ax.set_xlabel("env steps per task")


def caption(values: pd.DataFrame) -> str:
    """What the colours are."""
    one = values.iloc[0]
    seeds = style.count([one.seeds, one.most_seeds], "seed")
    tasks = f"{style.count([len(distinct(values, 'row'))], 'task')}, {seeds}"
    return (
        f"{one.variant}, {tasks}: a task's mean score when learned together minus its score when learned alone, "
        "over training. Red: hindered. No interval is shown."
    )
