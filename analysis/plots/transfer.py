"""Learning on from another run's networks: the curves, what it saves against scratch, and what is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import distinct, groups_of, rows_of
from analysis.plots import aggregate
from analysis.select import points
from analysis.stats import CONFIDENCE, iqm, steps_to
from analysis.variants import SEED, SOURCE, TASKS
from records import layout
from records.decode import DamagedRecordError
from records.metrics import OLD_PREFIX, OLD_SCORE
from records.rows import Row, read_rows

SUFFIX = "_transfer"
"""The end of the names of benchmarks of held-out tasks."""
FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Of the way from the first to the last IQM of the runs from scratch."""
RATIO_COLUMNS = (
    "benchmark",
    "variant",
    "scratch",
    "fraction",
    "level",
    "scratch_steps",
    "transfer_steps",
    "value",
    "low",
    "high",
    "seeds",
    "most_seeds",
    "tasks",
)
OLD_COLUMNS = ("benchmark", "variant", "task", "env_steps", "value", "change", "seeds")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the curves where tasks are held out or networks taken over, and what was saved and lost where known."""
    if not (context.group.endswith(SUFFIX) or len(transferred(context))):
        return
    curves = aggregate.compute(context)
    if len(curves):
        yield context.plot(
            "transfer",
            "Transfer",
            f"{'Held-out tasks. ' if context.group.endswith(SUFFIX) else ''}{captions.iqm_over(curves)}",
            curves,
            aggregate.draw,
            aggregate.figure_size(curves),
            notes=context.unaveraged,
            summary=aggregate.last(curves),
        )
    ratios = compute(context)
    if len(ratios):
        size = ratio_size(ratios)
        yield context.plot(
            "transfer_steps",
            "Steps saved by transfer",
            ratio_caption(ratios),
            ratios,
            draw_ratios,
            size,
            notes=context.unaveraged,
        )
    old = old_scores(context)
    if len(old):
        yield context.plot(
            "transfer_old",
            "What transfer forgets",
            old_caption(old),
            old,
            draw_old,
            style.curves_size(distinct(old, "variant")),
            notes=[],
            summary=old.loc[old["env_steps"] == old.groupby("variant")["env_steps"].transform("max")],
        )


def transferred(context: Context) -> pd.DataFrame:
    """Returns the runs that began with the networks of another run."""
    began = [str(settings.get(SOURCE, "")).startswith("transfer") for settings in context.runs["settings"]]
    return context.runs.loc[began]


def compute(context: Context) -> pd.DataFrame:
    """Computes how many times as many env steps runs from scratch need for a score as runs that took networks over.

    Both variants differ in nothing but the networks that they begin with. A level lies a fraction of the way from the
    first to the last IQM of the runs from scratch. The bootstrap resamples whole curves of both.

    Returns:
      `RATIO_COLUMNS`: `value` is `scratch_steps / transfer_steps`, infinite where the transferred networks have the
      level at the start, 0 where they never reach it.
    """
    curves = {str(name): rows for name, rows in groups_of(context.common.table, "variant")}
    parts = []
    for scratch, transfer in _pairs(context):
        if scratch not in curves or transfer not in curves:
            continue
        both = [points(curves[name]) for name in (scratch, transfer)]
        means = [iqm(one.values, one.strata.once(), one.strata) for one in both]
        first, last = means[0][0, 0], means[0][-1, 0]
        if not last > first:
            continue
        rng = np.random.default_rng(context.seed)
        spreads = [iqm(one.values, one.strata.resampled(rng, context.replicates), one.strata) for one in both]
        several = all(one.strata.sizes.max() > 1 for one in both)
        about = aggregate.described(curves[transfer], both[1]).iloc[[0]]
        for fraction in FRACTIONS:
            level = first + fraction * (last - first)
            steps = [steps_to(one, found.env_steps, level) for one, found in zip(means, both, strict=True)]
            spread = ratio(*(steps_to(one, found.env_steps, level) for one, found in zip(spreads, both, strict=True)))
            low = np.percentile(spread, 50 * (1 - CONFIDENCE), method="lower") if several else np.nan
            high = np.percentile(spread, 50 * (1 + CONFIDENCE), method="higher") if several else np.nan
            parts.append(
                about.assign(
                    scratch=scratch,
                    fraction=fraction,
                    level=level,
                    scratch_steps=steps[0],
                    transfer_steps=steps[1],
                    value=ratio(*steps)[0],
                    low=low,
                    high=high,
                )[list(RATIO_COLUMNS)]
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(RATIO_COLUMNS))


def ratio(scratch: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """Computes the ratio of two numbers of steps, each of which may be 0 or infinite; 1 where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.asarray(scratch, float) / np.asarray(transfer, float)
    return np.where(np.isnan(found), 1.0, found)


def _pairs(context: Context) -> Iterator[tuple[str, str]]:
    """Names of variants that differ in the networks that they begin with alone: from scratch, and taken over."""
    settings = {one.variant: one.settings for one in rows_of(context.runs)}
    scratch = {_without_source(one): name for name, one in settings.items() if SOURCE not in one}
    for name in distinct(transferred(context), "variant"):
        if (other := scratch.get(_without_source(settings[name]))) is not None:
            yield other, name


