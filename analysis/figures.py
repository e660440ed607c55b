"""Which figures a table allows, with their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.frames import groups_of
from analysis.plots import (
    ablation,
    aggregate,
    differences,
    efficiency,
    embedding,
    final,
    improvement,
    interference,
    learning_curves,
    modes,
    overall,
    profile,
    scaling,
    transfer,
)
from analysis.select import at_end, common_steps, scored, shared_tasks
from analysis.stats import CONFIDENCE
from analysis.table import Loaded

ALL = "all benchmarks"
MAX_NOTES = 3
PROFILE_ROWS = 10


@dataclass(frozen=True)
class Plot:
    """One figure, not yet drawn, and the table it is drawn from."""

    name: str
    """Of its files, without the benchmark."""
    group: str
    """The benchmark, or `ALL`."""
    title: str
    caption: str
    values: pd.DataFrame
    """What is drawn."""
    summary: pd.DataFrame
    """The rows of `values` that a paper's table would show."""
    draw: Callable[[pd.DataFrame, Figure], None]
    size_in: tuple[float, float]


def of_benchmark(loaded: Loaded, benchmark: str, seed: int, replicates: int) -> Iterator[Plot]:
    """The figures of one benchmark."""
    table = loaded.table.loc[loaded.table["benchmark"] == benchmark]
    runs = loaded.runs.loc[loaded.runs["benchmark"] == benchmark]
    usable = scored(table)
    comparable = common_steps(usable.table)
    ends = at_end(comparable.table)
    averaged, compared = [*usable.left_out, *comparable.left_out], ends.left_out
    if len(ends.table) and (tasks := shared_tasks(ends.table)).left_out:
        compared = [*compared, "variants have different tasks, so their bars are no comparison", *tasks.left_out]

    def plot(name, title, caption, values, draw, size_in, summary=None, notes=averaged) -> Plot:
        text = _with_notes(caption, notes, loaded)
        summary = values if summary is None else summary
        return Plot(name, benchmark, title, text, values, summary, draw, size_in)

    curves = learning_curves.compute(table)
    yield plot(
        "learning_curves",
        "Each task",
        learning_curves.caption(curves),
        curves,
        learning_curves.draw,
        learning_curves.figure_size(curves),
        learning_curves.final(curves),
        common_steps(table).left_out,
    )
    if comparable.table.empty:
        return
    values = aggregate.compute(table, seed, replicates)
    last = values.groupby("variant", sort=False).tail(1)
    text = aggregate.describe(values)
    yield plot("aggregate", "Score while learning", text, values, aggregate.draw, aggregate.figure_size(values), last)
    at_end_notes = [*averaged, *compared]
    if ends.table.empty:
        return
    finals = final.compute(table, seed, replicates)
    text = f"At {_steps(finals)} env steps per task. {aggregate.describe(finals).replace('IQM over', 'Over', 1)}"
    text += " The median is over tasks, of means over seeds; the optimality gap is what is missing to 1 on average."
    yield plot("final", "Final scores", text, finals, final.draw, final.figure_size(finals), notes=at_end_notes)
    values = profile.compute(table, seed, replicates)
    text = f"Final scores at {_steps(values)} env steps per task. {_interval(values, 'pointwise ')}"
    summary = values.iloc[:: profile.LEVELS // PROFILE_ROWS]
    yield plot(
        "profile",
        "Performance profile",
        text,
        values,
        profile.draw,
        profile.figure_size(values),
        summary,
        notes=at_end_notes,
    )
    values = improvement.compute(table, seed, replicates)
    if len(values):
        text = f"P(a run of X scores above one of Y on the same task), mean over tasks. {_interval(values)}"
        size = improvement.figure_size(values)
        yield plot(
            "improvement", "Probability of improvement", text, values, improvement.draw, size, notes=at_end_notes
        )
    values = efficiency.compute(table, seed, replicates)
    if len(values):
        size = efficiency.figure_size(values)
        yield plot("efficiency", "Sample efficiency", efficiency.caption(values), values, efficiency.draw, size)
    for number, (a, b) in enumerate(differences.pairs(table)):
        values = differences.compute(table, a, b)
        if len(values):
            name = f"differences{f'-{number + 1}' if number else ''}"
            size = differences.figure_size(values)
            text = differences.caption(values)
            yield plot(name, f"Task by task: {a} and {b}", text, values, differences.draw, size, notes=at_end_notes)
    for x, title in (("critic_params", "Scaling in parameters"), ("critic_flops", "Scaling in compute")):
        values = scaling.compute(table, x, seed, replicates)
        if scaling.has_sizes(values):
            text = (
                f"At {_steps(values)} env steps per task. {aggregate.describe(values)}{scaling.describe_fits(values)}"
            )
            if x == "critic_flops":
                text += " FLOPs: 12 for each critic parameter and sampled transition."
            name = "scaling" if x == "critic_params" else "scaling_compute"
            yield plot(name, title, text, values, scaling.draw, scaling.figure_size(values), notes=at_end_notes)
    for mode, values in groups_of(ablation.compute(table, runs, seed, replicates), "mode"):
        text = f"{mode}, at {_steps(values)} env steps per task: one setting changed. {aggregate.describe(values)}"
        name = "ablation" if mode == "multi-task" else "ablation-single"
        size = ablation.figure_size(values)
        yield plot(name, "Ablations", text, values, ablation.draw, size, notes=at_end_notes)
    values = transfer.compute(table, runs, seed, replicates)
    if len(values):
        text = f"Held-out tasks, from a checkpoint or from nothing. {aggregate.describe(values)}"
        last = values.groupby("variant", sort=False).tail(1)
        yield plot("transfer", "Transfer", text, values, transfer.draw, transfer.figure_size(values), last)
    values = embedding.compute(runs)
    if len(values):
        yield plot("embedding", "Task embeddings", embedding.caption(values), values, embedding.draw, embedding.SIZE_IN)
    for number, (_, values) in enumerate(interference.compute(table).groupby("variant", sort=False)):
        name = f"interference{f'-{number + 1}' if number else ''}"
        size = interference.figure_size(values)
        text = interference.caption(values)
        summary = values.pivot(index="row", columns="column", values="value").reset_index()
        yield plot(name, "Interference", text, values, interference.draw, size, summary, notes=at_end_notes)


def of_all(loaded: Loaded, seed: int, replicates: int) -> Iterator[Plot]:
    """The figures over several benchmarks."""
    values = overall.compute(loaded.table, seed, replicates)
    if len(values):
        text = _with_notes(overall.caption(values), [], loaded)
        last = overall.final(values)
        yield Plot("overall", ALL, "Over all benchmarks", text, values, last, overall.draw, overall.SIZE_IN)
    values = modes.compute(loaded.table, seed, replicates)
    if len(values):
        text = f"Final scores over the tasks that both have, at {_steps(values)} env steps per task. "
        text = _with_notes(text + aggregate.describe(values), [], loaded)
        size = modes.figure_size(values)
        yield Plot("modes", ALL, "Multi-task against single-task", text, values, values, modes.draw, size)


def benchmarks_of(loaded: Loaded) -> list[str]:
    """In order of the table."""
    return list(dict.fromkeys(loaded.table["benchmark"]))


def omissions(loaded: Loaded) -> list[str]:
    """One line for all that some figure leaves out, and for figures that cannot be drawn."""
    lines = list(loaded.left_out)
    for benchmark in benchmarks_of(loaded):
        table = loaded.table.loc[loaded.table["benchmark"] == benchmark]
        usable = scored(table)
        comparable = common_steps(usable.table)
        lines += [*usable.left_out, *comparable.left_out]
        if comparable.table.empty:
            lines.append(f"{benchmark}: no aggregate and no scaling figure: no scores to average")
            continue
        lines += at_end(comparable.table).left_out
        if table["critic_params"].nunique() < 2:
            lines.append(f"{benchmark}: no scaling figure: fewer than two critic sizes to compare")
    return lines


def _steps(values: pd.DataFrame) -> str:
    """At which env steps, in words."""
    steps = sorted(set(values["env_steps"]))
    return f"{steps[0]:,.0f}" if len(steps) == 1 else f"{steps[0]:,.0f} to {steps[-1]:,.0f}"


def _interval(values: pd.DataFrame, kind: str = "") -> str:
    missing = np.isnan(values["low"].to_numpy(float))
    if missing.all():
        return "No interval: one seed says nothing about the spread over seeds."
    text = f"{CONFIDENCE:.0%} {kind}stratified-bootstrap interval over seeds"
    return f"{text}, none where there is one seed." if missing.any() else f"{text}."


def _with_notes(caption: str, notes: list[str], loaded: Loaded) -> str:
    """The caption, what the figure leaves out, and how many runs could not be used at all."""
    shown = "; ".join(notes[:MAX_NOTES])
    more = f"; and {len(notes) - MAX_NOTES} more, listed under Left out" if len(notes) > MAX_NOTES else ""
    left = f" Left out: {shown}{more}." if notes else ""
    lost = len(loaded.left_out)
    unused = f" {lost} {'run or curve' if lost == 1 else 'runs or curves'} could not be used." if lost else ""
    return f"{caption}{left}{unused}"
