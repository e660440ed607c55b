"""Interquartile mean of normalised scores over tasks and seeds, against env steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.select import common_steps, scored
from analysis.stats import CONFIDENCE, iqm, stratified_bootstrap

SIZE_IN = (4.2, 3.0)
COLUMNS = ("benchmark", "variant", "family", "critic_params", "env_steps", "iqm", "low", "high", "seeds", "tasks")


def compute(table: pd.DataFrame, seed: int = 0, replicates: int = 2000) -> pd.DataFrame:
    """The IQM of each variant at each evaluation that all its runs have reached, with its interval.

    Args:
      table: of `analysis.load`. Tasks without a score are left out (`analysis.select.scored`).
      seed: of the bootstrap. Each variant's interval depends on its own scores and this number alone.
      replicates: of the bootstrap.
    Returns:
      `COLUMNS`; `low` and `high` end the 95 % stratified-bootstrap interval over seeds and are NaN with one seed,
      which allows none.
    """
    parts = []
    for _, group in common_steps(scored(table).table).table.groupby(["benchmark", "variant"], sort=False):
        steps, scores = _matrix(group)
        interval = np.full((len(steps), 2), np.nan)
        if scores.shape[1] > 1:
            interval = stratified_bootstrap(scores, iqm, np.random.default_rng(seed), replicates)
        first = group.iloc[0]
        parts.append(
            pd.DataFrame(
                {
                    "benchmark": first["benchmark"],
                    "variant": first["variant"],
                    "family": first["family"],
                    "critic_params": first["critic_params"],
                    "env_steps": steps,
                    "iqm": iqm(scores),
                    "low": interval[:, 0],
                    "high": interval[:, 1],
                    "seeds": scores.shape[1],
                    "tasks": scores.shape[2],
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _matrix(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Env steps `[P]` and scores `[P, S, T]` of one variant, whose runs all have all of these evaluations."""
    axes = [np.array(sorted(set(rows[name]))) for name in ("env_steps", "seed", "task")]
    scores = rows.set_index(["env_steps", "seed", "task"])["score"]
    full = scores.reindex(pd.MultiIndex.from_product(axes))
    return axes[0], full.to_numpy().reshape([len(axis) for axis in axes])


def draw(points: pd.DataFrame, figure: Figure) -> None:
    """A line and a band a variant; `points` of one benchmark, from `compute`."""
    ax = figure.subplots()
    lines = style.lines_of(points["variant"])
    for variant, group in points.groupby("variant", sort=False):
        line = lines[str(variant)]
        ax.plot(group["env_steps"], group["iqm"], **line, marker=style.marker_of(len(group)))
        if len(group) == 1:
            ax.vlines(group["env_steps"], group["low"], group["high"], color=line["color"])
        else:
            ax.fill_between(
                group["env_steps"], group["low"], group["high"], color=line["color"], alpha=0.18, linewidth=0
            )
    ax.set_xlabel("env steps per task")
    ax.set_ylabel("normalised score, IQM")
    style.steps_axis(ax, 5)
    style.legend(figure, lines)
    style.caption(figure, f"{points['benchmark'].iloc[0]}: {describe(points)}")


def describe(points: pd.DataFrame) -> str:
    """How many seeds and tasks the points are of, and what their interval is."""
    by_variant = points.drop_duplicates("variant")
    over = f"IQM over {style.count(by_variant['tasks'], 'task')} and {style.count(by_variant['seeds'], 'seed')}"
    single = by_variant.loc[by_variant["seeds"] == 1, "variant"]
    interval = f"{CONFIDENCE:.0%} stratified-bootstrap interval over seeds"
    if len(single) == len(by_variant):
        return f"{over}. No interval: one seed says nothing about the spread over seeds."
    if len(single):
        return f"{over}; {interval}, none where there is one seed ({', '.join(single)})."
    return f"{over}; {interval}."
