"""Runs what a SLURM job was given: `python -m sweeps.slurm.job SUBMISSION.json INDEX`; several at once if packed.

Ends with 0 if all are done, 75 if some are interrupted, 1 if any failed and none can go on. The job's script decides
whether it goes back to the queue.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from records import files, layout
from records.layout import ExitCode, RunOutcome
from records.sweep import read_sweep
from sweeps.pool import Patience, Pool, on_signals
from sweeps.status import close_if_over

POLL_S = 0.2


def main() -> int:
    submission, index = Path(sys.argv[1]), int(sys.argv[2])
    body = json.loads(submission.read_text())
    run_dirs = [Path(os.path.normpath(submission.parent / name)) for name in body["jobs"][index]]
    mine = [run_dir for run_dir in run_dirs if is_due(run_dir, submission, body["time"])]
    patience = Patience(body["max_crashes"], body["backoff_s"], body["time"])
    # In the job's own process group: whatever SLURM does to the job reaches its runs.
    pool = Pool(mine, body["at_once"], patience, new_session=False)
    with on_signals(pool.stop, signal.SIGTERM, signal.SIGUSR2):
        while pool.poll():
            time.sleep(POLL_S)
        states = [(files.read_json(run_dir / layout.STATUS) or {}).get("state") for run_dir in mine]
        if pool.stopping and any(state not in (RunOutcome.DONE, RunOutcome.FAILED) for state in states):
            return ExitCode.INTERRUPTED
        close_if_over(read_sweep(submission.parent.with_suffix(".json")), ask_slurm=False)
    return ExitCode.FAILED if any(state != RunOutcome.DONE for state in states) else ExitCode.DONE


def is_due(run_dir: Path, submission: Path, submitted: float) -> bool:
    """Whether the run is still this job's: not given to a later one, nor failed before the job was requeued."""
    entry = files.read_json(run_dir / layout.JOB) or {}
    if Path(os.path.normpath(run_dir / entry.get("submission", ""))) != submission:
        return False
    status = files.read_json(run_dir / layout.STATUS) or {}
    return not (status.get("state") == RunOutcome.FAILED and status["time"] >= submitted)


if __name__ == "__main__":
    sys.exit(main())
