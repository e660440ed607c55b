"""Says what the runs of a sweep came to."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from records.layout import ExitCode
from sweeps.plan.plan import Plan, Planned
from sweeps.status import RunState, console, inspect


def outcome(one: Planned, ended: Mapping[Path, int]) -> RunState:
    """Return what a run came to; a run that has ended without a word has failed, unless this command killed the run."""
    state = inspect(one.run_dir, one.config.train.env_steps, {})
    if state.name in ("new", "killed") and ended.get(one.run_dir, -signal.SIGKILL) != -signal.SIGKILL:
        return dataclasses.replace(state, name="failed", reason="ended without a word; see its log")
    return state


def print_outcomes(plan: Plan, outcomes: Mapping[Path, RunState]) -> int:
    """Print what each run came to, and where to look; return the command's exit status."""
    table = Table(title="outcomes")
    if plan.has_parts:
        table.add_column("part", no_wrap=True)
    for column in ("run", "varied", "outcome", "steps", "score", "where"):
        table.add_column(column, overflow="fold")
    names = []
    for one in plan.runs:
        state = outcomes.get(one.run_dir, one.state)
        skipped = "skipped (done by other code)" if one.stale else "skipped (done)"
        name = skipped if one.state.name == "done" else state.name
        names.append("skipped" if one.state.name == "done" else name)
        table.add_row(
            *([escape(one.part)] if plan.has_parts else []),
            one.run_dir.name,
            escape(" ".join(f"{key}={value}" for key, value in one.varied.items())),
            name,
            f"{state.env_steps:,}",
            "-" if state.score is None else f"{state.score:.3f}",
            escape(str(one.run_dir)),
        )
    console().print(table)
    states = [(one.run_dir, outcomes.get(one.run_dir, one.state)) for one in plan.runs]
    for run_dir, state in states:
        if state.name == "failed":
            print(f"failed: {run_dir}: {state.reason}")
    for reason in dict.fromkeys(state.reason for _, state in states if state.name == "interrupted" and state.reason):
        print(f"not begun: {reason}")
    print(", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)))
    if "failed" in names:
        return ExitCode.FAILED
    return ExitCode.INTERRUPTED if {"interrupted", "stopped", "killed", "new"} & set(names) else ExitCode.DONE
