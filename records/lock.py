"""Locks give one process the exclusive right to write something, on any file system and from any host.

A holder has a lease: a file that the holder made exclusively, that says who the holder is, and that the holder touches
as long as it lives. Making that file is the one step that decides between two processes. Where `flock` works the holder
has that lock as well: the kernel turns away a second process also where somebody removed the lease. `flock` alone would
not do, because some file systems of clusters refuse it, and others keep it on one host alone.
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
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from records import layout
from records.decode import DamagedRecordError, read_as

UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
"""The errors of `flock` on file systems that have no such lock."""
BEAT_S = 5.0
"""A holder touches its lease every so many seconds."""
GONE_S = 30.0
"""A holder on another host that has not touched its lease for so many seconds is gone."""
PAUSE_S = 0.05
TRIES = 20
"""A run waits for its lock for so many pauses, because the holder may be about to give the lock back."""
ANSWER_S = 10.0
"""SLURM has so many seconds to answer, and the answer counts for as long."""
CLOCK_S = 60.0
"""The measured difference between a file system's clock and this host's counts for so many seconds."""

Kind = Literal["flock", "lease"]


class LockedError(RuntimeError):
    """Another process holds the lock; the message is one line that names the place and the holder."""


class LostLockError(RuntimeError):
    """The lock that this process held belongs to another process now, because this process was stopped for long."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as the holder has written into its lease.

    Attributes:
      started: when the process began, so that another process with the same number is not taken for it.
      namespace: the process numbers' namespace, which differs between containers on one host.
      cluster, job, restarts: SLURM's cluster and job, and how often the job went back to the queue.
      token: differs for every taking of a lock.
    """

    host: str
    pid: int
    started: str
    namespace: str
    cluster: str | None
    job: str | None
    restarts: int
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}{f', SLURM job {self.job}' if self.job else ''}"

    @property
    def is_here(self) -> bool:
        """Whether the process runs, or ran, on this host."""
        return self.host == socket.gethostname() and self.namespace == _namespace()


class Lock:
    """A lock that this process holds until `release`, or until the process ends.

    Attributes:
      kind: "flock" where the kernel holds the lock too, "lease" where the lease alone does.
    """

    def __init__(self, path: Path, descriptor: int | None, holder: Holder):
        self.path = path
        self.kind: Kind = "lease" if descriptor is None else "flock"
        self._descriptor, self._holder = descriptor, holder
        self._released = threading.Event()
        threading.Thread(target=self._beat, name=f"lock {path.name}", daemon=True).start()

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            with contextlib.suppress(OSError):  # the folder is gone, or the file system does not answer for now
                if _holder(_lease(self.path)) not in (self._holder, None):
                    return
                os.utime(_lease(self.path))

    def check(self) -> None:
        """Raise LostLockError where the lease belongs to another process now."""
        other = _holder(_lease(self.path))
        if other != self._holder:
            now = f"{other} has it now" if other else "its lease is gone or damaged"
            raise LostLockError(f"{self.path}: this process lost the lock while it stood still; {now}")

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._released.is_set():
            return
        self._released.set()
        if _holder(_lease(self.path)) == self._holder:
            _lease(self.path).unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)


def try_lock(path: Path) -> Lock | None:
    """Take the lock at a path, whose folder exists; None where another process holds the lock.

    Raises:
      OSError: a file cannot be written.
    """
    me = _me()
    try:
        descriptor = _flock(path)
    except BlockingIOError:
        return None
    try:
        taken = _take_lease(_lease(path), me)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        raise
    if taken:
        return Lock(path, descriptor, me)
    if descriptor is not None:
        os.close(descriptor)
    return None


def _flock(path: Path) -> int | None:
    """Take the kernel's lock of a file; return None where the file system has no such lock.

    Raises:
      BlockingIOError: another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in UNSUPPORTED:
            raise
        return None
    return descriptor


def _take_lease(lease: Path, me: Holder) -> bool:
    for _ in range(2):
        try:
            descriptor = os.open(lease, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            other = _holder(lease)
            if _lives(lease, other, ask=True) or not _clear(lease, other):
                return False
            continue
        try:
            os.write(descriptor, _text(me))
        except OSError:  # a full disk; nobody shall wait for an empty lease
            lease.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return True
    return False


def _clear(lease: Path, gone: Holder | None) -> bool:
    """Remove the lease of a holder that is gone, unless another process does; return whether the lease was removed.

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
    """Return who holds the lock at a path, by the lease and its age; None where nobody does. Nothing is changed."""
    lease = _lease(path)
    holder = _holder(lease)
    if holder is None and not os.path.exists(lease):
        return None
    unknown = Holder("an unknown host", 0, "", "", None, None, 0, "")
    return (holder or unknown) if _lives(lease, holder, ask=False) else None


def is_held(folder: Path) -> bool:
    """Return whether a process writes the folder of a run, a sweep or a search."""
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
    """Exclude all other processes that use the same path from the block; wait for those that came before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (held := try_lock(path)) is None:
        time.sleep(PAUSE_S)
    try:
        yield
    finally:
        held.release()


def _lease(path: Path) -> Path:
    return path.with_name(f"{path.name}.lease")


def _lives(lease: Path, holder: Holder | None, ask: bool) -> bool:
    """Return whether a holder still runs: on this host by its process, elsewhere by its job or by its lease's age.

    Args:
      lease: the holder's file.
      holder: what the file says; None where its maker has not written it yet, or was killed before.
      ask: whether SLURM may be asked, which takes time.
    """
    if holder is None:
        return _age_s(lease) < GONE_S
    if holder.is_here:
        return _started(holder.pid) == holder.started
    me = _me()
    if holder.job is not None and holder.cluster == me.cluster:
        if holder.job == me.job and holder.restarts < me.restarts:
            return False  # the job was killed there and has come here
        if ask and holder.cluster is not None and _job_is_over(holder.job, int(time.monotonic() // ANSWER_S)):
            return False
    return _age_s(lease) < GONE_S


def _age_s(path: Path) -> float:
    """Return the seconds since a file was touched, by the file system's clock, which may differ from the host's."""
    try:
        # A network's file system looks at the server only where a file is opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return float("inf")
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return time.time() + _clock_ahead_s(path.parent, found.st_dev) - found.st_mtime


_clocks: dict[int, tuple[float, float]] = {}


def _clock_ahead_s(folder: Path, device: int) -> float:
    """Return the seconds by which the clock of a folder's file system is ahead of this host's, asked now and then."""
    asked, ahead = _clocks.get(device, (float("-inf"), 0.0))
    if time.monotonic() - asked < CLOCK_S:
        return ahead
    probe = folder / f".{os.getpid()}.{threading.get_ident()}.clock"
    try:
        probe.touch()
        ahead = probe.stat().st_mtime - time.time()
        probe.unlink(missing_ok=True)
    except OSError:  # somebody who may only read looks: by this host's clock
        ahead = 0.0
    _clocks[device] = time.monotonic(), ahead
    return ahead


@lru_cache(maxsize=64)
def _job_is_over(job: str, _: int) -> bool:
    """Return whether SLURM knows for certain that a job is not in its queue; the second number makes an answer age."""
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
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        namespace=_namespace(),
        cluster=os.environ.get("SLURM_CLUSTER_NAME"),
        job=os.environ.get("SLURM_JOB_ID"),
        restarts=int(restarts) if restarts.isascii() and restarts.isdigit() else 0,
        token=os.urandom(8).hex(),
    )


@cache
def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process of this host began, as the kernel counts; None where no such process runs."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]  # ended, and its parent has not asked for its status yet
    except OSError:
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return ""  # a system without /proc
