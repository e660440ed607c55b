"""Submits again what SLURM jobs have left unfinished: a sweep's runs, or the trials of a search.

What was submitted with a snapshot goes on with that snapshot: `python -m sweeps.relaunch RECORD` is started in it, so
that the code which reads the record is the code that wrote it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, exit_status
from records.layout import ExitCode
from records.provenance import snapshot_name
from records.sweep import Sweep, launch_lock, read_sweep
from sweeps.code import variables
from sweeps.search.command import resubmit
from sweeps.slurm.submission import Job, Submission, job_of, submissions
from sweeps.status import states_of
from sweeps.submit import submit_runs


def relaunch(sweep: Sweep) -> int:
    """Submit again what a sweep's SLURM jobs have left unfinished, with the code of before, and say how much that is.

    Returns:
      0, or the exit status of the process whose snapshot could not do that, after its line.
    Raises:
      ConfigError: SLURM does not answer or refuses, a search has never been given to SLURM, or a snapshot is gone.
    """
    found = codes(sweep)
    folder = sweep.path.parents[1] / layout.CODE
    for name in found:
        if name and not (folder / name).exists():
            raise ConfigError(
                f"{folder / name}: the code that runs of {sweep.id} were submitted with is gone; the sweep's command "
                "submits them with the code as it is now"
            )
    if not found or "" in found:
        relaunch_here(sweep)
    for name, git in found.items():
        if name:
            command = [sys.executable, "-m", "sweeps.relaunch", str(sweep.path)]
            environment = os.environ | variables(folder / name, git)
            result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
            print(result.stdout, end="", flush=True)
            if result.returncode != ExitCode.DONE:
                return result.returncode
    return ExitCode.DONE


def codes(sweep: Sweep) -> dict[str, Mapping[str, Any]]:
    """Return the snapshots that unfinished work was submitted with, each with what git said of it; "" is live code."""
    newest = newest_submission(sweep)
    further = sweep.overrides or sweep.decide is not None  # trials, or a round, that no job was given yet
    found: dict[str, Mapping[str, Any]] = {newest.code: newest.git} if newest is not None and further else {}
    return found if sweep.overrides else found | {job.code: job.git for _, job in ended_early(sweep)}


def newest_submission(sweep: Sweep) -> Submission | None:
    """Return what was submitted last of a sweep; None where SLURM has never been given any of it."""
    return next(reversed(list(submissions(sweep.folder))), None)


def ended_early(sweep: Sweep) -> list[tuple[Path, Job]]:
    """Return the sweep's runs whose jobs have ended before them, with the jobs; those that failed are left alone."""
    ended = [one.run_dir for one, state in states_of(sweep).items() if state.name in ("interrupted", "killed", "new")]
    return [(run_dir, job) for run_dir in ended if (job := job_of(run_dir)) is not None]


def relaunch_here(sweep: Sweep) -> None:
    """Submit again what was submitted with the code of this process, and say how much that is.

    Raises:
      ConfigError: as `relaunch`.
    """
    if sweep.overrides:
        resubmit(sweep.path)
    else:
        print(f"{sweep.id}: submitted {relaunch_runs(sweep)} runs again", flush=True)
    newest = newest_submission(sweep)
    if sweep.decide is not None and (newest is None or newest.code == snapshot_name()):
        from sweeps.decide.rounds import submit_round

        submit_round(sweep.path, in_job=False, retry=False)


def relaunch_runs(sweep: Sweep) -> int:
    """Submit again the sweep's runs whose SLURM jobs have ended early and had the code of this process.

    Returns:
      how many were submitted.
    Raises:
      ConfigError: SLURM does not answer or refuses.
    """
    with launch_lock(sweep.path):
        ended = [run_dir for run_dir, job in ended_early(sweep) if job.code == snapshot_name()]
        submit_runs(sweep, ended)
    return len(ended)


def main(arguments: Sequence[str] | None = None) -> int:
    """Submits again what the record of a sweep names, as far as this process's code goes, and returns the status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Submits again the sweep that the arguments name.

    Raises:
      ConfigError: as `relaunch`.
    """
    parser = Parser(
        prog="python -m sweeps.relaunch",
        description="Part of sweeps.status --relaunch: submits again what was submitted with the code that this is.",
    )
    parser.add_argument("record", type=Path, metavar="RECORD", help="the sweep's record")
    relaunch_here(read_sweep(parser.parse_args(arguments).record))
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
