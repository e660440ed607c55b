"""A bounded pool of runs, each a process of its own; a run that crashes is started again, a few times and later."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from records import layout
from records.files import append_to, tail_lines
from records.layout import ExitCode, RunOutcome
from records.lock import is_held
from records.run_dir import RunDir
from records.run_record import note_crash, write_status
from sweeps.gpus import environment_of, idlest

LAST_LINES = 20
COPY_S = 1.0
TOLD = (-signal.SIGTERM, -signal.SIGUSR2)  # told to stop before the run could listen

Team = tuple[Path, ...]
"""Runs of one process."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often a run may crash.

    Attributes:
      max_crashes: restarts before it is given up.
      backoff_s: wait before the first restart; doubled for each after it.
      since: crashes before this time do not count.
    """

    max_crashes: int
    backoff_s: float
    since: float


class Pool:
    """Teams of runs, most of them of one run, at most `parallel` at once, each in a process that appends to their logs.

    Args:
      teams: the runs, by the process that executes them.
      parallel: how many processes there are at once.
      retry_policy: how often a run may crash.
      new_session: whether the terminal's Ctrl-C does not reach the runs.
      gpus: the GPUs to deal out, one to each process; without any, the runs see what this process sees.
      variables: further variables of the runs' environment.
    """

    def __init__(
        self,
        teams: Sequence[Team],
        parallel: int,
        retry_policy: RetryPolicy,
        new_session: bool,
        gpus: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ):
        self._variables = variables or {}
        self._waiting = [(0.0, team) for team in teams]
        self._parallel, self._retry_policy, self._new_session = parallel, retry_policy, new_session
        self._gpus = gpus
        self._running: list[Running] = []
        self.ended: dict[Path, int] = {}
        self.stopping = False

    def add(self, run_dir: Path) -> None:
        """One more run."""
        self._waiting.append((0.0, (run_dir,)))

    def has(self, run_dir: Path) -> bool:
        """Whether the run goes on, or is going to."""
        return self.is_running(run_dir) or any(run_dir in team for _, team in self._waiting)

    def is_running(self, run_dir: Path) -> bool:
        """Whether the run has a process."""
        return any(run_dir in one.team for one in self._running)

    def withdraw(self, run_dir: Path) -> None:
        """Do not start the run, where it has not been started."""
        self._waiting = [
            (due, rest) for due, team in self._waiting if (rest := tuple(one for one in team if one != run_dir))
        ]

    def poll(self) -> bool:
        """Collect what has ended and start what is due; whether anything is left."""
        for one in list(self._running):
            code = one.process.poll()
            if code is not None:
                one.log.close()
                self._running.remove(one)
                self._collect(one, code)
        if self.stopping:
            return bool(self._running)
        now = time.time()
        for entry in [entry for entry in self._waiting if entry[0] <= now][: self._parallel - len(self._running)]:
            self._waiting.remove(entry)
            self._start(entry[1])
        return bool(self._running or self._waiting)

    def _start(self, team: Team) -> None:
        gpu = idlest(self._gpus, [one.gpu for one in self._running])
        log, started = Log([run_dir / layout.LOG for run_dir in team]), time.time()
        process = subprocess.Popen(
            run_command(*team),
            stdin=subprocess.DEVNULL,
            stdout=log.file,
            stderr=log.file,
            env=os.environ | self._variables | environment_of(gpu, self._gpus, self._parallel),
            start_new_session=self._new_session,
        )
        self._running.append(Running(team, process, log, gpu, started))

    def _collect(self, ended: Running, code: int) -> None:
        """Book how each run of a process ended; those that crashed wait for another try together."""
        again = {}
        for run_dir in ended.team:
            own = code if len(ended.team) == 1 else own_code(run_dir, code, ended.started)
            self.ended[run_dir] = own
            if (crashes := self._crashes(run_dir, own)) is not None:
                again[run_dir] = crashes
        if again:
            pause_s = self._retry_policy.backoff_s * 2 ** (max(again.values()) - 1)
            self._waiting.append((time.time() + pause_s, tuple(again)))

    def _crashes(self, run_dir: Path, code: int) -> int | None:
        """Book how a run ended; how often it has crashed where it is to be tried again."""
        fine = (ExitCode.DONE, ExitCode.STOPPED, ExitCode.INTERRUPTED, *TOLD)
        if code in fine or (self.stopping and code == -signal.SIGKILL):  # by `kill`
            return None
        if is_held(run_dir):  # by another process, which goes on
            return None
        status = RunDir(run_dir).status() if code == ExitCode.FAILED else None
        said = status if status is not None and status.state == RunOutcome.FAILED else None
        last_lines = tail_lines(run_dir / layout.LOG, LAST_LINES)
        reason = said.reason if said else how_it_ended(code, last_lines)
        note_crash(run_dir, reason)
        crashes = RunDir(run_dir).crashes(self._retry_policy.since)
        details = {"reason": reason, "last_lines": last_lines}
        if said:
            details["traceback"] = said.traceback
        final = code == ExitCode.BAD_CONFIG or (said is not None and not said.retry)
        if final or crashes > self._retry_policy.max_crashes:
            write_status(run_dir, RunOutcome.FAILED, **details)
            return None
        write_status(run_dir, RunOutcome.CRASHED, **details)
        return crashes

    def stop(self) -> None:
        """Ask running runs to checkpoint and end; start no more."""
        self.stopping = True
        for one in self._running:
            with contextlib.suppress(ProcessLookupError):
                one.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End running runs at once; they go on from their last checkpoints when they are started again."""
        for one in self._running:
            one.process.kill()

    def drain(self) -> None:
        """Wait for running runs to end, and book nothing: that may be what went wrong."""
        for one in self._running:
            one.process.wait()
            one.log.close()
        self._running.clear()


