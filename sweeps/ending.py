"""The end of a sweep: its MLflow runs are closed, and the user's own command is told, once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from records.decode import DamagedRecordError, read_object
from records.files import write_json
from records.remote import remote_sweep
from records.sweep import Sweep, change_sweep, read_sweep, sweep_lock
from sweeps.closing import close
from sweeps.slurm import cluster
from sweeps.status import RunState, inspect

OUTCOME = "outcome.json"
"""In the sweep's folder: what the user's command reads."""
PATIENCE_S = 60.0
"""Seconds after which nobody waits for the user's command any longer; the command goes on."""


def end_if_over(sweep: Sweep, ask_slurm: bool) -> None:
    """Close the sweep's MLflow runs and run the user's command, where all runs are done or have failed for good.

    Args:
      sweep: the sweep.
      ask_slurm: for what it has; otherwise, as every job of a large sweep would ask, it may have any unfinished run.
    """
    if sweep.parents.keys() <= set(sweep.closed) and (sweep.notify is None or sweep.notified):
        return
    elsewhere = remote_sweep(sweep.path) is not None  # where this machine's SLURM knows nothing
    queue = {} if elsewhere else cluster.queue(sweep.owner) if ask_slurm else None
    states = {one.run_dir: inspect(one.run_dir, one.env_steps, queue) for one in sweep.members}
    names = {state.name for state in states.values()}
    if names <= {"done", "failed"} and (sweep.decide is None or has_verdict(sweep, states)):
        end(sweep, failed="failed" in names)


def has_verdict(sweep: Sweep, states: Mapping[Path, RunState]) -> bool:
    """Whether the runs of a deciding sweep leave nothing to decide."""
    from sweeps.decide.standing import standing

    return standing(sweep, {run_dir for run_dir, state in states.items() if state.name == "failed"}).verdict.over


def end(sweep: Sweep, failed: bool) -> None:
    """Close the sweep's MLflow runs, and run the user's command on what the sweep came to."""
    close(sweep, failed)
    notify(sweep.path, "failed" if failed else "done")


def notify(path: Path, status: str) -> None:
    """Run the user's command, with the outcome as JSON on its standard input, unless this end is known already.

    The mark is set before the command starts, under the lock of the record, so that of several jobs that end together
    one alone starts it, and a command that was started is not started again after a kill. What goes wrong with the
    command is one line on standard error.

    Args:
      path: the sweep's record.
      status: what the sweep came to, in a word.
    """
    with sweep_lock(path):
        sweep = read_sweep(path)
        if sweep.notify is None or sweep.notified:
            return
        outcome = sweep.folder / OUTCOME
        write_json(outcome, outcome_of(sweep, status))
        change_sweep(path, notified=True)
    try:
        with outcome.open() as file:
            process = subprocess.Popen(["/bin/sh", "-c", sweep.notify], stdin=file, start_new_session=True)
        code = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        problem = f"still runs after {PATIENCE_S:.0f} seconds, and is left alone"
    except OSError as error:
        problem = f"could not be started: {error}"
    else:
        problem = f"ended with status {code}" if code else ""
    if problem:
        print(f"warning: launcher.notify={sweep.notify}: {problem}; what it was given: {outcome}", file=sys.stderr)


def outcome_of(sweep: Sweep, status: str) -> dict[str, Any]:
    """What a sweep came to, as plain values.

    Args:
      sweep: the sweep.
      status: done or failed.
    """
    states = {one: inspect(one.run_dir, one.env_steps, {}) for one in sweep.members}
    try:
        record = read_object(sweep.path) or {}
    except DamagedRecordError:
        record = {}
    return {
        "sweep": sweep.id,
        "record": str(sweep.path),
        "status": status,
        "ended": time.time(),
        "command": record.get("command"),
        "counts": Counter(state.name for state in states.values()),
        "runs": [
            {
                "run_dir": str(one.run_dir),
                "part": one.part,
                "varied": one.varied,
                "state": state.name,
                "env_steps": state.env_steps,
                "score": state.score,
                "reason": state.reason,
            }
            for one, state in states.items()
        ],
        "verdict": record.get("verdict"),
    }
