"""How long runs will take: from the rates of earlier runs of the same size, or by a formula before there are any.

The formula, for one environment step of all tasks:

    tasks x ENV_STEP_S / cores + U x (overhead + operations of an update / speed)

where U updates follow a step; `agents.sizes` counts an update's operations. Of seeds that one process trains together,
each step is one of all of them.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.sizes import RunSize
from conf import identity
from conf.schema import LauncherConfig, RunConfig
from records import layout
from records.run_dir import RunDir
from sweeps.gpus import machine_gpus

# Measured on a 2-core CPU at widths 64 and 128, batches 128 and 256, within 20 %.
CPU_UPDATE_OVERHEAD_S = 2e-3
FLOPS_PER_CORE = 20e9
ENV_STEP_S = 5e-4  # a light task; a dog takes three times as long
# Cautious for a data-centre GPU, float32 inputs.
GPU_UPDATE_OVERHEAD_S = 1e-3
GPU_FLOPS = 20e12

Key = str
Rates = Mapping[tuple[Key, bool], float]
"""Environment steps per second by what determines them, and whether on SLURM."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole run, and where they come from: `measured` or `formula`."""

    seconds: float
    source: str


def speed_key(values: Mapping[str, Any]) -> Key:
    """What determines a run's speed: its identity without the seed and the run that it was started from."""
    return json.dumps({name: value for name, value in values.items() if name not in ("seed", "source")}, sort_keys=True)


def measured_rates(runs: Path) -> Rates:
    """Return the median rates of the runs below a folder."""
    found: dict[tuple[Key, bool], list[float]] = defaultdict(list)
    for path in runs.glob(f"*/*/{layout.TIMING}"):
        run_dir = RunDir(path.parent)
        _, rate = run_dir.progress()
        manifest = run_dir.manifest() if rate else None
        if rate and manifest is not None and manifest.starts:
            found[speed_key(manifest.identity_values), bool(manifest.starts[-1].slurm)].append(rate)
    return {key: statistics.median(rates) for key, rates in found.items()}


def estimate(config: RunConfig, size: RunSize, rates: Rates, on_slurm: bool, parallel: int) -> Estimate:
    """Return how long a run takes.

    Args:
      config: the run's configuration.
      size: what the run needs.
      rates: the rates of earlier runs (`measured_rates`).
      on_slurm: whether the run has a SLURM job's cores and GPU; otherwise it has this machine's.
      parallel: how many runs share this machine's CPU.
    """
    rate = rates.get((speed_key(identity.values_of(config)), on_slurm)) if rates else None
    if rate is not None:
        return Estimate(config.train.env_steps / rate, "measured")
    if on_slurm:
        cores = int_or(config.launcher.slurm.get("cpus_per_task"), 1) / config.launcher.runs_per_gpu
    else:
        cores = max(1, len(os.sched_getaffinity(0)) // parallel)
    update_s = update_seconds(config, size, on_gpu(config.launcher, on_slurm), cores)
    environments = config.launcher.seeds_together * len(config.benchmark.task_ids)
    step_s = environments * ENV_STEP_S / cores + config.agent.updates_per_step * update_s
    return Estimate(config.train.env_steps * step_s, "formula")


def on_gpu(launcher: LauncherConfig, on_slurm: bool) -> bool:
    """Whether a run computes on a GPU: one that its SLURM job asks for, or one of this machine."""
    if not on_slurm:
        return bool(machine_gpus())
    flags = launcher.slurm.items()
    return any("gpu" in str(key) and value for key, value in flags) or "gpu" in str(launcher.slurm.get("gres"))


def update_seconds(config: RunConfig, size: RunSize, gpu: bool, cores: float) -> float:
    """Return the seconds of one update, of all seeds that one process trains together.

    Args:
      config: the run's configuration.
      size: what the run needs.
      gpu: whether the run computes on a GPU, which `launcher.runs_per_gpu` runs share.
      cores: the run's processor cores.
    """
    speed = GPU_FLOPS / config.launcher.runs_per_gpu if gpu else FLOPS_PER_CORE * cores
    seeds = config.launcher.seeds_together
    return (GPU_UPDATE_OVERHEAD_S if gpu else seeds * CPU_UPDATE_OVERHEAD_S) + seeds * size.update_flops / speed


def int_or(value: Any, default: int) -> int:
    """Return the value as a whole number of at least 1, or the default where the value is none."""
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        return default
