"""Whether the runs of a plan can be held where they would run, and whether its budget covers them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agents.memory import available_bytes
from agents.sizes import check_disk, check_memory, readable_bytes
from conf.schema import LauncherConfig
from conf.typed import ConfigError
from sweeps.budget import check_hours, gpus_of
from sweeps.gpus import MEMORY_FRACTION, machine_gpus
from sweeps.plan.place import local_parallel
from sweeps.plan.plan import Common, Plan, Planned, by_launcher, teams_of

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def check_fit(plan: Plan) -> None:
    """Refuse runs that cannot be held where they would run, lack devices, or exceed the budget in GPU-hours.

    Raises:
      ConfigError: names what is needed and what there is.
    """
    check_hours(plan)
    check_mesh(plan.pending, plan.common)
    for launcher, runs in by_launcher(plan.pending):
        _check_fit(launcher, runs, plan.common)


def check_mesh(runs: Sequence[Planned], common: Common) -> None:
    """Refuse a run whose mesh has more devices than the run would have GPUs; without a GPU, JAX says what there is.

    Raises:
      ConfigError: names both numbers.
    """
    for one in runs:
        mesh, launcher = one.config.mesh, one.config.launcher
        gpus = len(machine_gpus()) if common.inline else gpus_of(launcher, common.on_slurm)
        if 0 < gpus < mesh.devices > 1:
            flag = f"launcher.slurm.gpus_per_node={mesh.devices}" if common.on_slurm else "launcher=inline"
            raise ConfigError(
                f"mesh.data={mesh.data} mesh.model={mesh.model}: needs {mesh.devices} GPUs, a run has {gpus:g} here; "
                f"{flag} gives more"
            )


def _check_fit(launcher: LauncherConfig, pending: Sequence[Planned], common: Common) -> None:
    on_slurm = common.on_slurm
    processes = launcher.runs_per_gpu if on_slurm else local_parallel(launcher, len(teams_of(pending)))
    processes_per_gpu = processes if on_slurm else -(-processes // max(1, len(machine_gpus())))
    at_once, per_gpu = (count * launcher.seeds_together for count in (processes, processes_per_gpu))
    sizes = [one.size for one in pending]
    check_disk(sorted(sizes, key=lambda size: size.replay_file_bytes, reverse=True)[:at_once], common.runs)
    largest = sorted(sizes, key=lambda size: size.replay_bytes, reverse=True)[:at_once]
    available = job_bytes(launcher.slurm.get("mem")) if on_slurm else available_bytes()
    if available is not None:
        check_memory(largest, available)
    if launcher.gpu_memory_gb is not None and (on_slurm or machine_gpus()):
        needed = sum(sorted((one.size.device_bytes for one in pending), reverse=True)[:per_gpu])
        usable = MEMORY_FRACTION * launcher.gpu_memory_gb * 2**30
        if needed > usable:
            together = f" launcher.seeds_together={launcher.seeds_together}" if launcher.seeds_together > 1 else ""
            there = f"{MEMORY_FRACTION:.0%} of launcher.gpu_memory_gb={launcher.gpu_memory_gb:g}"
            raise ConfigError(
                f"launcher.runs_per_gpu={processes_per_gpu}{together}: needs {readable_bytes(needed)} of GPU memory, "
                f"{there} is {readable_bytes(usable)}"
            )


def job_bytes(mem: object) -> int | None:
    """Return the bytes that sbatch's flag asks for; None where the flag is absent, or asks for all of a node (0).

    Raises:
      ConfigError: the flag cannot be read.
    """
    if mem is None or mem is False:
        return None
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", str(mem).upper())
    if match is None:
        raise ConfigError(f"launcher.slurm.mem={mem}: must be a whole number with K, M, G or T, such as 64G, or null")
    return int(match[1]) * UNITS[match[2] or "M"] or None
