"""The process beside a run that mirrors the run to MLflow: `python -m tracking RUN_DIR --follow`.

The process follows the files, so MLflow's imports, a slow server or none cost the run nothing, and whatever ends the
run, what is on disk still gets there.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from conf.passwords import mask
from conf.typed import ConfigError
from conf.uris import is_web
from records import layout, sidecar
from records.command_line import Parser, exit_status
from records.layout import ExitCode
from records.run_dir import RunDir
from tracking.client import ANSWER_NAME, LONG_ANSWER_S
from tracking.mirror import LOG, Mirror, mirror_lock, note_problem
from tracking.problems import explain
from tracking.system import Sampler

POLL_S = 5.0
MAX_POLL_S = 60.0  # between tries, while MLflow is away
FINISH_TRIES = 2
LISTEN_S = 1.0
# That a run waits for the rest to be sent; the mirror then goes on alone. An interrupted run may be killed soon.
FINISH_S = {"database": 90.0, "server": 10.0, "interrupted": 10.0}


class Follower:
    """The mirroring process of a running run; it ends by itself when the run's process does.

    What keeps MLflow from having the run is said on the run's standard error, when that begins and when it is over.
    """

    def __init__(self, run_dir: Path, uri: str):
        self._patience_s = FINISH_S["server" if is_web(uri) else "database"]
        self._process = sidecar.start("tracking", run_dir, run_dir / LOG, listen=True)
        self._listener = threading.Thread(target=self._pass_on, name="mirror", daemon=True)
        self._listener.start()

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(line.decode(errors="replace").rstrip(), file=sys.stderr, flush=True)

    def finish(self, interrupted: bool) -> bool:
        """Let it send the rest; whether MLflow has everything. A slow one goes on after the run."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        patience_s = min(self._patience_s, FINISH_S["interrupted"]) if interrupted else self._patience_s
        try:
            sent = self._process.wait(patience_s) == 0
        except subprocess.TimeoutExpired:
            return False
        self._listener.join(LISTEN_S)
        return sent


class Voice:
    """Says what keeps MLflow from having a run, once, in the run's directory and to whoever watches the run.

    Args:
      run_dir: the run's directory.
      uri: where the run is mirrored.
      said: takes a line for who watches, who may be gone.
    """

    def __init__(self, run_dir: Path, uri: str, said: IO[str]):
        self._run_dir, self._uri, self._said = run_dir, uri, said
        self._problem: str | None = None

    def tell(self, problem: str) -> None:
        """Say what the problem is, or with an empty text that there is none, where that is news."""
        if problem == self._problem:
            return
        line = f"warning: MLflow does not get this run: {problem}" if problem else "MLflow gets this run again"
        with contextlib.suppress(OSError):
            if problem or self._problem is not None:
                print(line, file=self._said, flush=True)
        with contextlib.suppress(OSError):
            note_problem(self._run_dir, self._uri, problem)
        self._problem = problem


def follow(run_dir: Path, stdin: IO[str], said: IO[str]) -> bool:
    """Send rows as they become durable until `stdin` closes; then the rest. Whether all was sent.

    Failures are written to the log and tried again; nothing is lost, because the cursor moves only after a send.

    Args:
      run_dir: the run's directory.
      stdin: closes when the run ends.
      said: takes the lines for who watches the run.
    """
    config = RunDir(run_dir).require_config()
    uri = (config.tracking.uri if config else None) or ""
    voice = Voice(run_dir, uri, said)
    sample = config is not None and config.tracking.system_metrics
    sampler = Sampler(run_dir / layout.SYSTEM) if sample else None
    mirror: Mirror | None = None
    running = True
    failures = 0
    while running or 0 < failures <= FINISH_TRIES:
        wait_s = min(MAX_POLL_S, POLL_S * (1 + failures)) if running else 1.0
        if running and select.select([stdin], [], [], wait_s)[0]:
            running, failures = False, 0
            if sampler:
                sampler.stop()
        elif not running:
            time.sleep(wait_s)
        try:
            mirror = mirror or Mirror(run_dir)
            if running:
                mirror.send()
            else:
                mirror.close()
            failures = 0
            voice.tell("")
        except Exception as error:
            problem = explain(mirror.cause(error) if mirror else error, uri)
            if failures == 0:
                print(mask(traceback.format_exc()), file=sys.stderr)
            print(f"{time.ctime()}: {problem}", file=sys.stderr, flush=True)
            voice.tell(problem)
            failures += 1
            mirror = None  # the next one looks whether the MLflow run is still there
    return failures == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Sends to MLflow what it lacks of the run that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Sends to MLflow what it lacks of one run, or follows the run (`python -m tracking`).

    Raises:
      ConfigError: there is no run, or it is being mirrored and `--anew` was asked for.
    """
    parser = Parser(prog="python -m tracking", description="Send to MLflow what it lacks of a run directory.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--follow", action="store_true", help="go on until standard input closes")
    parser.add_argument(
        "--anew",
        action="store_true",
        help="send the whole run as a new MLflow run, such as after somebody has deleted the old one",
    )
    parsed = parser.parse_args(arguments)
    run_dir: Path = parsed.run_dir.resolve()
    if not (run_dir / layout.CONFIG).is_file():
        raise ConfigError(f"{run_dir}: no run here ({layout.CONFIG} is missing)")
    os.environ.setdefault(ANSWER_NAME, LONG_ANSWER_S)
    if parsed.anew:
        forget(run_dir)
    with mirror_lock(run_dir, wait=True):  # a predecessor may still be finishing
        if parsed.follow:
            for number in (signal.SIGTERM, signal.SIGUSR2):  # they are for the run; its end closes standard input
                signal.signal(number, signal.SIG_IGN)
            sent = follow(run_dir, sys.stdin, said())
        else:
            sent = send_rest(run_dir)
    status = ExitCode.DONE if sent else ExitCode.FAILED
    if parsed.follow:
        # The run waits for this process, and to take down all of MLflow takes longer than to send the rest.
        os._exit(status)
    return status


def said() -> IO[str]:
    """Return what was standard output, for who watches the run; what is printed goes to the log from now on."""
    watched = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return watched


def forget(run_dir: Path) -> None:
    """Take the run as one of which MLflow has nothing.

    Raises:
      ConfigError: another process mirrors the run now.
    """
    with mirror_lock(run_dir, wait=False) as free:
        if not free:
            raise ConfigError(f"--anew: {run_dir} is being mirrored; wait until the run has ended")
        config = RunDir(run_dir).require_config()
        if config is not None and config.tracking.uri is not None:
            RunDir(run_dir).forget_mirror(config.tracking.uri)


def send_rest(run_dir: Path) -> bool:
    """Send what MLflow lacks of a run that has ended; whether all was sent, with an error line where not."""
    config = RunDir(run_dir).require_config()
    uri = (config.tracking.uri if config else None) or ""
    try:
        Mirror(run_dir).close()
    except Exception as error:
        problem = explain(error, uri)
        print(f"error: {problem}", file=sys.stderr)
        note_problem(run_dir, uri, problem)
        return False
    return True
