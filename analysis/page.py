"""What the report's one page shows; how it looks is in `assets/page.html`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis import captions
from analysis.context import ALL, Context, Plot
from analysis.frames import groups_of, rows_of
from analysis.plots import differences, final, overall
from analysis.select import at_end
from analysis.variants import BENCHMARK, SEED, TASKS
from conf.typed import show
from conf.uris import is_web
from records.provenance import git_state

PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn")
MISSING = "-"
HASH_LENGTH = 10


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it."""

    plot: Plot
    stem: str
    """The name of the files beside the page."""
    png: str
    """The picture, in base64."""
    width: int
    height: int
    """Width and height are in CSS pixels."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what it shows, and what its column is sorted by."""

    text: str
    key: float | str
    is_number: bool = False


def text_cell(value: Any) -> Cell:
    """Return a cell of text; a dash where the value is missing."""
    known = value is not None and value is not pd.NA and value == value
    return Cell(str(value), str(value)) if known else Cell(MISSING, "")


def number_cell(value: Any, digits: int = 3) -> Cell:
    """Return a cell of a number; missing ones sort last."""
    text = number(value, digits)
    return Cell(text, "" if text == MISSING else float(value), is_number=True)


@dataclass(frozen=True)
class Film:
    """A film as a page shows it: its title, its file as seen from the page, and a line below."""

    title: str
    path: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One section of the page: a table, figures, films, facts by name, or lines."""

    anchor: str
    title: str
    lines: Sequence[str] = ()
    figures: Sequence[Shown] = ()
    films: Sequence[Film] = ()
    facts: Mapping[str, str] | None = None
    table: str = ""
    """The name of the table, if the section is one."""
    rows: Sequence[Mapping[str, Cell]] = ()


def render(context: Context, shown: Sequence[Shown], claims: pd.DataFrame, out: Path, command: str) -> str:
    """Return the page's HTML.

    Args:
      context: everything that was loaded.
      shown: the figures, in order.
      claims: what `analysis.claims.table.compute` returns.
      out: the page's folder, from which links to run folders start.
      command: the command that made the report.
    """
    sections = [
        Section("summary", "In words", headlines(context, shown)),
        *figure_sections(context, shown),
        Section("tasks", "Every task", table="task-table", rows=per_task(context)),
    ]
    if len(context.runs):
        sections.append(Section("runs", "Runs", table="run-table", rows=per_run(context.runs, out)))
    if differing := differing_settings(context.runs):
        sections.append(Section("settings", "Settings that differ", table="settings-table", rows=differing))
    if len(context.runs):
        sections.append(Section("cost", "Cost", table="cost-table", rows=cost(context.runs)))
    facts = provenance(context, command)
    sections.append(Section("left-out", "Left out", context.omissions()))
    sections.append(Section("provenance", "Provenance", context.loaded.notes, facts=facts))
    if len(context.runs):  # of published curves alone, nobody claims to have reproduced them
        sections.append(Section("claims", "The paper's claims", table="claims-table", rows=per_claim(claims)))
    return page_of(f"Results on {', '.join(context.benchmarks)}", sections)


def page_of(title: str, sections: Sequence[Section]) -> str:
    """Return the HTML of a page with these sections."""
    return template().render(
        title=title,
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        sections=sections,
    )


def template() -> jinja2.Template:
    """Return the page's template, which escapes whatever is not markup already."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return resources.files("analysis").joinpath("assets", name).read_text(encoding="utf-8")


