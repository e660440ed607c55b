"""How the tasks' gradients of the critic lie to each other, where runs have measured it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of, rows_of
from analysis.variants import short_task
from records.decode import DamagedRecordError
from records.interference import Interference, measurements

COLUMNS = (
    "benchmark",
    "variant",
    "family",
    "width",
    "env_steps",
    "value",
    "cosine",
    "td_error",
    "td_spread",
    "grad_norm_ratio",
    "seeds",
    "tasks",
)
PAIR_COLUMNS = ("benchmark", "variant", "task", "other", "env_steps", "value", "seeds")
MOST_MAPS = 6


def figures(context: Context) -> Iterator[Plot]:
    """Yields the conflict rate by width and over training, and a map of the pairs of tasks for each variant."""
    found = measured(context)
    rates = compute(context, found)
    if not len(rates):
        return
    yield context.plot(
        "conflict",
        "Conflicting gradients",
        caption(rates),
        rates,
        draw,
        (style.PAGE_IN, 2.7 + 0.17 * len(distinct(rates, "family"))),
        notes=[],
        summary=last(rates),
    )
    for number, (_, pairs) in enumerate(groups_of(cosines(context, found), "variant")):
        if number < MOST_MAPS:
            name = f"gradients{f'-{number + 1}' if number else ''}"
            size = map_size(pairs)
            yield context.plot(name, "Gradients, task by task", map_caption(pairs), pairs, draw_map, size, notes=[])


def measured(context: Context) -> dict[str, list[Interference]]:
    """Reads the measurements of every run of several tasks, by the run's name; damaged files are left out."""
    found: dict[str, list[Interference]] = {}
    for run in rows_of(context.runs):
        try:
            points = [one for one in measurements(Path(run.folder or "/nonexistent")) if len(one.tasks) > 1]
        except DamagedRecordError:
            continue
        if points:
            found[run.run] = points
    return found


def compute(context: Context, found: dict[str, list[Interference]]) -> pd.DataFrame:
    """Computes how often gradients conflict, for each variant at each step that any of its seeds has measured.

    Args:
      context: of one benchmark.
      found: what `measured` returns.
    Returns:
      `COLUMNS`, means over seeds: `value` is the share of pairs of tasks with a cosine below 0, `cosine` the mean over
      pairs, `td_error` and `td_spread` means over tasks, `grad_norm_ratio` the largest norm over the smallest.
    """
    families = dict(zip(context.table["variant"], context.table["family"], strict=True))
    rows = []
    for run in rows_of(context.runs):
        for one in found.get(run.run, []):
            pairs = one.cosine[np.triu_indices(len(one.tasks), 1)]
            rows.append(
                {
                    "benchmark": run.benchmark,
                    "variant": run.variant,
                    "family": families[run.variant],
                    "width": run.width,
                    "env_steps": one.env_steps,
                    "value": one.conflict_rate,
                    "cosine": float(pairs.mean()),
                    "td_error": float(one.td_error.mean()),
                    "td_spread": float(one.td_spread.mean()),
                    "grad_norm_ratio": float(one.grad_norm.max() / max(one.grad_norm.min(), 1e-12)),
                    "seeds": 1,
                    "tasks": len(one.tasks),
                }
            )
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    point = ["benchmark", "variant", "family", "width", "env_steps", "tasks"]
    numbers = dict.fromkeys(("value", "cosine", "td_error", "td_spread", "grad_norm_ratio"), "mean")
    means = pd.DataFrame(rows).groupby(point, sort=False).agg(numbers | {"seeds": "sum"}).reset_index()
    return means.sort_values(["family", "width", "env_steps"], kind="stable").reindex(columns=list(COLUMNS))


