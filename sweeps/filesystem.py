"""Checks that a folder's file system keeps what the project writes: renames, syncs, exclusive creation and locks.

`python -m sweeps.filesystem FOLDER NUMBER` is one of several processes that contend for the same files and counter.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from records.files import sync_folder, write_atomic
from records.lock import exclusive, try_lock

PROCESSES = 4
NAMES = 50
"""Files that every contending process tries to create."""
TURNS = 10
"""How often every contending process adds 1 to the counter, under the lock."""
COUNTER, GO = "counter", "go"


class FileSystemError(Exception):
    """The file system does not do what is asked of it; one line that says what."""


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a folder for tries, on the file system that `folder` is on or would be made on; remove it afterwards.

    Raises:
      OSError: nothing can be written there.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as name:
        yield Path(name)


def examine(folder: Path) -> str:
    """Try everything that is asked of a file system, in an empty folder, and return in words how locks are held.

    Raises:
      FileSystemError: names what does not work.
      OSError: an operation is refused.
    """
    check_rename(folder)
    kind = lock_kind(folder)
    check_contention(folder)
    return kind


def check_rename(folder: Path) -> None:
    """Replace a file by another, synced, twice; then look for the second text, and for nothing besides the file.

    Raises:
      FileSystemError: the file does not hold what was written last.
    """
    path = folder / "replaced"
    try:
        for text in ("first", "second"):
            write_atomic(path, text)
        sync_folder(folder)
    except OSError as error:
        raise FileSystemError(f"a file cannot be written, synced and renamed: {error.strerror or error}") from None
    found = path.read_text(), sorted(one.name for one in folder.iterdir())
    if found != ("second", [path.name]):
        raise FileSystemError("a rename within the folder does not replace the file of that name")
    path.unlink()


def lock_kind(folder: Path) -> str:
    """Take a lock, see that a second holder is refused, give it back, and return what holds it: flock, or a lease.

    Raises:
      FileSystemError: the lock is given twice, or not given again after its release.
    """
    held = try_lock(folder / "lock")
    if held is None:
        raise FileSystemError("a lock that nobody holds cannot be taken")
    try:
        second = try_lock(folder / "lock")
        if second is not None:
            second.release()
            raise FileSystemError("a lock is given twice")
    finally:
        held.release()
    again = try_lock(folder / "lock")
    if again is None:
        raise FileSystemError("a lock that was given back cannot be taken again")
    again.release()
    return held.kind


def check_contention(folder: Path) -> None:
    """Have several processes create the same files and add to one counter at once.

    Raises:
      FileSystemError: a file was created twice or never, or an addition got lost.
    """
    (folder / COUNTER).write_text("0")
    module = [sys.executable, "-m", "sweeps.filesystem", str(folder)]
    processes = [
        subprocess.Popen([*module, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    for number in range(PROCESSES):
        while not (folder / f"ready-{number}").exists() and processes[number].poll() is None:
            time.sleep(0.01)
    (folder / GO).touch()
    created: list[str] = []
    for process in processes:
        out, errors = process.communicate()
        if process.returncode != 0:
            raise FileSystemError(f"a contending process failed: {(errors.strip().splitlines() or ['no word'])[-1]}")
        created += out.split()
    if len(created) != len(set(created)):
        raise FileSystemError("exclusive creation gives one file to two processes")
    if len(created) != NAMES:
        raise FileSystemError(f"exclusive creation made {len(created)} of {NAMES} files")
    counted = int((folder / COUNTER).read_text())
    if counted != PROCESSES * TURNS:
        raise FileSystemError(
            f"locks do not exclude: {PROCESSES} processes added {PROCESSES * TURNS}, of which {counted} arrived"
        )


def contend(folder: Path, number: int) -> list[str]:
    """Contend with other processes once the folder has the file `go`; return the names of the files created here."""
    (folder / f"ready-{number}").touch()
    while not (folder / GO).exists():
        time.sleep(0.001)
    mine = []
    for index in range(NAMES):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(folder / f"file-{index}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            mine.append(str(index))
    for _ in range(TURNS):
        with exclusive(folder / "counter.lock"):
            counted = int((folder / COUNTER).read_text())
            write_atomic(folder / COUNTER, str(counted + 1))
    return mine


if __name__ == "__main__":
    print(*contend(Path(sys.argv[1]), int(sys.argv[2])))
