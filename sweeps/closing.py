"""Ends a sweep at MLflow: its report and what each variant has come to go to the MLflow runs of its parts."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from records import layout
from records.lock import exclusive
from records.run_dir import RunDir
from records.sweep import Member, Sweep, change_sweep, read_sweep, sweep_lock
from tracking.client import client
from tracking.problems import explain
from tracking.sweep_runs import Outcome, end_parent

IQM = {"iqm": "value", "iqm_low": "low", "iqm_high": "high"}
"""What MLflow calls a variant's interquartile mean and the ends of its interval -> the column of the report's table."""


def close(sweep: Sweep, failed: bool) -> None:
    """Send the sweep's outcome to its MLflow runs and mark them as over, where they are not; warn where that fails."""
    with exclusive(sweep.folder / "closing.lock"):  # the last jobs of a sweep may end together
        sweep = read_sweep(sweep.path)
        report = Report(sweep)
        for uri, parents in sweep.parents.items():
            if uri in sweep.closed:
                continue
            try:
                client(uri)  # which fails before there is work on the report
                for part, run_id in parents.items():
                    end_parent(uri, run_id, report.outcome(part, failed))
            except Exception as error:
                problem = explain(error, uri)
                print(f"warning: parent run left open (python -m sweeps.sync closes it): {problem}", file=sys.stderr)
                continue
            with sweep_lock(sweep.path):
                change_sweep(sweep.path, closed=[*read_sweep(sweep.path).closed, uri])


@dataclass(frozen=True)
class Report:
    """The report on a sweep's runs, which is written when it is first asked for."""

    sweep: Sweep

    @cached_property
    def folder(self) -> Path | None:
        """Write the report by the analysis package's own command.

        None where the runs were started with `report=false`, and, with a warning, where nothing can be drawn.
        """
        configs = (RunDir(member.run_dir).config() for member in self.sweep.members)
        first = next(filter(None, configs), None)  # all were started alike
        if first is not None and not first.report:
            return None
        folder = self.sweep.folder / layout.REPORT
        command = [sys.executable, "-m", "analysis.report", str(self.sweep.path), "--out", str(folder)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            said = result.stderr.strip().splitlines() or ["no word"]
            print(f"warning: no report on the sweep: {said[-1].removeprefix('error: ')}", file=sys.stderr)
            return None
        return folder

    def outcome(self, part: str, failed: bool) -> Outcome:
        """What the runs of a part have come to."""
        if self.folder is None:
            return Outcome(failed)
        members = [member for member in self.sweep.members if member.part == part]
        time_ms = int(1000 * (self.folder / "index.html").stat().st_mtime)
        return Outcome(failed, list(scores(self.folder, members)), time_ms, self.folder)


def scores(report: Path, members: Sequence[Member]) -> Iterator[tuple[str, int, float]]:
    """Yield name, environment steps and value of the last interquartile mean of each variant, and of its interval.

    Args:
      report: the folder of a report.
      members: runs; only their variants count.
    """
    names = {member.run_dir.name for member in members}
    variants = {(row["benchmark"], row["variant"]) for row in table(report / "runs.csv") if row["run"] in names}
    several = len({benchmark for benchmark, _ in variants}) > 1
    rows = [row for path in sorted(report.glob("aggregate*.csv")) for row in table(path)]
    last = {(row["benchmark"], row["variant"]): row for row in rows}  # the rows of a variant are in order
    for (benchmark, variant), row in last.items():
        if (benchmark, variant) in variants:
            label = f"{benchmark}/{variant}" if several else variant
            for name, column in IQM.items():
                if row[column]:  # with one seed there is no interval
                    yield f"{name}/{label}", int(row["env_steps"]), float(row[column])


def table(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table; none where there is no file."""
    if path.exists():
        with path.open(newline="") as file:
            yield from csv.DictReader(file)
