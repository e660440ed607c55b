"""Which code, versions and machine a run started with."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
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
from records import layout
from records.decode import read_object

ROOT = Path(__file__).parents[1]
"""The folder that this process imports the project's packages from."""
ORIGIN = "BRC_CODE_ORIGIN"
"""The variable that tells a process which runs a snapshot what git said of the code at the submission, as JSON."""
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
        "code": snapshot_name(),
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


def snapshot_name() -> str:
    """Return the name of the snapshot that this process imports its code from; empty where the code is live."""
    return ROOT.name if ROOT.parent.name == layout.CODE else ""


@cache
def git_state() -> dict[str, str | None]:
    """Return the commit of the code, and a hash of what differs from it; both None where there is no git.

    A snapshot has no git, and may lie inside a checkout that has moved on: for one, what git said at the submission.
    """
    return submitted_state() if snapshot_name() else git_state_of(ROOT)


def submitted_state() -> dict[str, str | None]:
    """Return what git said of a snapshot's code when it was submitted or, without that, when it was first stored."""
    said = os.environ.get(ORIGIN)
    values = json.loads(said) if said else read_object(ROOT / layout.SNAPSHOT) or {}
    return {key: values.get(key) for key in ("git_commit", "git_diff_sha256")}


def git_state_of(folder: Path) -> dict[str, str | None]:
    """Return the commit of a folder's code, and a hash of what differs from it; both None where there is no git."""
    diff = git(folder, "diff", "HEAD")
    return {
        "git_commit": git(folder, "rev-parse", "HEAD"),
        "git_diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
    }


def git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints in a folder, without blanks around it; None where git fails."""
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def slurm_ids() -> dict[str, str]:
    """SLURM's names for this job, where there is one."""
    names = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")
    return {name: os.environ[name] for name in names if name in os.environ}
