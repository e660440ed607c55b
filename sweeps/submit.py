"""Submits runs to SLURM with the launchers that their directories record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from records.run_dir import recorded_config
from records.sweep import Sweep
from sweeps.code import kept, store, submitted_code
from sweeps.plan.place import grouped
from sweeps.slurm import cluster
from sweeps.slurm.script import script
from sweeps.stages import send
from sweeps.teams import recorded_teams


def submit_runs(sweep: Sweep, run_dirs: Sequence[Path]) -> list[str]:
    """Submit runs of a sweep, a job array or more for each stage and launcher, and return the arrays' ids.

    The jobs have the code of this process, as it is now. The caller holds the sweep's `launch_lock`.

    Raises:
      ConfigError: a run has no configuration that can be read, or SLURM does not answer or refuses.
    """
    configs = {run_dir: recorded_config(run_dir) for run_dir in run_dirs}
    found = grouped((config.launcher, run_dir) for run_dir, config in configs.items())
    groups = [(launcher, recorded_teams(runs)) for launcher, runs in found]
    code = submitted_code([launcher for launcher, _ in groups], on_slurm=True, runs=sweep.path.parents[1])
    own = [kept(code, launcher, on_slurm=True) for launcher, _ in groups]
    for (launcher, teams), imported in zip(groups, own, strict=True):
        cluster.check(launcher, script(teams, launcher, sweep.folder, sweep.id, cluster.max_array_size(), imported))
    if code is not None:
        store(code)
    return send(configs, sweep.folder, sweep.id, code)
