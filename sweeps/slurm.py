"""SLURM through submitit: one array, one job a run. The scheduler is asked only whether a job is still there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf import record
from conf.schema import LauncherConfig
from conf.typed import ConfigError, did_you_mean, show

POLL_S = 2.0
GONE_POLLS = 3  # a job is gone when the queue lacks it so many times in a row: a requeue leaves a gap


def answers() -> bool:
    """Whether there is a SLURM to submit to."""
    if shutil.which("sbatch") is None:
        return False
    try:
        return subprocess.run(["scontrol", "ping"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def check(parameters: dict[str, Any]) -> None:
    """Raises ConfigError where there is no SLURM, or for a parameter that submitit's SLURM executor does not have."""
    if not answers():
        raise ConfigError("launcher=slurm: no SLURM answers here (sbatch and scontrol ping); allowed: launcher=local")
    from submitit.slurm.slurm import SlurmExecutor

    allowed = sorted(SlurmExecutor._valid_parameters())
    for name, value in parameters.items():
        if name not in allowed:
            nearest = did_you_mean(name, allowed, 0.6)
            raise ConfigError(
                f"launcher.slurm.{name}={show(value)}: no such parameter; {nearest}allowed: {', '.join(allowed)}; "
                "any other sbatch flag goes under launcher.slurm.additional_parameters"
            )


def run_all(run_dirs: Sequence[Path], launcher: LauncherConfig, folder: Path) -> set[Path]:
    """Submit one job a run and wait until none is queued or running; a Ctrl-C leaves the jobs alone.

    Returns:
      The runs whose jobs have ended.
    """
    jobs = submit(run_dirs, launcher, folder)
    print(f"submitted {len(jobs)} jobs: {', '.join(jobs)}; logs in {folder}", file=sys.stderr, flush=True)
    try:
        wait(list(jobs))
    except KeyboardInterrupt:
        print(f"the jobs go on: {', '.join(jobs)}; the same command finds them again", file=sys.stderr)
        return set()
    return set(run_dirs)


def submit(run_dirs: Sequence[Path], launcher: LauncherConfig, folder: Path) -> list[str]:
    """Submit one array of jobs; their ids."""
    from submitit.slurm.slurm import SlurmExecutor

    executor = SlurmExecutor(folder=folder)
    parameters = {name: value for name, value in launcher.slurm.items() if value is not None}
    if launcher.max_parallel is not None:
        parameters["array_parallelism"] = launcher.max_parallel
    executor.update_parameters(**parameters)
    jobs = executor.map_array(run_member, [str(run_dir) for run_dir in run_dirs])
    return [job.job_id for job in jobs]


def run_member(run_dir: str) -> None:
    """What a job does: execute the recorded run; requeue itself if interrupted; fail visibly if it failed."""
    from agents.run import main

    status = main(["--run-dir", run_dir])
    if status == record.EXIT_INTERRUPTED:
        array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
        job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
        subprocess.run(["scontrol", "requeue", job], check=True)
    if status != record.EXIT_DONE:
        raise SystemExit(status)


def wait(jobs: list[str]) -> None:
    """Return when the queue has none of the jobs any more."""
    absent = 0
    while absent < GONE_POLLS:
        time.sleep(POLL_S)
        absent = 0 if in_queue(jobs) else absent + 1


def in_queue(jobs: Sequence[str]) -> bool:
    """Whether any of the jobs is queued or running; an unreachable scheduler counts as yes."""
    arrays = sorted({job.split("_")[0] for job in jobs})
    result = subprocess.run(["squeue", "-h", "-j", ",".join(arrays), "-o", "%T"], capture_output=True, text=True)
    if result.returncode != 0:
        return "invalid job id" not in result.stderr.lower()
    states = set(result.stdout.split())
    return bool(states - {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"})