def cosines(context: Context, found: dict[str, list[Interference]]) -> pd.DataFrame:
    """Computes the mean cosine over seeds of each pair of tasks, at the last step that all measured seeds have.

    Args:
      context: of one benchmark.
      found: what `measured` returns.
    """
    parts = []
    for variant, runs in groups_of(context.runs, "variant"):
        series = [found[run.run] for run in rows_of(runs) if run.run in found]
        common = set.intersection(*({one.env_steps for one in points} for points in series)) if series else set()
        if not common:
            continue
        at = max(common)
        last_ones = [one for points in series for one in points if one.env_steps == at]
        tasks = last_ones[0].tasks
        same = [one.cosine for one in last_ones if one.tasks == tasks]
        mean = np.mean(same, axis=0)
        table = pd.DataFrame(
            [(task, other, mean[i, j]) for i, task in enumerate(tasks) for j, other in enumerate(tasks)],
            columns=["task", "other", "value"],
        )
        about = {"benchmark": runs["benchmark"].iloc[0], "variant": variant, "env_steps": at, "seeds": len(same)}
        parts.append(table.assign(**about).reindex(columns=list(PAIR_COLUMNS)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(PAIR_COLUMNS))


def last(rates: pd.DataFrame) -> pd.DataFrame:
    """Returns the last measurement of each variant."""
    return rates.groupby("variant", sort=False).tail(1)


def draw(rates: pd.DataFrame, figure: Figure) -> None:
    """Draws the conflict rate over training, and its last value by width."""
    over, by_width = figure.subplots(1, 2, sharey=True)
    lines = style.lines_of(rates["variant"])
    for variant, group in groups_of(rates, "variant"):
        over.plot(group["env_steps"], group["value"], marker="o", markersize=3, **lines[str(variant)])
    over.set_xlabel("env steps per task")
    over.set_ylabel("share of conflicting pairs")
    style.steps_axis(over, 4)
    families = style.lines_of(rates["family"])
    for family, group in groups_of(last(rates), "family"):
        by_width.plot(group["width"], group["value"], marker="o", markersize=4, **families[str(family)])
    by_width.set_xscale("log", base=2)
    by_width.set_xlabel("critic width, at the last measurement")
    over.set_ylim(0, 1)
    style.legend(figure, lines)


def caption(rates: pd.DataFrame) -> str:
    """Returns sentences that say what conflicts."""
    tasks, seeds = captions.count(rates["tasks"], "task"), captions.count(rates["seeds"], "seed")
    return (
        f"Share of pairs of tasks whose gradients of the critic's loss have a negative cosine ({tasks}, {seeds}), over "
        "training and by width; the tasks' own embeddings are left out of the gradients. Half of the pairs conflict "
        "where gradients have nothing to do with each other. No interval is shown."
    )


def map_size(pairs: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    side = min(style.PAGE_IN - 1.2, max(2.2, 0.9 + 0.11 * len(distinct(pairs, "task"))))
    return side + 1.2, side + 0.6


def draw_map(pairs: pd.DataFrame, figure: Figure) -> None:
    """Draws the cosines of one variant: blue where tasks pull together, red where they pull apart."""
    ax = figure.subplots()
    order = distinct(pairs, "task")
    matrix = pairs.pivot(index="task", columns="other", values="value").loc[order, order]
    names = [short_task(task) for task in order]
    bar = {"label": "cosine of gradients"}
    sns.heatmap(
        matrix.astype(float), ax=ax, cmap="RdBu", vmin=-1, vmax=1, xticklabels=names, yticklabels=names, cbar_kws=bar
    )
    ax.tick_params(labelsize=5.5, length=0)
    ax.tick_params(axis="x", rotation=90)
    ax.set_xlabel("")
    ax.set_ylabel("")


def map_caption(pairs: pd.DataFrame) -> str:
    """Returns sentences that say whose gradients these are."""
    one = pairs.iloc[0]
    return (
        f"{one.variant}, {captions.count([len(distinct(pairs, 'task'))], 'task')}, "
        f"{captions.count([one.seeds], 'seed')}, at env step {one.env_steps:,}: cosines of the tasks' gradients of the "
        "critic's loss, each projected at random. Red: an update for one task undoes the other's."
    )
