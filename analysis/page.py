"""The report's one page: self-contained HTML, no network."""

from __future__ import annotations

import html
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import ALL, Plot, benchmarks_of, omissions
from analysis.frames import groups_of, rows_of
from analysis.plots import differences, final, overall
from analysis.select import at_end, common_steps
from analysis.table import Loaded
from analysis.variants import BENCHMARK, SEED, TASKS
from conf.typed import show

PACKAGES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn")
MISSING = "-"
HASH_LENGTH = 10


@dataclass(frozen=True)
class Shown:
    """A figure as the page shows it."""

    plot: Plot
    stem: str
    """Of the files beside the page."""
    png: str
    """Base64."""
    width: int
    height: int
    """In CSS pixels."""


def render(loaded: Loaded, shown: Sequence[Shown], out: Path, seed: int, replicates: int, command: str) -> str:
    """The page's HTML.

    Args:
      loaded: what the report is of.
      shown: its figures, in order.
      out: the page's folder, from which links to run folders start.
      seed, replicates: of the bootstrap.
      command: that made the report.
    """
    sections = [
        ("summary", "In words", _list(headlines(loaded, shown))),
        *_figure_sections(loaded, shown),
        ("tasks", "Every task", _data_table("task-table", per_task(loaded))),
        *([("runs", "Runs", _data_table("run-table", per_run(loaded, out)))] if len(loaded.runs) else []),
        *_settings_sections(loaded),
        *([("cost", "Cost", _data_table("cost-table", cost(loaded)))] if len(loaded.runs) else []),
        ("left-out", "Left out", _list(escape(line) for line in omissions(loaded)) or "<p>Nothing.</p>"),
        ("provenance", "Provenance", _provenance(loaded, seed, replicates, command)),
    ]
    names = ", ".join(benchmarks_of(loaded))
    return _asset("page.html").format(
        title=escape(f"Results on {names}"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        navigation="".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in sections),
        body="\n".join(
            f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{content}\n</section>'
            for anchor, title, content in sections
        ),
    )


def _asset(name: str) -> str:
    return resources.files("analysis").joinpath("assets", name).read_text()


def escape(value: Any) -> str:
    """Text that HTML does not read as markup."""
    return html.escape(str(value), quote=True)


