"""Submits again what SLURM jobs have left unfinished: a sweep's runs, or the trials of a search."""

from __future__ import annotations

from records.run_dir import recorded_config
from records.sweep import Sweep, launch_lock
from sweeps.plan.place import grouped
from sweeps.search.command import resubmit
from sweeps.slurm import cluster
from sweeps.slurm.script import script
from sweeps.slurm.submission import job_of
from sweeps.status import states_of


def relaunch(sweep: Sweep) -> None:
    """Submit again what a sweep's SLURM jobs have left unfinished, and say how much that is.

    Raises:
      ConfigError: SLURM does not answer or refuses, or a search has never been given to SLURM.
    """
    if sweep.overrides:
        resubmit(sweep.path)
    else:
        print(f"{sweep.id}: submitted {relaunch_runs(sweep)} runs again")


def relaunch_runs(sweep: Sweep) -> int:
    """Submit again the sweep's runs whose SLURM jobs have ended early; those that failed are left alone.

    Returns:
      how many were submitted.
    Raises:
      ConfigError: SLURM does not answer or refuses.
    """
    with launch_lock(sweep.path):
        states = states_of(sweep)
        ended = [
            member.run_dir
            for member, state in states.items()
            if state.name in ("interrupted", "killed", "new") and job_of(member.run_dir) is not None
        ]
        groups = grouped((recorded_config(run_dir).launcher, run_dir) for run_dir in ended)
        for launcher, runs in groups:
            cluster.check(launcher, script(runs, launcher, sweep.folder, sweep.id, cluster.max_array_size()))
        for launcher, runs in groups:
            cluster.submit(runs, launcher, sweep.folder, sweep.id)
    return len(ended)
