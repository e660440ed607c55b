"""The exclusive right to write a directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from records import layout

LOCK_TRIES, LOCK_PAUSE_S = 20, 0.05


class LockedError(RuntimeError):
    """Another process writes this run."""


@contextlib.contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """Exclusive right to write the directory; released however the process ends.

    Raises:
      LockedError: names the holder.
    """
    path = run_dir / layout.LOCK
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
