"""Map of the learned task embeddings: their first two principal components."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, style
from analysis.context import Context, Plot
from analysis.frames import groups_of, rows_of
from analysis.variants import MULTI, TASKS, short_task
from records import layout
from records.files import open_file

SIZE_IN = (style.COLUMN_IN * 1.3, 3.6)
MIN_TASKS = 3
"""Two points lie on a line whatever was learned."""
COLUMNS = ("benchmark", "variant", "run", "task", "x", "y", "explained_x", "explained_y", "env_steps")


def figures(context: Context) -> Iterator[Plot]:
    """Yields the map, where a checkpoint with embeddings is found."""
    values = compute(context)
    if len(values):
        yield context.plot(
            "embedding", "Task embeddings", caption(values), values, draw, SIZE_IN, notes=context.unaveraged
        )


def compute(context: Context) -> pd.DataFrame:
    """Computes coordinates of the tasks of one run of each benchmark: the largest with embeddings, of the lowest seed.

    Rows are divided by their norm, as the networks do.

    Returns:
      `COLUMNS`: `explained_x` and `explained_y` are the components' shares of the variance. No rows for a benchmark
      without a checkpoint that has embeddings of at least three tasks.
    """
    parts = []
    multi = context.runs.loc[context.runs["mode"] == MULTI].sort_values(
        ["critic_params", "seed"], ascending=[False, True]
    )
    for benchmark, members in groups_of(multi, "benchmark"):
        for run in rows_of(members):
            table, env_steps = _embedding(run.folder)
            tasks = run.settings[TASKS]
            if table is None or len(table) != len(tasks) or len(tasks) < MIN_TASKS:
                continue
            xy, explained = principal_components(table / np.linalg.norm(table, axis=1, keepdims=True))
            about = {"benchmark": benchmark, "variant": run.variant, "run": run.run, "task": tasks}
            shares = {"explained_x": explained[0], "explained_y": explained[1], "env_steps": env_steps}
            parts.append(pd.DataFrame({**about, "x": xy[:, 0], "y": xy[:, 1], **shares}))
            break
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _embedding(folder: str | None) -> tuple[np.ndarray | None, int]:
    """Returns the table `[T, D]` of a run's newest checkpoint that can be read, and the checkpoint's env steps."""
    checkpoints = sorted(Path(folder or "/nonexistent").glob(f"{layout.CHECKPOINTS}/step-*"), reverse=True)
    for checkpoint in checkpoints:
        try:
            with open_file(checkpoint / layout.STATE) as file, np.load(file, allow_pickle=False) as arrays:
                found = layout.TASK_EMBEDDING in arrays.files
                table = np.asarray(arrays[layout.TASK_EMBEDDING], float) if found else None
        except (OSError, ValueError, zipfile.BadZipFile):
            continue
        usable = table is not None and table.ndim == 2 and np.isfinite(table).all() and (table != 0).any(axis=1).all()
        return (table if usable else None), int(checkpoint.name.removeprefix("step-"))
    return None, 0


def principal_components(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the first two principal components of rows `[T, D]`: `[T, 2]`, and their shares of the variance `[2]`.

    A component's sign is free; here its largest entry is positive, so that a map is always the same.
    """
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    xy = u[:, :2] * s[:2]
    xy = xy * np.sign(xy[np.abs(xy).argmax(axis=0), [0, 1]])
    return xy, s[:2] ** 2 / max((s**2).sum(), np.finfo(float).tiny)


def draw(values: pd.DataFrame, figure: Figure) -> None:
    """Draws a named point for each task of one benchmark, coloured by suite."""
    ax = figure.subplots()
    suites = values["task"].str.split("/").str[0]
    lines = style.lines_of(suites)
    ax.scatter(values["x"], values["y"], color=[lines[suite]["color"] for suite in suites], s=10)
    small = len(values) > 30
    for one in rows_of(values):
        ax.annotate(
            short_task(one.task), (one.x, one.y), xytext=(3, 2), textcoords="offset points", fontsize=4 if small else 6
        )
    ax.margins(x=0.18)
    ax.set_xlabel(f"first component ({values['explained_x'].iloc[0]:.0%} of variance)")
    ax.set_ylabel(f"second component ({values['explained_y'].iloc[0]:.0%})")


def caption(values: pd.DataFrame) -> str:
    """Returns sentences that say whose embeddings the map shows."""
    one = values.iloc[0]
    return (
        f"Principal components of the unit-length embeddings of {captions.count([len(values)], 'task')}, run {one.run} "
        f"(one seed) at env step {one.env_steps:,}. Nearness on the map is nearness in "
        f"{one.explained_x + one.explained_y:.0%} of the variance only."
    )
