"""Runs what a SLURM job was given: `python -m sweeps.slurm.job SUBMISSION.json INDEX`; several at once if packed.

Ends with 0 if all are done, 75 if some are interrupted, 1 if any failed and none can go on. The job's script decides
whether it goes back to the queue.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from conf.typed import ConfigError
from records.command_line import Parser, at_least, exit_status
from records.layout import ExitCode, RunOutcome
from records.run_dir import RunDir
from records.sweep import read_sweep
from sweeps.ending import end_if_over
from sweeps.pool import Pool, RetryPolicy, on_signals
from sweeps.slurm.submission import read_submission
from sweeps.teams import recorded_teams

POLL_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Runs one job of a submission.

    Raises:
      ConfigError: there is no such submission or job, or the sweep's record cannot be read.
    """
    parser = Parser(prog="python -m sweeps.slurm.job", description="Runs what a SLURM job was given.")
    parser.add_argument("submission", type=Path, metavar="SUBMISSION", help="the submission's file")
    parser.add_argument("index", type=at_least(0), metavar="INDEX", help="the job's index in it")
    parsed = parser.parse_args(arguments)
    path, index = parsed.submission, parsed.index
    submission = read_submission(path)
    if submission is None or index >= len(submission.jobs):
        raise ConfigError(f"{path}: no submission here that has a job {index}")
    mine = [run_dir for run_dir in submission.run_dirs(path, index) if is_due(run_dir, path, submission.time)]
    retry_policy = RetryPolicy(submission.max_crashes, submission.backoff_s, submission.time)
    # In the job's own process group: whatever SLURM does to the job reaches its runs.
    pool = Pool(recorded_teams(mine), submission.at_once, retry_policy, new_session=False)
    with on_signals(pool.stop, signal.SIGTERM, signal.SIGUSR2):
        while pool.poll():
            time.sleep(POLL_S)
        said = [RunDir(run_dir).status() for run_dir in mine]
        states = [status.state if status else None for status in said]
        if pool.stopping and any(state not in (RunOutcome.DONE, RunOutcome.FAILED) for state in states):
            return ExitCode.INTERRUPTED
        end_job(path.parent.with_suffix(".json"))
    return ExitCode.FAILED if any(state != RunOutcome.DONE for state in states) else ExitCode.DONE


def end_job(record: Path) -> None:
    """Go on with the sweep of a job that has executed its runs: a deciding one may need more seeds, others may be over.

    Raises:
      ConfigError: the sweep's record cannot be read.
    """
    if read_sweep(record).decide is not None:
        from sweeps.decide.rounds import after_job

        after_job(record)
    end_if_over(read_sweep(record), ask_slurm=False)


def is_due(run_dir: Path, submission: Path, submitted: float) -> bool:
    """Whether the run is still this job's: not given to a later one, nor failed before the job was requeued."""
    entry = RunDir(run_dir).job()
    if entry is None or Path(os.path.normpath(run_dir / entry.submission)) != submission:
        return False
    status = RunDir(run_dir).status()
    return not (status is not None and status.state == RunOutcome.FAILED and status.time >= submitted)


if __name__ == "__main__":
    sys.exit(main())
