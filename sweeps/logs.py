"""What a run printed: `python -m sweeps.logs RUN`."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from records import layout
from records.command_line import Parser, add_runs, exit_status
from records.files import open_file, tail_lines
from records.find import find_run
from records.layout import ExitCode, RunOutcome
from records.lock import is_held
from records.run_dir import RunDir
from sweeps.status import log_of

POLL_S = 0.5


def show(run_dir: Path, lines: int) -> None:
    """Why the run failed, if it did, and the last lines of its log."""
    status = RunDir(run_dir).status()
    log = log_of(run_dir)
    for line in tail_lines(log, lines, 2**20):
        print(line)
    if status is not None and status.state == RunOutcome.FAILED:
        print(f"failed: {status.reason}", status.traceback, sep="\n")
    print(f"log: {log}", file=sys.stderr)


def follow(run_dir: Path) -> None:
    """Print what comes, until the run is not run any more."""
    with io.TextIOWrapper(open_file(run_dir / layout.LOG), errors="replace") as file:
        file.seek(0, 2)
        while True:
            running = is_held(run_dir)
            print(file.read(), end="", flush=True)
            if not running:
                return
            time.sleep(POLL_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the log that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Prints the last lines of the run's log that the arguments name, and with `--follow` what comes after them.

    Raises:
      ConfigError: there is no such run.
    """
    parser = Parser(prog="python -m sweeps.logs", description="What a run printed.")
    parser.add_argument("run", metavar="RUN", help="the run's directory, or a part of its name such as the hash")
    add_runs(parser)
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many of the last lines; default: 50")
    parser.add_argument("-f", "--follow", action="store_true", help="print what comes, while a process runs the run")
    parsed = parser.parse_args(arguments)
    run_dir = find_run(parsed.runs, parsed.run)
    show(run_dir, parsed.lines)
    if parsed.follow:
        with contextlib.suppress(KeyboardInterrupt, FileNotFoundError):
            follow(run_dir)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
