"""The process beside a run that mirrors the run to MLflow: `python -m tracking RUN_DIR --follow`.

The process follows the files, so MLflow's imports, a slow server or none cost the run nothing, and whatever ends the
run, what is on disk still gets there.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
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
from tracking.client import ANSWER_NAME, LONG_ANSWER_S, reason
from tracking.mirror import LOG, Mirror, mirror_lock
from tracking.system import Sampler

POLL_S = 5.0
MAX_POLL_S = 60.0  # between tries, while MLflow is away
FINISH_TRIES = 2
# That a run waits for the rest to be sent; the mirror then goes on alone. An interrupted run may be killed soon.
FINISH_S = {"database": 90.0, "server": 10.0, "interrupted": 10.0}


class Follower:
    """The mirroring process of a running run; it ends by itself when the run's process does."""

    def __init__(self, run_dir: Path, uri: str):
        self._patience_s = FINISH_S["server" if is_web(uri) else "database"]
        self._process = sidecar.start("tracking", run_dir, run_dir / LOG)

    def finish(self, interrupted: bool) -> bool:
        """Let it send the rest; whether MLflow has everything. A slow one goes on after the run."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        patience_s = min(self._patience_s, FINISH_S["interrupted"]) if interrupted else self._patience_s
        try:
            return self._process.wait(patience_s) == 0
        except subprocess.TimeoutExpired:
            return False


def follow(run_dir: Path, stdin: IO[str]) -> bool:
    """Send rows as they become durable until `stdin` closes; then the rest. Whether all was sent.

    Failures are written to the log and tried again; nothing is lost, because the cursor moves only after a send.
    """
    config = RunDir(run_dir).require_config()
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
        except Exception as error:
            if failures == 0:
                print(mask(traceback.format_exc()), file=sys.stderr)
            print(f"{time.ctime()}: {reason(error)}", file=sys.stderr, flush=True)
            failures += 1
    return failures == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Sends to MLflow what it lacks of the run that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Sends to MLflow what it lacks of one run, or follows the run (`python -m tracking`).

    Raises:
      ConfigError: there is no run.
    """
    parser = Parser(prog="python -m tracking", description="Send to MLflow what it lacks of a run directory.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--follow", action="store_true", help="go on until standard input closes")
    parsed = parser.parse_args(arguments)
    run_dir: Path = parsed.run_dir.resolve()
    if not (run_dir / layout.CONFIG).is_file():
        raise ConfigError(f"{run_dir}: no run here ({layout.CONFIG} is missing)")
    os.environ.setdefault(ANSWER_NAME, LONG_ANSWER_S)
    with mirror_lock(run_dir, wait=True):  # a predecessor may still be finishing
        if parsed.follow:
            for number in (signal.SIGTERM, signal.SIGUSR2):  # they are for the run; its end closes standard input
                signal.signal(number, signal.SIG_IGN)
            sent = follow(run_dir, sys.stdin)
        else:
            sent = send_rest(run_dir)
    status = ExitCode.DONE if sent else ExitCode.FAILED
    if parsed.follow:
        # The run waits for this process, and to take down all of MLflow takes longer than to send the rest.
        os._exit(status)
    return status


def send_rest(run_dir: Path) -> bool:
    """Send what MLflow lacks of a run that has ended; whether all was sent, with an error line where not."""
    try:
        Mirror(run_dir).close()
    except Exception as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return False
    return True
