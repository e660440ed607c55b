"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name into an OSError that has none: the system names no file that is open already."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the place beside a file where its new content is written; it takes the file's place unless writing fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path):
            yield temporary
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class NotAFileError(OSError):
    """Something else stands where a file belongs: a folder, or a pipe or device that may never end."""

    def __init__(self, path: Path, mode: int):
        what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
        super().__init__(errno.EINVAL, f"is {what}, where a file belongs", str(path))


def open_file(path: Path) -> io.BufferedReader:
    """Open an ordinary file for reading, and wait for nothing.

    Raises:
      NotAFileError: something else stands there.
      OSError: nothing stands there, or it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NotAFileError(path, mode)
    return open(descriptor, "rb")


def append_to(path: Path, buffering: int = -1) -> BinaryIO:
    """Open an ordinary file, or a new one, to write at its end.

    Args:
      path: the file.
      buffering: as for `open`; 0 writes at once.
    Raises:
      NotAFileError: something else stands there.
      OSError: the file cannot be written.
    """
    if path.exists() and not path.is_file():
        raise NotAFileError(path, path.stat().st_mode)
    return path.open("ab", buffering)  # type: ignore[return-value]


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`: written beside it, synced, renamed."""
    with replacing(path) as temporary, temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def overwrite(path: Path, text: str) -> None:
    """Write `text` over a file's content, which a full disk has room for; remove the file where that fails too."""
    try:
        with path.open("r+b") as file:
            file.write(text.encode())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by a value as JSON."""
    write_atomic(path, json.dumps(value, indent=2) + "\n")


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tail_lines(path: Path, count: int, limit: int = 16384) -> list[str]:
    """The last lines of a text file, looking at its last `limit` bytes; none where it cannot be read."""
    try:
        with open_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
