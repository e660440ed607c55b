"""Append-only files of rows, a JSON object a line, that a resumed run cuts back to its checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One value of a run, at a moment counted in environment and update steps; `task` None where it is of all."""

    env_steps: int
    update_steps: int
    name: str
    task: str | None
    value: float


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
