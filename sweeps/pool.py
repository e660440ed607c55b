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
from records.run_dir import RunDir, note_crash, write_status
from sweeps.gpus import environment_of, idlest

LAST_LINES = 20
TOLD = (-signal.SIGTERM, -signal.SIGUSR2)  # told to stop before the run could listen


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
    """At most `parallel` runs at once, each `python -m agents.run --run-dir ...` with its output in the run's log.

    Args:
      run_dirs: the runs.
      parallel: how many runs are executed at once.
      retry_policy: how often a run may crash.
      new_session: whether the terminal's Ctrl-C does not reach the runs.
      gpus: the GPUs to deal out, one to each run; without any, the runs see what this process sees.
      variables: further variables of the runs' environment.
    """

    def __init__(
        self,
        run_dirs: Sequence[Path],
        parallel: int,
        retry_policy: RetryPolicy,
        new_session: bool,
        gpus: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ):
        self._variables = variables or {}
        self._waiting = [(0.0, run_dir) for run_dir in run_dirs]
        self._parallel, self._retry_policy, self._new_session = parallel, retry_policy, new_session
        self._gpus, self._gpu_of = gpus, dict[Path, str | None]()
        self._running: dict[Path, tuple[subprocess.Popen, IO[bytes]]] = {}
        self.ended: dict[Path, int] = {}
        self.stopping = False

    def add(self, run_dir: Path) -> None:
        """One more run."""
        self._waiting.append((0.0, run_dir))

    def has(self, run_dir: Path) -> bool:
        """Whether the run goes on, or is going to."""
        return run_dir in self._running or any(waiting == run_dir for _, waiting in self._waiting)

    def is_running(self, run_dir: Path) -> bool:
        """Whether the run has a process."""
        return run_dir in self._running

    def withdraw(self, run_dir: Path) -> None:
        """Do not start the run, where it has not been started."""
        self._waiting = [entry for entry in self._waiting if entry[1] != run_dir]

    def poll(self) -> bool:
        """Collect what has ended and start what is due; whether anything is left."""
        for run_dir, (process, log) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                log.close()
                del self._running[run_dir], self._gpu_of[run_dir]
                self._collect(run_dir, code)
        if self.stopping:
            return bool(self._running)
        now = time.time()
        for entry in [entry for entry in self._waiting if entry[0] <= now][: self._parallel - len(self._running)]:
            self._waiting.remove(entry)
            self._start(entry[1])
        return bool(self._running or self._waiting)

    def _start(self, run_dir: Path) -> None:
        log = append_to(run_dir / layout.LOG)
        gpu = idlest(self._gpus, self._gpu_of.values())
        process = subprocess.Popen(
            run_command(run_dir),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | self._variables | environment_of(gpu, self._gpus, self._parallel),
            start_new_session=self._new_session,
        )
        self._running[run_dir], self._gpu_of[run_dir] = (process, log), gpu

    def _collect(self, run_dir: Path, code: int) -> None:
        """Book how a run ended; one that crashed waits for another try, or has failed."""
        self.ended[run_dir] = code
        fine = (ExitCode.DONE, ExitCode.STOPPED, ExitCode.INTERRUPTED, *TOLD)
        if code in fine or (self.stopping and code == -signal.SIGKILL):  # by `kill`
            return
        if is_held(run_dir):  # by another process, which goes on
            return
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
            return
        write_status(run_dir, RunOutcome.CRASHED, **details)
        self._waiting.append((time.time() + self._retry_policy.backoff_s * 2 ** (crashes - 1), run_dir))

    def stop(self) -> None:
        """Ask running runs to checkpoint and end; start no more."""
        self.stopping = True
        for process, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End running runs at once; they go on from their last checkpoints when they are started again."""
        for process, _ in self._running.values():
            process.kill()

    def drain(self) -> None:
        """Wait for running runs to end, and book nothing: that may be what went wrong."""
        for process, log in self._running.values():
            process.wait()
            log.close()
        self._running.clear()
        self._gpu_of.clear()


def run_command(run_dir: Path) -> list[str]:
    """The command of the process that executes a run."""
    return [sys.executable, "-m", "agents.run", "--run-dir", str(run_dir)]


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