def number(value: Any, digits: int = 3) -> str:
    """A number for reading; a dash where there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return MISSING
    if isinstance(value, float) and np.isinf(value):
        return "never"
    return f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}"


def headlines(loaded: Loaded, shown: Sequence[Shown]) -> list[str]:
    """The main results as sentences, in HTML."""
    found = {(one.plot.group, one.plot.name): one.plot.values for one in shown}
    lines = []
    if (ALL, "overall") in found:
        for one in rows_of(overall.final(found[ALL, "overall"])):
            lines.append(
                f"Over {one.benchmarks} benchmarks of equal weight, <b>{escape(one.variant)}</b> scores an IQM of "
                f"<b>{number(one.value)}</b>{_between(one.low, one.high)}."
            )
    for benchmark in benchmarks_of(loaded):
        if (benchmark, "final") not in found:
            lines.append(f"<b>{escape(benchmark)}</b>: no aggregate score yet.")
            continue
        rows = final.iqms(found[benchmark, "final"])
        parts = [
            f"<b>{escape(one.variant)}</b> {number(one.value)}{_between(one.low, one.high)} at {one.env_steps:,} env "
            f"steps per task ({one.tasks} tasks, {_seeds(one)})"
            for one in rows_of(rows.sort_values("value", ascending=False))
        ]
        lines.append(f"<b>{escape(benchmark)}</b>, final IQM: {'; '.join(parts)}.")
        better = found.get((benchmark, "improvement"))
        if better is not None:
            lines += [
                f"{escape(benchmark)}: a run of {escape(one.x)} scores above one of {escape(one.y)} on the same task "
                f"with probability {number(one.value, 2)}{_between(one.low, one.high, 2)}{_verdict(one.low, one.high)}."
                for one in rows_of(better)
            ]
    return lines


def _between(low: float, high: float, digits: int = 3) -> str:
    return "" if np.isnan(low) else f" (95% interval {low:.{digits}f} to {high:.{digits}f})"


def _seeds(row: Any) -> str:
    from analysis.style import count

    return count([row.seeds, row.most_seeds], "seed")


def _verdict(low: float, high: float) -> str:
    if np.isnan(low):
        return "; one seed cannot tell whether that is chance"
    return "" if low > 0.5 or high < 0.5 else "; the two cannot be told apart"


def _figure_sections(loaded: Loaded, shown: Sequence[Shown]) -> list[tuple[str, str, str]]:
    sections = []
    for group in [ALL, *benchmarks_of(loaded)]:
        members = [one for one in shown if one.plot.group == group]
        if members:
            anchor = "all" if group == ALL else f"benchmark-{escape(group)}"
            sections.append((anchor, group, "\n".join(_figure(one) for one in members)))
    return sections


def _figure(one: Shown) -> str:
    links = " ".join(f'<a href="{escape(one.stem)}.{kind}">{kind.upper()}</a>' for kind in ("png", "pdf", "csv", "tex"))
    return (
        f'<figure id="{escape(one.stem)}"><h3>{escape(one.plot.title)}</h3>\n'
        f'<img src="data:image/png;base64,{one.png}" width="{one.width}" height="{one.height}" '
        f'alt="{escape(one.plot.title)}, {escape(one.plot.group)}">\n'
        f'<figcaption>{escape(one.plot.caption)} <span class="files">{links}</span></figcaption></figure>'
    )


@dataclass(frozen=True)
class Cell:
    """One cell: HTML, and what its column is sorted by."""

    text: str
    key: float | str


def text_cell(value: Any) -> Cell:
    """A cell of text."""
    known = value is not None and value is not pd.NA and value == value
    return Cell(escape(value) if known else MISSING, str(value) if known else "")


def number_cell(value: Any, digits: int = 3) -> Cell:
    """A cell of a number; missing ones sort last."""
    text = number(value, digits)
    return Cell(text, "" if text == MISSING else float(value))


def per_task(loaded: Loaded) -> list[dict[str, Cell]]:
    """For each task and variant its final raw value and score over seeds, and whether it differs from its pair."""
    rows = at_end(common_steps(loaded.table).table).table
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
    versus = _versus(loaded)
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
            "difference": versus.get((one.benchmark, one.task, one.variant), Cell(MISSING, "")),
        }
        for one in rows_of(summary)
    ]


def _versus(loaded: Loaded) -> dict[tuple[str, str, str], Cell]:
    """Of each variant that has a pair to be compared with (`differences.pairs`), the difference on each task."""
    found: dict[tuple[str, str, str], Cell] = {}
    for benchmark in benchmarks_of(loaded):
        table = loaded.table.loc[loaded.table["benchmark"] == benchmark]
        for a, b in differences.pairs(table):
            for one in rows_of(differences.compute(table, a, b)):
                mark = " *" if one.flagged else ""
                text = f'<span title="minus {escape(b)}">{one.value:+.3f}{mark}</span>'
                found.setdefault((benchmark, one.task, a), Cell(text, float(one.value)))
    return found


def per_run(loaded: Loaded, out: Path) -> list[dict[str, Cell]]:
    """Every run, with links to its folder and to MLflow."""
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
        for one in rows_of(loaded.runs)
    ]


def _folder(name: str, folder: Any, out: Path) -> Cell:
    if not isinstance(folder, str):
        return text_cell(name)
    link = Path(os.path.relpath(folder, out.resolve())).as_posix() + "/"
    return Cell(f'<a href="{escape(link)}">{escape(name)}</a>', name)


def _mlflow(runs: Any) -> Cell:
    links = []
    for uri, run_id in (runs if isinstance(runs, dict) else {}).items():
        short = escape(run_id[:8])
        if uri.startswith(("http://", "https://")):
            links.append(f'<a href="{escape(uri.rstrip("/"))}/#/runs/{escape(run_id)}">{short}</a>')
        else:
            links.append(f'<span title="mlflow ui --backend-store-uri {escape(uri)}">{short}</span>')
    return Cell(" ".join(links) or MISSING, "")


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _settings_sections(loaded: Loaded) -> list[tuple[str, str, str]]:
    rows = differing_settings(loaded.runs)
    return [("settings", "Settings that differ", _data_table("settings-table", rows))] if rows else []


def differing_settings(runs: pd.DataFrame) -> list[dict[str, Cell]]:
    """One row a benchmark and variant; a column for each setting that differs between any two of them."""
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


def cost(loaded: Loaded) -> list[dict[str, Cell]]:
    """What each variant took: hours of wall time and of GPUs, and rates."""
    rows = []
    for (benchmark, variant), group in groups_of(loaded.runs, "benchmark", "variant"):
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
    """Of the runs that have one."""
    known = rates.dropna().to_numpy(float)
    return float(known.mean()) if len(known) else float("nan")


def _data_table(name: str, rows: Sequence[dict[str, Cell]]) -> str:
    """A table whose columns sort on a click, under a field that filters its rows."""
    if not rows:
        return "<p>None.</p>"
    columns = list(rows[0])
    numeric = [
        all(isinstance(row[column].key, float) or row[column].text == MISSING for row in rows) for column in columns
    ]
    head = "".join(f'<th scope="col"><button type="button">{escape(column)}</button></th>' for column in columns)
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td{" class=number" if is_number else ""} data-key="{escape(row[column].key)}">{row[column].text}</td>'
            for column, is_number in zip(columns, numeric, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<p class="filter"><label>Filter <input type="search" data-table="{name}" placeholder="words, all of which '
        f'a row must have"></label> <output data-table="{name}">{len(rows)} rows</output></p>\n'
        f'<div class="scroll"><table id="{name}"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def _list(lines: Any) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _provenance(loaded: Loaded, seed: int, replicates: int, command: str) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    commits = sorted({str(commit)[:HASH_LENGTH] for commit in loaded.runs["commit"].dropna()})
    rows = {
        "command": f"<code>{escape(command)}</code>",
        "analysis": escape(f"commit {_commit() or 'unknown'}, Python {platform.python_version()}, {versions}"),
        "bootstrap": escape(f"{replicates:,} replicates, seed {seed}"),
        "runs": escape(f"{len(loaded.runs)}, of commits {', '.join(commits) or 'unknown'}"),
        "rows": escape(f"{len(loaded.table):,} evaluations of a task"),
    }
    text = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items())
    return f"<dl>{text}</dl>{_list(escape(note) for note in loaded.notes)}"


def _commit() -> str | None:
    """Of the code that made the report, where it is in a git checkout."""
    arguments = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        result = subprocess.run(arguments, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
