"""Gives replay its large arrays, in memory or in a file of the run's folder that is mapped into memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np


def empty(shape: tuple[int, ...], dtype: str, folder: Path | None) -> np.ndarray:
    """Return an array of zeros `shape`, in memory, or in a file where a folder is given.

    The file has no name: the file system takes its room back as soon as the process has ended, also after a kill. A
    checkpoint holds all that is needed to fill the file again. The whole room is reserved at once, since a process that
    writes to a mapped file on a full disk is killed.

    Raises:
      OSError: the file cannot be made, or the file system has no room for it.
    """
    if folder is None:
        return np.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".replay-") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)
    except OSError as error:
        raise OSError(error.errno, f"replay's file of {size:,} bytes: {error.strerror}", str(folder)) from error
