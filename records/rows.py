"""Append-only files of rows, a JSON object a line, that a resumed run cuts back to its checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from records.files import naming


class LostRowsError(RuntimeError):
    """A row file lacks bytes that were durably written, or holds others in their place."""


class Row(NamedTuple):
    """One value of a run, at a moment counted in environment and update steps; `task` None where it is of all."""

    env_steps: int
    update_steps: int
    name: str
    task: str | None
    value: float


class RowFile:
    """An append-only file of rows that keeps the SHA-256 of its content; no byte is written twice or held back."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._size, self._sha256 = read_prefix(path, None)

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows at the file's end.

        Raises:
          OSError: they cannot all be written; the error names the file, which may hold a part of them.
        """
        content = "".join(json.dumps(row._asdict(), separators=(",", ":")) + "\n" for row in rows).encode()
        with naming(self.path):
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) :]
        self._size += len(content)
        self._sha256.update(content)

    def position(self) -> int:
        """Bytes that are durably written."""
        with naming(self.path):
            os.fsync(self._file.fileno())
        return self._size

    def sha256(self) -> str:
        """The digest of all that was appended, and of what was there before."""
        return self._sha256.hexdigest()

    def in_place(self) -> bool:
        """Whether the path still leads to this file: nobody removed, moved or replaced it."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


def cut(path: Path, size: int, sha256: str | None = None) -> None:
    """Drop what follows the first `size` bytes, which must be there and, where `sha256` is given, have that digest.

    Raises:
      LostRowsError: they are not; the file is left as it is.
    """
    held = path.stat().st_size if path.exists() else 0
    if held < size:
        state = f"holds {held:,} bytes" if path.exists() else "is missing"
        raise LostRowsError(f"{path}: {state}, where the checkpoint covers {size:,} bytes")
    if sha256 is not None and read_prefix(path, size)[1].hexdigest() != sha256:
        raise LostRowsError(f"{path}: its first {size:,} bytes are not the ones that the checkpoint covers")
    if held > size:
        os.truncate(path, size)


def read_prefix(path: Path, size: int | None) -> tuple[int, hashlib._Hash]:
    """Length and SHA-256 of a file's first `size` bytes, of all with None; a missing file is empty."""
    digest, left = hashlib.sha256(), size
    total = 0
    if path.exists():
        with path.open("rb") as file:
            while chunk := file.read(2**20 if left is None else min(left, 2**20)):
                digest.update(chunk)
                total += len(chunk)
                left = None if left is None else left - len(chunk)
    return total, digest
