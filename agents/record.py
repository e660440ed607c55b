"""Writes a run directory: configuration, manifest, append-only rows, status. The names are in `conf.record`."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from conf import record
from conf.files import write_atomic, write_json
from conf.schema import RunConfig
from envs.spec import TaskSpec

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


class Row(NamedTuple):
    """One value of a run, at a moment counted in environment and update steps; `task` None where it is of all."""

    env_steps: int
    update_steps: int
    name: str
    task: str | None
    value: float


LOCK_TRIES, LOCK_PAUSE_S = 20, 0.05


class LockedError(RuntimeError):
    """Another process writes this run."""


@contextlib.contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """Exclusive right to write the directory; released however the process ends.

    Raises:
      LockedError: names the holder.
    """
    path = run_dir / record.LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for left in reversed(range(LOCK_TRIES)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # or somebody looks whether the run is run, which takes a moment
                if not left:
                    holder = path.read_text().strip() or "another process"
                    raise LockedError(f"{run_dir}: is being run by {holder}") from None
                time.sleep(LOCK_PAUSE_S)
        os.ftruncate(descriptor, 0)
        job = os.environ.get("SLURM_JOB_ID")
        where = f"{socket.gethostname()}{f', SLURM job {job}' if job else ''}"
        os.write(descriptor, f"process {os.getpid()} on {where}\n".encode())
        yield
    finally:
        os.close(descriptor)


class RowFile:
    """An append-only file of rows, which a resumed run cuts back to where its checkpoint was."""

    def __init__(self, path: Path):
        self._file = path.open("ab")

    def append(self, rows: Iterable[Row]) -> None:
        lines = [json.dumps(row._asdict(), separators=(",", ":")) + "\n" for row in rows]
        self._file.write("".join(lines).encode())
        self._file.flush()

    def position(self) -> int:
        """Bytes that are durably written."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def cut(self, position: int) -> None:
        self._file.truncate(position)
        self._file.seek(position)

    def close(self) -> None:
        self._file.close()


class RunRecord:
    """One run's directory, held under its lock by the caller."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.metrics = RowFile(run_dir / record.METRICS)
        self.timing = RowFile(run_dir / record.TIMING)

    def positions(self) -> dict[str, int]:
        """Durable lengths of the row files, for a checkpoint."""
        return {"metrics": self.metrics.position(), "timing": self.timing.position()}

    def durable(self, positions: Mapping[str, int]) -> None:
        """Say that a checkpoint covers the row files up to these positions: what a mirror may send."""
        write_json(self.run_dir / record.DURABLE, dict(positions))

    def cut(self, positions: Mapping[str, int]) -> None:
        """Drop rows that came after a checkpoint; they will come again."""
        self.metrics.cut(positions["metrics"])
        self.timing.cut(positions["timing"])
        self.durable(positions)

    def status(self, state: str, **details: Any) -> None:
        """Say where the run stands: running, done, failed or interrupted."""
        write_status(self.run_dir, state, **details)

    def done(self, env_steps: int, score: float | None, rows: Sequence[Row]) -> None:
        """Mark the budget as reached; `rows` are the last evaluation's."""
        values = {"env_steps": env_steps, "score": score, "evaluation": [row._asdict() for row in rows]}
        write_json(self.run_dir / record.DONE, values)

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()


def write_status(run_dir: Path, state: str, **details: Any) -> None:
    origin = {"host": socket.gethostname(), "pid": os.getpid(), "slurm": slurm_ids()}
    write_json(run_dir / record.STATUS, {"state": state, "time": time.time()} | details | origin)


def write_config(run_dir: Path, config: RunConfig) -> None:
    write_atomic(run_dir / record.CONFIG, record.config_to_json(config) + "\n")


def write_manifest(run_dir: Path, config: RunConfig, specs: Sequence[TaskSpec], sizes: Mapping[str, int]) -> None:
    """Identity, tasks with their scores' constants, sizes, and one entry for each start of the run."""
    path = run_dir / record.MANIFEST
    previous = record.read_whole(path, "starts") or {"starts": []}
    manifest = {
        "version": record.VERSION,
        "identity": record.identity(config),
        "identity_values": record.identity_of(config),
        "tasks": [dataclasses.asdict(spec) for spec in specs],
        "sizes": dict(sizes),
        "starts": [*previous["starts"], provenance()],
    }
    write_json(path, manifest)


def provenance() -> dict[str, Any]:
    """Code, versions and machine of this start."""
    import jax

    device = jax.devices()[0]
    return {
        "time": time.time(),
        "command": " ".join(sys.argv),
        **git_state(),
        "python": platform.python_version(),
        "versions": versions(),
        "host": socket.gethostname(),
        "slurm": slurm_ids(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "device": f"{len(jax.devices())} x {device.device_kind}",
    }


def versions() -> dict[str, str]:
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
