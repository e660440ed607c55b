"""Where the runs of a command are executed, and how many at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

from conf.schema import LauncherConfig, RunConfig
from conf.typed import ConfigError
from sweeps.gpus import machine_gpus
from sweeps.slurm import cluster

T = TypeVar("T")
SSH_SLURM = "ssh-slurm"
"""The name of the launcher that submits on another machine."""
SILENT = "sbatch is here, but no SLURM answers (scontrol ping)"


def use_slurm(config: RunConfig) -> bool:
    """Return whether SLURM executes a run; with `launcher=auto`, SLURM does where there is one.

    Raises:
      ConfigError: the launcher is `auto`, and SLURM is silent: a cluster's login node is no place for runs. A plan only
        warns.
    """
    if config.launcher.name != "auto":
        return config.launcher.name in ("slurm", SSH_SLURM)
    if cluster.controller() == "silent":
        if not config.plan:
            raise ConfigError(f"launcher=auto: {SILENT}; allowed: launcher=local, and launcher=slurm once it answers")
        warn_silent()
    return cluster.controller() == "up"


@cache
def warn_silent() -> None:
    """Print, once, that the plan is for this machine because SLURM does not answer."""
    print(f"warning: {SILENT}; this plan is for this machine", file=sys.stderr)


def local_parallel(launcher: LauncherConfig, runs: int) -> int:
    """Return how many of so many runs this machine executes at once."""
    if launcher.name == "inline":
        return 1
    slots = max(1, len(machine_gpus()) * launcher.runs_per_gpu)
    return min(launcher.max_parallel or slots, runs)


def grouped(items: Iterable[tuple[LauncherConfig, T]]) -> list[tuple[LauncherConfig, list[T]]]:
    """Return what has one and the same launcher together, in the order in which the launchers come first."""
    groups: dict[str, tuple[LauncherConfig, list[T]]] = {}
    for launcher, item in items:
        groups.setdefault(repr(launcher), (launcher, []))[1].append(item)
    return list(groups.values())