def number(value: Any, digits: int = 3) -> str:
    """Return a number for reading; a dash where there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return MISSING
    if isinstance(value, float) and np.isinf(value):
        return "never"
    return f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"


def headlines(context: Context, shown: Sequence[Shown]) -> list[str]:
    """Return the main results as sentences, with their key words in bold."""
    found = {(one.plot.group, one.plot.name): one.plot.values for one in shown}
    lines = []
    if (ALL, "overall") in found:
        for one in rows_of(overall.final(found[ALL, "overall"])):
            interval = _between(one.low, one.high)
            lines.append(
                Markup("Over {} benchmarks of equal weight, <b>{}</b> scores an IQM of <b>{}</b>{}.").format(
                    one.benchmarks, one.variant, number(one.value), interval
                )
            )
    for benchmark in context.benchmarks:
        if (benchmark, "final") not in found:
            lines.append(Markup("<b>{}</b>: no aggregate score yet.").format(benchmark))
            continue
        rows = final.iqms(found[benchmark, "final"])
        parts = [
            Markup("<b>{}</b> {}{} at {} env steps per task ({} tasks, {})").format(
                one.variant,
                number(one.value),
                _between(one.low, one.high),
                f"{one.env_steps:,}",
                one.tasks,
                captions.count([one.seeds, one.most_seeds], "seed"),
            )
            for one in rows_of(rows.sort_values("value", ascending=False))
        ]
        lines.append(Markup("<b>{}</b>, final IQM: {}.").format(benchmark, Markup("; ").join(parts)))
        better = found.get((benchmark, "improvement"))
        if better is not None:
            lines += [
                f"{benchmark}: a run of {one.x} scores above one of {one.y} on the same task with probability "
                f"{number(one.value, 2)}{_between(one.low, one.high, 2)}{_verdict(one.low, one.high)}."
                for one in rows_of(better)
            ]
    return lines


def _between(low: float, high: float, digits: int = 3) -> str:
    return "" if np.isnan(low) else f" (95% interval {low:.{digits}f} to {high:.{digits}f})"


def _verdict(low: float, high: float) -> str:
    if np.isnan(low):
        return "; one seed cannot tell whether that is chance"
    return "" if low > 0.5 or high < 0.5 else "; the two cannot be told apart"


def figure_sections(context: Context, shown: Sequence[Shown]) -> list[Section]:
    """Return a section of figures for all benchmarks together, and one for each of them."""
    sections = []
    for group in [ALL, *context.benchmarks]:
        members = [one for one in shown if one.plot.group == group]
        if members:
            sections.append(Section("all" if group == ALL else f"benchmark-{group}", group, figures=members))
    return sections


def per_task(context: Context) -> list[dict[str, Cell]]:
    """Return each task's final raw value and score by variant, and whether they differ from those of its pair."""
    rows = at_end(context.common_of_all_tasks.table).table
    raw = rows["return_"].where(rows["score_metric"] == "return", rows["success"])
    groups = rows.assign(raw=raw).groupby(["benchmark", "task", "variant"], sort=False)
    summary = groups.agg(
        metric=("score_metric", "first"),
        seeds=("seed", "nunique"),
        env_steps=("env_steps", "max"),
        raw=("raw", "mean"),
        score=("score", "mean"),
        low=("score", "min"),
        high=("score", "max"),
    ).reset_index()
    versus = _versus(context)
    return [
        {
            "benchmark": text_cell(one.benchmark),
            "task": text_cell(one.task),
            "variant": text_cell(one.variant),
            "seeds": number_cell(one.seeds),
            "env steps": number_cell(one.env_steps),
            "judged by": text_cell(one.metric),
            "raw": number_cell(one.raw, 3 if one.metric == "success" else 1),
            "score": number_cell(one.score),
            "lowest seed": number_cell(one.low),
            "highest seed": number_cell(one.high),
            "difference": versus.get((one.benchmark, one.task, one.variant), Cell(MISSING, "", is_number=bool(versus))),
        }
        for one in rows_of(summary)
    ]


def _versus(context: Context) -> dict[tuple[str, str, str], Cell]:
    """The difference on each task, for each variant that has a pair to be compared with (`differences.pairs`)."""
    found: dict[tuple[str, str, str], Cell] = {}
    for benchmark, part in context.benchmarks.items():
        for a, b in differences.pairs(part):
            for one in rows_of(differences.compute(part, a, b)):
                text = f"{one.value:+.3f}{' *' if one.flagged else ''}"
                markup = Markup('<span title="minus {}">{}</span>').format(b, text)
                found.setdefault((benchmark, one.task, a), Cell(markup, float(one.value), is_number=True))
    return found


def per_run(runs: pd.DataFrame, out: Path) -> list[dict[str, Cell]]:
    """Return every run, with links to its folder, as seen from `out`, and to MLflow."""
    return [
        {
            "benchmark": text_cell(one.benchmark),
            "variant": text_cell(one.variant),
            "seed": number_cell(one.seed),
            "run": _folder(one.run, one.folder, out),
            "state": text_cell(one.state),
            "env steps": number_cell(one.env_steps),
            "hours": number_cell(_float(one.hours), 2),
            "steps/s": number_cell(_float(one.env_steps_per_s), 1),
            "device": text_cell(one.device),
            "commit": text_cell(str(one.commit)[:HASH_LENGTH] if isinstance(one.commit, str) else None),
            "MLflow": _mlflow(one.mlflow),
        }
        for one in rows_of(runs)
    ]


def _folder(name: str, folder: Any, out: Path) -> Cell:
    if not isinstance(folder, str):
        return text_cell(name)
    link = Path(os.path.relpath(folder, out.resolve())).as_posix() + "/"
    return Cell(Markup('<a href="{}">{}</a>').format(link, name), name)


