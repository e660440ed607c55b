"""Stops a sweep: `python -m sweeps.cancel SWEEP`. Running runs checkpoint; the sweep's command goes on with them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, add_sweep, exit_status
from records.layout import ExitCode
from records.lock import holder_of, is_held, lock
from records.remote import remote_sweep
from records.sweep import Sweep, find_sweep
from sweeps.slurm import cluster
from sweeps.slurm.submission import job_of
from sweeps.status import has_job, states_of

WORKERS = "workers"
"""In a search's folder: a folder for each command that works on it, with that command's lock."""


@contextlib.contextmanager
def register_worker(search: Path) -> Iterator[None]:
    """Let `cancel` find this process as one of those that work on a search whose folder is `search`."""
    own = search / WORKERS / f"{socket.gethostname()}-{os.getpid()}"
    own.mkdir(parents=True, exist_ok=True)
    try:
        with lock(own):
            yield
    finally:
        shutil.rmtree(own, ignore_errors=True)


def cancel(sweep: Sweep) -> tuple[int, bool]:
    """Cancel the sweep's SLURM jobs, and stop the commands that run it on this machine; how many, and whether any.

    Raises:
      ConfigError: SLURM cannot be asked, or refuses; or a command runs on another machine.
    """
    has_jobs = any(has_job(one.run_dir) for one in sweep.members)
    workers = cluster.search_jobs(sweep.folder, sweep.owner)
    if workers is None or (has_jobs and cluster.queue(sweep.owner) is None):
        raise ConfigError(f"{sweep.id}: SLURM does not answer, so its jobs cannot be cancelled")
    states = states_of(sweep)
    jobs = {state.job for state in states.values() if state.job is not None} | workers.keys()
    for job in workers:
        cluster.forbid_requeue(sweep.folder, job)
    for member, state in states.items():
        if state.job is not None and (job := job_of(member.run_dir)):
            cluster.forbid_requeue(job.log.parent, state.job)
    cluster.cancel(jobs)
    places = [place for place in (sweep.folder, *sweep.folder.glob(f"{WORKERS}/*")) if is_held(place)]
    elsewhere = [holder for place in places if (holder := stop(place)) is not None]
    if elsewhere:
        raise ConfigError(f"{sweep.id}: is run by {' and '.join(elsewhere)}; cancel it there")
    return len(jobs), bool(places)


def stop(place: Path) -> str | None:
    """Ask the process that has locked a folder to end; who it is, if it is on another machine."""
    holder = holder_of(place / layout.LOCK)
    if holder is None:
        return None
    if not holder.is_here:
        return str(holder)
    os.kill(holder.pid, signal.SIGTERM)
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Cancels what a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Cancels the sweep that the arguments name.

    Raises:
      ConfigError: there is no such sweep, or it cannot be cancelled from here.
    """
    parser = Parser(prog="python -m sweeps.cancel", description="Stop a sweep's jobs and runs.")
    add_sweep(parser)
    parsed = parser.parse_args(arguments)
    if parsed.sweep is None:
        raise ConfigError("SWEEP: say which; python -m sweeps.status lists them")
    sweep = find_sweep(parsed.runs, parsed.sweep)
    if (remote := remote_sweep(sweep.path)) is not None:
        from sweeps.remote.bring import pass_on

        return pass_on(sweep.path, remote, "sweeps.cancel")
    jobs, stopped = cancel(sweep)
    local = "; the command that runs it here stops its runs" if stopped else ""
    print(f"{sweep.id}: cancelled {jobs} jobs{local}; the sweep's command continues what is unfinished")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
