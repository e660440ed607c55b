"""The exclusive right to write something, on any file system and from any host.

Where `flock` works, the kernel holds the lock and releases it however the process ends. Some file systems of clusters
refuse `flock`; there a lease takes its place: a file that is made exclusively and is touched as long as its holder
lives. On others, `flock` holds on one host alone; so every holder also leaves its name and a heartbeat, and a holder on
another host counts for as long as its heart beats.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from conf.typed import Since
from records import layout
from records.decode import DamagedRecordError, read_as

UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""What `flock` fails with where a file system does not have it."""
BEAT_S = 5.0
"""Seconds between two beats of a holder."""
GONE_S = 30.0
"""Seconds without a beat after which a holder on another host is gone."""
PAUSE_S = 0.05
TRIES = 20
"""Pauses that a run waits for its lock: somebody may only be looking whether the run is run."""
ANSWER_S = 10.0

Kind = Literal["flock", "lease"]


class LockedError(RuntimeError):
    """Another process holds the lock; one line that names the place and the holder."""


class LostLockError(RuntimeError):
    """The lock that this process held is another's now, because this one did not run for long."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as the holder wrote down.

    Attributes:
      started: when the process began, so that another process with the same number is not taken for it.
      namespace: the process numbers' namespace, which differs between containers on one host.
      job, restarts: SLURM's job, and how often the job went back to the queue.
      token: differs for every taking of a lock.
    """

    host: str
    pid: int
    started: str
    namespace: str
    job: str | None
    restarts: int
    token: Annotated[str, Since("")]

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}{f', SLURM job {self.job}' if self.job else ''}"

    @property
    def is_here(self) -> bool:
        """Whether the process is, or was, one of this host."""
        return self.host == socket.gethostname() and self.namespace == _namespace()


class Lock:
    """A lock that this process holds until `release`, or until the process ends.

    Attributes:
      kind: what holds it.
    """

    def __init__(self, path: Path, kind: Kind, descriptor: int | None, holder: Holder):
        self.path, self.kind = path, kind
        self._descriptor, self._holder = descriptor, holder
        self._released = threading.Event()
        self._lost = False
        threading.Thread(target=self._beat, name=f"lock {path.name}", daemon=True).start()

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            try:
                if self.kind == "lease" and _holder(self.path) != self._holder:
                    self._lost = True
                    return
                os.utime(self.path)
            except OSError:  # the folder is gone, or the file system does not answer for now
                continue

    def check(self) -> None:
        """Raises LostLockError where another process took the lock over."""
        if self._lost:
            raise LostLockError(f"{self.path}: another process holds the lock now: {_holder(self.path)}")

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._released.is_set():
            return
        self._released.set()
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
        elif _holder(self.path) == self._holder:
            self.path.unlink(missing_ok=True)


def try_lock(path: Path) -> Lock | None:
    """Take the lock at a path, whose folder exists; None where another process holds the lock.

    Raises:
      OSError: the file cannot be written.
    """
    me = _me()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        if error.errno not in UNSUPPORTED:
            raise
        return _take_lease(path, me)
    other = _holder(path)
    if (other is not None and not other.is_here and _lives(path, other)) or _lease_lives(path):
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _text(me), 0)
    return Lock(path, "flock", descriptor, me)


def _take_lease(path: Path, me: Holder) -> Lock | None:
    lease = _lease(path)
    for _ in range(2):
        try:
            descriptor = os.open(lease, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            other = _holder(lease)
            if _lease_lives(path) or not _clear(lease, other):
                return None
            continue
        os.write(descriptor, _text(me))
        os.close(descriptor)
        return Lock(lease, "lease", None, me)
    return None


def _clear(lease: Path, gone: Holder | None) -> bool:
    """Remove the lease of a holder that is gone, unless somebody else is at it; whether it was removed.

    Two that find the same holder gone must not remove each other's new lease, so one at a time looks again and removes.
    """
    guard = lease.with_name(f"{lease.name}.clearing")
    try:
        os.close(os.open(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        if _age_s(guard) > GONE_S:  # who began to clear was killed at it
            guard.unlink(missing_ok=True)
        return False
    try:
        if _holder(lease) != gone:
            return False
        lease.unlink(missing_ok=True)
        return True
    finally:
        guard.unlink(missing_ok=True)


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock at a path; None where nobody does. While somebody looks, nobody can take the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    unknown = Holder("an unknown host", 0, "", "", None, 0, "")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(path) or unknown
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
    if _lease_lives(path):
        return _holder(_lease(path)) or unknown
    other = _holder(path)
    return other if other is not None and not other.is_here and _lives(path, other) else None


def is_held(folder: Path) -> bool:
    """Whether a process writes the folder of a run, a sweep or a search."""
    return holder_of(folder / layout.LOCK) is not None


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[Lock]:
    """Hold the exclusive right to write a folder inside the block.

    Raises:
      LockedError: another process holds it; the message names the process.
    """
    path = folder / layout.LOCK
    tries = TRIES
    while (held := try_lock(path)) is None:
        tries -= 1
        if not tries:
            raise LockedError(f"{folder}: is being run by {holder_of(path) or 'another process'}")
        time.sleep(PAUSE_S)
    try:
        yield held
    finally:
        held.release()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Be alone inside the block among all that use the same path; wait for whoever is before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (held := try_lock(path)) is None:
        time.sleep(PAUSE_S)
    try:
        yield
    finally:
        held.release()


def _lease(path: Path) -> Path:
    return path.with_name(f"{path.name}.lease")


def _lease_lives(path: Path) -> bool:
    lease = _lease(path)
    holder = _holder(lease)
    if holder is None:  # none, or one whose maker has not written it yet, or was killed before
        return lease.exists() and _age_s(lease) < GONE_S
    return _lives(lease, holder)


def _lives(path: Path, holder: Holder) -> bool:
    """Whether a holder is still there: by its process here, elsewhere by its job, and otherwise by its heart's beat."""
    if holder.is_here:
        return _started(holder.pid) == holder.started
    me = _me()
    if holder.job is not None and holder.job == me.job and holder.restarts < me.restarts:
        return False  # the job was killed there and has come here
    if holder.job is not None and _job_is_over(holder.job):
        return False
    return _age_s(path) < GONE_S


def _age_s(path: Path) -> float:
    """Seconds since a file was touched, by the file system's own clock, which may differ from this host's."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.clock")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _job_is_over(job: str) -> bool:
    """Whether SLURM knows for certain that a job is not in its queue."""
    if shutil.which("squeue") is None:
        return False
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if result.returncode != 0:
        return "Invalid job id" in result.stderr
    return not result.stdout.strip()


def _holder(path: Path) -> Holder | None:
    try:
        return read_as(Holder, path)
    except DamagedRecordError:  # empty: nobody, or somebody who is just writing it
        return None


def _text(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode() + b"\n"


def _me() -> Holder:
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        namespace=_namespace(),
        job=os.environ.get("SLURM_JOB_ID"),
        restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        token=os.urandom(8).hex(),
    )


@cache
def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process of this host began, as the kernel counts; None where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return ""  # a system without /proc