def _mlflow(runs: Any) -> Cell:
    links = []
    for uri, run_id in (runs if isinstance(runs, dict) else {}).items():
        short = run_id[:8]
        if is_web(uri):
            links.append(Markup('<a href="{}/#/runs/{}">{}</a>').format(uri.rstrip("/"), run_id, short))
        else:
            links.append(Markup('<span title="mlflow ui --backend-store-uri {}">{}</span>').format(uri, short))
    return Cell(Markup(" ").join(links) if links else MISSING, "")


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


def per_claim(claims: pd.DataFrame) -> list[dict[str, Cell]]:
    """Return every claim of the paper with what was published, what the runs say, and a verdict in words."""
    return [
        {
            "claim": text_cell(one.claim),
            "in words": text_cell(one.sentence),
            "published": number_cell(one.published),
            "source": text_cell(one.source),
            "judged by": text_cell(one.judged_by),
            "ours": number_cell(one.ours),
            "low": number_cell(one.low),
            "high": number_cell(one.high),
            "seeds": number_cell(one.seeds or None),
            "verdict": text_cell(one.verdict),
        }
        for one in rows_of(claims)
    ]


def differing_settings(runs: pd.DataFrame) -> list[dict[str, Cell]]:
    """Return one row for each benchmark and variant; a column for each setting that differs between any two of them."""
    variants = runs.drop_duplicates(["benchmark", "variant"])
    flat = {(one.benchmark, one.variant): one.settings for one in rows_of(variants)}
    keys = [key for key in dict.fromkeys(key for one in flat.values() for key in one) if key not in (SEED, BENCHMARK)]

    def text(settings: dict[str, Any], key: str) -> str:
        if key not in settings:
            return MISSING
        value = settings[key]
        return f"{len(value)} tasks" if key == TASKS and value is not None and len(value) > 1 else show(value)

    def differs(key: str) -> bool:
        single_tasks = key == TASKS and all(len(one[TASKS]) == 1 for one in flat.values())
        return not single_tasks and len({text(one, key) for one in flat.values()}) > 1

    shown = [key for key in keys if differs(key)]
    if not shown:
        return []
    return [
        {
            "benchmark": text_cell(benchmark),
            "variant": text_cell(variant),
            **{
                key: text_cell("one task" if key == TASKS and len(one[TASKS]) == 1 else text(one, key)) for key in shown
            },
        }
        for (benchmark, variant), one in flat.items()
    ]


def cost(runs: pd.DataFrame) -> list[dict[str, Cell]]:
    """Return what each variant took: hours of wall time and of GPUs, and rates."""
    rows = []
    for (benchmark, variant), group in groups_of(runs, "benchmark", "variant"):
        hours: Any = group["hours"].astype(float)
        on_gpu = ~group["device"].fillna("").str.lower().isin(["", "cpu"])
        gpu_hours: Any = (hours * group["devices"].astype(float)).where(on_gpu)
        unknown = int(hours.isna().sum())
        rows.append(
            {
                "benchmark": text_cell(benchmark),
                "variant": text_cell(variant),
                "runs": number_cell(len(group)),
                "without a clock": number_cell(unknown),
                "hours": number_cell(float(hours.sum(min_count=1)), 2),
                "GPU-hours": number_cell(float(gpu_hours.sum(min_count=1)), 2),
                "env steps/s": number_cell(_mean(group["env_steps_per_s"]), 1),
                "updates/s": number_cell(_mean(group["updates_per_s"]), 1),
                "device": text_cell(", ".join(sorted(set(group["device"].dropna()))) or None),
            }
        )
    return rows


def _mean(rates: Any) -> float:
    """The mean rate of the runs that have one."""
    known = rates.dropna().to_numpy(float)
    return float(known.mean()) if len(known) else float("nan")


def provenance(context: Context, command: str) -> dict[str, str]:
    """Return what the report was made by and from, by name."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    commits = sorted({str(commit)[:HASH_LENGTH] for commit in context.runs["commit"].dropna()})
    return {
        "command": Markup("<code>{}</code>").format(command),
        "analysis": f"commit {_commit() or 'unknown'}, Python {platform.python_version()}, {versions}",
        "bootstrap": f"{context.replicates:,} replicates, seed {context.seed}",
        "runs": f"{len(context.runs)}, of commits {', '.join(commits) or 'unknown'}",
        "rows": f"{len(context.table):,} evaluations of a task",
    }


def _commit() -> str | None:
    """The commit of the code that made the report, where the code is in a git checkout."""
    commit, diff = git_state().values()
    return None if commit is None else f"{commit[:HASH_LENGTH]}{'-dirty' if diff else ''}"
