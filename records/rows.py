"""Append-only files of rows, a JSON object a line: who writes them, and the one way to read them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from records.decode import INT_BITS, DamagedRecordError, described
from records.files import NotAFileError, append_to, naming, open_file

LARGEST = 2**INT_BITS - 1


class LostRowsError(RuntimeError):
    """A row file lacks bytes that were durably written, or holds others in their place."""


class Row(NamedTuple):
    """One value of a run, at a moment counted in environment and update steps; `task` None where it is of all."""

    env_steps: int
    update_steps: int
    name: str
    task: str | None
    value: float

    @classmethod
    def of(cls, values: Any) -> Self:
        """Return the row that a line's JSON value is.

        Raises:
          ValueError: the value is no row; says why.
        """
        return cls(
            _typed(values, "env_steps", int),
            _typed(values, "update_steps", int),
            _typed(values, "name", str),
            _typed(values, "task", str, or_null=True),
            _typed(values, "value", int, float),
        )


class Sample(NamedTuple):
    """One value of the machine that a run is on; `sample` counts the moments at which values were taken."""

    sample: int
    time_ms: int
    name: str
    value: float

    @classmethod
    def of(cls, values: Any) -> Self:
        """Return the sample that a line's JSON value is; raises ValueError as `Row.of`."""
        return cls(
            _typed(values, "sample", int),
            _typed(values, "time_ms", int),
            _typed(values, "name", str),
            _typed(values, "value", int, float),
        )


class Crash(NamedTuple):
    """One time that a run's process died or failed: when, in seconds since the epoch, and why."""

    time: float
    reason: str

    @classmethod
    def of(cls, values: Any) -> Self:
        """Return the crash that a line's JSON value is; raises ValueError as `Row.of`."""
        return cls(_typed(values, "time", int, float), _typed(values, "reason", str))


def _typed(values: Any, key: str, *kinds: type, or_null: bool = False) -> Any:
    if type(values) is not dict:
        raise ValueError(f"a line holds {described(values)}, where a row belongs")
    try:
        value = values[key]
    except KeyError:
        raise ValueError(f"a row has no {key}") from None
    if or_null and value is None:
        return value
    if type(value) not in kinds:
        raise ValueError(f"the {key} of a row is {described(value)}")
    if type(value) is int and not -LARGEST <= value <= LARGEST:
        raise ValueError(f"the {key} of a row has more than {INT_BITS} bits")
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"the {key} of a row is {value}, which is no finite number")
    return value


def _parsed(line: bytes) -> Any:
    """Return a line's JSON value; numbers are checked by `_typed`, which is quicker than while parsing."""
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("a line is nested too deeply") from None
    except ValueError:
        raise ValueError("a line is no JSON") from None


class Readable(Protocol):
    """What a line can be read as."""

    @classmethod
    def of(cls, values: Any) -> Self: ...


R = TypeVar("R", bound=Readable)


def read_rows(
    kind: type[R], path: Path, start: int = 0, stop: int | None = None, having: tuple[bytes, ...] = ()
) -> Iterator[tuple[R, int]]:
    """Yield the rows of a file with the position after each; a last line that is not whole is not there yet.

    Args:
      kind: `Row`, `Sample` or `Crash`.
      path: the file; a missing one has no rows.
      start: the position to begin at, in bytes. In the middle of a line, the next whole line is the first.
      stop: the position to end at; None: the file's end.
      having: lines without any of these bytes are passed over unread; empty: none is. (Most rows of a run are of
        training, and to parse them would take most of the time.)
    Raises:
      DamagedRecordError: a whole line is no row; names the file and the line.
    """
    try:
        opened = open_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except NotAFileError as error:
        raise DamagedRecordError(path, str(error.strerror)) from None
    except OSError as error:
        raise DamagedRecordError(path, f"cannot be read ({error.strerror})") from None
    with opened as file:
        if start > 0:
            file.seek(start - 1)
            if file.read(1) != b"\n":
                file.readline()
        end = file.tell()
        for line in file:
            if (stop is not None and end >= stop) or not line.endswith(b"\n"):
                return
            end += len(line)
            if having and not any(part in line for part in having):
                continue
            try:
                row = kind.of(_parsed(line))
            except ValueError as error:
                raise DamagedRecordError(path, f"line {_line_number(path, end)}: {error}") from None
            yield row, end


def _line_number(path: Path, end: int) -> int:
    with open_file(path) as file:
        return file.read(end).count(b"\n")


def last_rows(kind: type[R], path: Path, size: int) -> list[R]:
    """Return the rows in the last `size` bytes of a file that are whole; none where it cannot be read."""
    try:
        with open_file(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(kind.of(_parsed(line)))
        except ValueError:
            continue
    return rows


def whole_lines(path: Path) -> int:
    """Return the bytes of a file up to the end of its last line; 0 where it cannot be read."""
    try:
        with open_file(path) as file:
            begin = file.seek(0, os.SEEK_END)
            while begin > 0:
                begin, last = max(0, begin - 65536), begin
                file.seek(begin)
                found = file.read(last - begin).rfind(b"\n")
                if found >= 0:
                    return begin + found + 1
            return 0
    except OSError:
        return 0


class RowFile:
    """An append-only file of rows that keeps the SHA-256 of its content; no byte is written twice or held back."""

    def __init__(self, path: Path):
        self.path = path
        self._file = append_to(path, buffering=0)
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
    expect_prefix(path, size, sha256)
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def expect_prefix(path: Path, size: int, sha256: str | None = None) -> None:
    """Check that a file has at least `size` bytes, the first of which have a digest where `sha256` is given.

    Raises:
      LostRowsError: the bytes are not there, or are others.
    """
    held = path.stat().st_size if path.exists() else 0
    if held < size:
        state = f"holds {held:,} bytes" if path.exists() else "is missing"
        raise LostRowsError(f"{path}: {state}, where the checkpoint covers {size:,} bytes")
    if sha256 is not None and read_prefix(path, size)[1].hexdigest() != sha256:
        raise LostRowsError(f"{path}: its first {size:,} bytes are not the ones that the checkpoint covers")


def read_prefix(path: Path, size: int | None) -> tuple[int, hashlib._Hash]:
    """Length and SHA-256 of a file's first `size` bytes, of all with None; a missing file is empty."""
    digest, left = hashlib.sha256(), size
    total = 0
    if path.exists():
        with open_file(path) as file:
            while chunk := file.read(2**20 if left is None else min(left, 2**20)):
                digest.update(chunk)
                total += len(chunk)
                left = None if left is None else left - len(chunk)
    return total, digest
