"""Runs what a SLURM job was given: `python -m sweeps.slurm.job SUBMISSION.json INDEX`; several at once if packed.

Ends with 0 if all are done, 75 if some are interrupted, 1 if any failed and none can go on. The job's script decides
whether it goes back to the queue.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from records.layout import ExitCode, RunOutcome
from records.run_dir import RunDir
from records.sweep import read_sweep
from sweeps.pool import Pool, RetryPolicy, on_signals
from sweeps.slurm.submission import read_submission
from sweeps.status import close_if_over

POLL_S = 0.2


def main() -> int:
    path, index = Path(sys.argv[1]), int(sys.argv[2])
    submission = read_submission(path)
    if submission is None:
        print(f"error: {path}: no submission here", file=sys.stderr)
        return ExitCode.FAILED
    mine = [run_dir for run_dir in submission.run_dirs(path, index) if is_due(run_dir, path, submission.time)]
    retry_policy = RetryPolicy(submission.max_crashes, submission.backoff_s, submission.time)
    # In the job's own process group: whatever SLURM does to the job reaches its runs.
    pool = Pool(mine, submission.at_once, retry_policy, new_session=False)
    with on_signals(pool.stop, signal.SIGTERM, signal.SIGUSR2):
        while pool.poll():
            time.sleep(POLL_S)
        said = [RunDir(run_dir).status() for run_dir in mine]
        states = [status.state if status else None for status in said]
        if pool.stopping and any(state not in (RunOutcome.DONE, RunOutcome.FAILED) for state in states):
            return ExitCode.INTERRUPTED
        close_if_over(read_sweep(path.parent.with_suffix(".json")), ask_slurm=False)
    return ExitCode.FAILED if any(state != RunOutcome.DONE for state in states) else ExitCode.DONE


def is_due(run_dir: Path, submission: Path, submitted: float) -> bool:
    """Whether the run is still this job's: not given to a later one, nor failed before the job was requeued."""
    entry = RunDir(run_dir).job()
    if entry is None or Path(os.path.normpath(run_dir / entry.submission)) != submission:
        return False
    status = RunDir(run_dir).status()
    return not (status is not None and status.state == RunOutcome.FAILED and status.time >= submitted)


if __name__ == "__main__":
    sys.exit(main())