def _without_source(settings: dict[str, Any]) -> str:
    """What a variant's settings are but for seed, source, and what is done with the source's networks."""
    single = len(settings[TASKS]) == 1  # whose conditioning may be the source's, and whose runs are one variant
    left = {
        key: value
        for key, value in settings.items()
        if key != SEED
        and key.split(".")[0] not in (SOURCE, "init")
        and not (single and key in (TASKS, "agent.conditioning"))
    }
    return json.dumps(left, sort_keys=True)


def ratio_size(values: pd.DataFrame) -> tuple[float, float]:
    """Returns width and height in inches."""
    return style.PAGE_IN, 0.9 + 0.3 * len(distinct(values, "variant"))


def draw_ratios(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a panel for each level; an arrow stands where the level is there from the start."""
    axes = figure.subplots(1, len(FRACTIONS), sharey=True, sharex=True)
    lines = style.lines_of(values["variant"])
    finite = values[["value", "low", "high"]].replace(np.inf, np.nan).to_numpy(float)
    end = 1.08 * max(1.0, np.nanmax(finite)) if np.isfinite(finite).any() else 2.0
    for ax, fraction in zip(axes, FRACTIONS, strict=True):
        rows = values.loc[values["fraction"] == fraction]
        style.bars_to_the_end(ax, rows, lines, end)
        ax.axvline(1, color=style.GREY, linewidth=0.8, linestyle="--")
        ax.set_title(f"{fraction:.0%} of scratch's gain")
    figure.supxlabel("env steps from scratch / env steps after transfer", fontsize=8)


def ratio_caption(values: pd.DataFrame) -> str:
    """Returns sentences that say what the ratios are."""
    seeds = captions.count([*values["seeds"], *values["most_seeds"]], "seed")
    text = (
        "Env steps that learning from scratch takes to reach a level, over those that learning on from the source's "
        f"networks takes ({captions.count(values['tasks'], 'task')}, {seeds}). Above 1, transfer is quicker; the steps "
        f"of the source itself are not counted. {captions.interval(values)}"
    )
    return f"{text} Arrows: there from the start." if np.isinf(values["value"].astype(float)).any() else text


def old_scores(context: Context) -> pd.DataFrame:
    """Reads how the source's other tasks score as the run goes on, where runs have evaluated them.

    Returns:
      `OLD_COLUMNS`: `value` is a task's normalised score, the mean over the seeds that were evaluated at this step, and
      `change` is what has become of the first one.
    """
    parts = []
    for one in rows_of(transferred(context)):
        rows = _old_rows(one.folder)
        found = [(row.task, row.env_steps, row.value) for row in rows if row.name == OLD_SCORE and row.task is not None]
        table = pd.DataFrame(found, columns=["task", "env_steps", "value"])
        parts.append(table.assign(benchmark=one.benchmark, variant=one.variant))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if not len(table):
        return pd.DataFrame(columns=list(OLD_COLUMNS))
    point = ["benchmark", "variant", "task", "env_steps"]
    means = table.groupby(point, sort=False)["value"].agg(value="mean", seeds="count").reset_index()
    firsts = means.sort_values("env_steps").groupby(point[:3], sort=False)["value"].transform("first")
    return means.assign(change=means["value"] - firsts).reindex(columns=list(OLD_COLUMNS))


def _old_rows(folder: str | None) -> list[Row]:
    """The rows of a run's evaluations of old tasks; none where the run's metrics are not here or damaged."""
    if folder is None:
        return []
    try:
        found = read_rows(Row, Path(folder) / layout.METRICS, having=(f'"{OLD_PREFIX}'.encode(),))
        return [row for row, _ in found]
    except DamagedRecordError:
        return []


def draw_old(values: pd.DataFrame, figure: Figure) -> None:
    """Draws the mean over the old tasks for each variant."""
    ax = figure.subplots()
    lines = style.lines_of(values["variant"])
    for variant, group in groups_of(values, "variant"):
        steps = np.unique(group["env_steps"])
        means = [np.mean(group.loc[group["env_steps"] == at, "value"]) for at in steps]
        ax.plot(steps, means, marker="o", markersize=3, **lines[str(variant)])
    ax.set_xlabel("env steps per task")
    ax.set_ylabel("mean normalised score, old tasks")
    style.steps_axis(ax, 5)
    style.legend(figure, lines)


def old_caption(values: pd.DataFrame) -> str:
    """Returns sentences that say whose scores these are."""
    tasks, seeds = captions.count([len(distinct(values, "task"))], "task"), captions.count(values["seeds"], "seed")
    last = values.loc[values["env_steps"] == values.groupby("variant")["env_steps"].transform("max")]
    lost = "; ".join(f"{variant}: {group['change'].mean():+.3f}" for variant, group in groups_of(last, "variant"))
    return (
        f"Mean normalised score on {tasks} of the source that the runs do not learn any more ({seeds}), played with "
        f"the runs' networks and the embeddings that the source left. Change by the end: {lost}. No interval is shown."
    )
