"""Reckons the digests of files that shape a suite's physics."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file, by the names that the caller gives them.

    Raises:
      OSError: a file cannot be read.
    """
    return {name: _digest(path, path.stat().st_mtime_ns) for name, path in files.items()}


@cache
def _digest(path: Path, modified_ns: int) -> str:
    """Return the SHA-256 of a file as it was last modified at a time, reckoned once for all tasks that need it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
