"""Stops a sweep: `python -m sweeps.cancel SWEEP`. Running runs checkpoint; the sweep's command goes on with them."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence

from conf import record
from conf.typed import ConfigError
from sweeps import manifest, slurm
from sweeps.manifest import Sweep
from sweeps.status import locked, states_of


def cancel(sweep: Sweep) -> tuple[int, bool]:
    """Cancel the sweep's SLURM jobs, and stop the command that runs it on this machine; how many, and whether.

    Raises:
      ConfigError: SLURM cannot be asked, or refuses; or the command runs on another machine.
    """
    has_jobs = any((one.run_dir / record.JOB).exists() for one in sweep.members)
    if has_jobs and slurm.queue(sweep.owner) is None:
        raise ConfigError(f"{sweep.id}: SLURM does not answer, so its jobs cannot be cancelled")
    states = states_of(sweep)
    jobs = {state.job for state in states.values() if state.job is not None}
    for member, state in states.items():
        if state.job is not None and (job := slurm.job_of(member.run_dir)):
            slurm.forbid_requeue(job.log.parent, state.job)
    slurm.cancel(jobs)
    if not locked(sweep.folder):
        return len(jobs), False
    holder = (sweep.folder / record.LOCK).read_text().strip()
    match = re.fullmatch(r"process (\d+) on (.+)", holder)
    if match is None or match[2].split(",")[0] != socket.gethostname():
        raise ConfigError(f"{sweep.id}: is run by {holder}; cancel it there")
    os.kill(int(match[1]), signal.SIGTERM)
    return len(jobs), True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sweeps.cancel", description="Stop a sweep's jobs and runs.")
    manifest.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    try:
        if parsed.sweep is None:
            raise ConfigError("SWEEP: say which; python -m sweeps.status lists them")
        sweep = manifest.find(parsed.runs, parsed.sweep)
        jobs, stopped = cancel(sweep)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return record.EXIT_BAD_CONFIG
    local = "; the command that runs it here stops its runs" if stopped else ""
    print(f"{sweep.id}: cancelled {jobs} jobs{local}; the sweep's command continues what is unfinished")
    return record.EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
