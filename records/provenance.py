"""Which code, versions and machine a run started with."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from conf.passwords import mask

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "mujoco",
    "dm-control",
    "gymnasium",
    "ale-py",
    "hydra-core",
    "mlflow",
)


def provenance(device: str, lock: str) -> dict[str, Any]:
    """Code, versions and machine of this start, with the accelerator's description in words and the lock's kind."""
    return {
        "time": time.time(),
        "command": mask(" ".join(sys.argv)),
        **git_state(),
        "python": platform.python_version(),
        "versions": versions(),
        "host": socket.gethostname(),
        "slurm": slurm_ids(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "device": device,
        "lock": lock,
    }


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that results depend on."""
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@cache
def git_state() -> dict[str, str | None]:
    """Commit of the code, and a hash of what differs from it; both None where there is no git."""

    def git(*arguments: str) -> str | None:
        folder = Path(__file__).parent
        try:
            result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    diff = git("diff", "HEAD")
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
    }


def slurm_ids() -> dict[str, str]:
    """SLURM's names for this job, where there is one."""
    names = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")
    return {name: os.environ[name] for name in names if name in os.environ}