class Log:
    """What a process writes goes to the end of one file, or of several alike.

    Attributes:
      file: the process's standard output and error.
    """

    def __init__(self, paths: Sequence[Path]):
        self._copier: subprocess.Popen | None = None
        if len(paths) == 1:
            self.file: IO[bytes] = append_to(paths[0])
            return
        # Deaf to what tells a run to stop, which then still has something to say; ends with the process's last word.
        command = 'trap "" HUP INT TERM USR1 USR2; exec tee -a -- "$@"'
        self._copier = subprocess.Popen(
            ["/bin/sh", "-c", command, "sh", *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._copier.stdin is not None
        self.file = self._copier.stdin

    def close(self) -> None:
        """Wait a moment until the files have what the process wrote before it ended."""
        self.file.close()
        if self._copier is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # a mirror may go on, and write, after its run
                self._copier.wait(COPY_S)


@dataclass(frozen=True)
class Running:
    """A process that executes runs.

    Attributes:
      team: the runs.
      process: the process.
      log: where the process writes.
      gpu: the GPU that the process was given; None where there is none to give.
      started: when, in seconds since the epoch.
    """

    team: Team
    process: subprocess.Popen
    log: Log
    gpu: str | None
    started: float


def own_code(run_dir: Path, code: int, since: float) -> int:
    """How one of several runs of a process ended: what its own status says since then, or else as the process did."""
    status = RunDir(run_dir).status()
    if status is not None and status.state == RunOutcome.DONE:  # perhaps before
        return ExitCode.DONE
    if status is None or status.time < since:
        return code
    return {
        RunOutcome.FAILED: ExitCode.FAILED,
        RunOutcome.STOPPED: ExitCode.STOPPED,
        RunOutcome.INTERRUPTED: ExitCode.INTERRUPTED,
    }.get(status.state, code)


def run_command(*run_dirs: Path) -> list[str]:
    """The command of the process that executes runs."""
    named = [argument for run_dir in run_dirs for argument in ("--run-dir", str(run_dir))]
    return [sys.executable, "-m", "agents.run", *named]


def how_it_ended(code: int, last_lines: Sequence[str]) -> str:
    """Why a run that left no reason may have ended."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    errors = [line for line in last_lines if "error" in line.lower()]
    return f"ended with status {code}{f': {errors[-1].strip()}' if errors else ''}"


@contextlib.contextmanager
def on_signals(action, *signals: signal.Signals) -> Iterator[None]:
    """Call `action` on these signals inside the block."""
    previous = {number: signal.signal(number, lambda *_: action()) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
