"""Brings the records of sweeps that other machines have, and sends them to MLflow: `python -m sweeps.fetch [RUNS]`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from conf import uris
from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, at_least, exit_status
from records.layout import ExitCode
from records.remote import RemoteSweep, remote_sweep, remote_sweeps
from records.run_dir import RunDir
from records.sweep import read_sweep
from sweeps.remote.bring import bring
from sweeps.remote.connection import LostConnectionError, check_programs
from sweeps.sync import Tracked, send_all
from tracking import client as mlflow

EVERY_S = 60
EPILOG = """\
The sweeps are those that launcher=ssh-slurm has submitted from this folder of runs. Their runs' records, logs and films
come, and then go to MLflow, where the command that submitted a sweep names one. Checkpoints stay there: --checkpoints
brings the newest of each run, without replay, which is enough for agents.evaluate, agents.export and init_from. A
connection that is cut is made again; where that fails too, the same command goes on.

Exit status: 0 done, 1 MLflow lacks something, 2 a machine cannot be reached or lacks something, 75 the connection
was cut at every try.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Brings what a command line asks for, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Brings the records of all sweeps that other machines have, or of those that the arguments name.

    Raises:
      ConfigError: there is no such sweep.
    """
    parser = Parser(
        prog="python -m sweeps.fetch",
        description="Bring the records of sweeps that other machines have, and send them to MLflow.",
        epilog=EPILOG,
    )
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"), metavar="RUNS", help="default: runs")
    parser.add_argument("--sweep", metavar="ID", help="this one alone: the id, or the id's beginning or end")
    parser.add_argument("--checkpoints", action="store_true", help="the newest checkpoint of each run too")
    parser.add_argument("--watch", action="store_true", help="go on until all runs have ended, or until Ctrl-C")
    parser.add_argument(
        "--every", type=at_least(1), default=EVERY_S, metavar="S", help=f"seconds, for --watch; default: {EVERY_S}"
    )
    parsed = parser.parse_args(arguments)
    known = remote_sweeps(parsed.runs)
    named = [one for one in known if parsed.sweep is None or _is_called(one.stem, parsed.sweep)]
    if not named:
        has = ", ".join(one.stem for one in known) or "none"
        what = "no sweeps of other machines here" if parsed.sweep is None else f"--sweep {parsed.sweep}: no such sweep"
        raise ConfigError(f"{parsed.runs}: {what}; known: {has}; launcher=ssh-slurm submits one")
    check_programs()
    os.environ.setdefault(mlflow.ANSWER_NAME, mlflow.LONG_ANSWER_S)
    if parsed.watch:
        return watch(named, parsed.every)
    return fetch({record: known[record] for record in named}, parsed.checkpoints)


def _is_called(name: str, text: str) -> bool:
    return name.startswith(text) or name.endswith(text)


def watch(records: Sequence[Path], every_s: float = EVERY_S) -> int:
    """Fetch now and then until all runs of sweeps have ended, or until Ctrl-C; return the last exit status.

    A machine that cannot be reached for a while is tried again.

    Args:
      records: where this machine keeps the sweeps' records.
      every_s: seconds between two looks.
    """
    status: int = ExitCode.INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found = {record: remote for record in records if (remote := remote_sweep(record)) is not None}
            status = fetch(found)
            goes_on = any(remote.alive for record in records if (remote := remote_sweep(record)) is not None)
            if status in (ExitCode.DONE, ExitCode.FAILED) and not goes_on:
                return status
            time.sleep(every_s)
    return ExitCode.INTERRUPTED


def fetch(sweeps: Mapping[Path, RemoteSweep], checkpoints: bool = False) -> int:
    """Bring the records of sweeps, send them to MLflow, and say where the runs stand; an error of one stops no other.

    Args:
      sweeps: where each sweep is, by the path of its record here.
      checkpoints: whether the newest checkpoint of each run is brought too.
    Returns:
      the worst of what happened: 75, 2, 1 or 0.
    """
    statuses: list[int] = [ExitCode.DONE]
    for record, remote in sweeps.items():
        if remote.over and not checkpoints:
            print(f"{record.stem} on {remote.host}: all runs are done, and here")
        else:
            try:
                print(bring(record, remote, checkpoints), flush=True)
            except (ConfigError, LostConnectionError) as error:
                print(f"error: {error}", file=sys.stderr)
                lost = isinstance(error, LostConnectionError)
                statuses.append(ExitCode.INTERRUPTED if lost else ExitCode.BAD_CONFIG)
        statuses.append(mirror(record, remote.uri))
    return max(statuses)


def mirror(record: Path, uri: str | None) -> int:
    """Send to MLflow what it lacks of a sweep's runs that have begun; return 0, or 1 if anything could not be sent."""
    if uri is None or not record.exists():
        return ExitCode.DONE
    uris.check_tracking_uri(uri)
    tracked = []
    for member in read_sweep(record).members:
        config = RunDir(member.run_dir).config() if (member.run_dir / layout.MANIFEST).exists() else None
        if config is not None:
            tracked.append(Tracked(member.run_dir, config, uri))
    return send_all(tracked) if tracked else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
