"""Sends to MLflow what it lacks of all runs below a folder: `python -m sweeps.sync [RUNS_DIR] [--uri URI]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from conf import identity
from conf.schema import RunConfig, check_tracking_uri
from conf.typed import ConfigError
from records import files, layout
from records.files import write_json
from records.layout import ExitCode
from records.sweep import add_parent, read_sweep, sweep_lock
from sweeps.status import close_if_over, locked
from tracking import mirror as tracking


@dataclass(frozen=True)
class Tracked:
    """A run and where it is mirrored."""

    run_dir: Path
    config: RunConfig
    uri: str


def find(folder: Path, uri: str | None) -> tuple[list[Tracked], int]:
    """The runs below a folder that are mirrored (to `uri`, if given), and how many are not.

    Raises:
      ConfigError: there are no runs.
    """
    paths = sorted(folder.resolve().rglob(layout.CONFIG))
    if not paths:
        raise ConfigError(f"{folder}: no runs below this folder ({layout.CONFIG} is what a run has)")
    found = []
    for path in paths:
        try:
            config = identity.config_from_json(path.read_text())
        except ValueError as error:
            print(f"warning: {path.parent}: not sent: {error}", file=sys.stderr)
            continue
        target = uri or (config.tracking.uri if config.tracking.on else None)
        if target is not None:
            found.append(Tracked(path.parent, config, target))
    return found, len(paths) - len(found)


def open_parents(runs: Sequence[Tracked]) -> None:
    """Open the MLflow runs of sweeps that have none there yet, so that their runs find their parent."""
    for one in runs:
        for sweep in tracking.swept(one.run_dir)[:1]:
            path = one.run_dir.parents[1] / layout.SWEEPS / f"{sweep}.json"
            if not path.exists() or tracking.parent_of(one.run_dir, sweep, one.uri) is not None:
                continue
            with sweep_lock(path):
                body = files.read_json(path) or {}
                parent, _ = tracking.open_parent(one.config, one.uri, sweep)
                write_json(path, body | {"parents": add_parent(body.get("parents", {}), one.uri, "", parent)})


def close_parents(runs: Sequence[Tracked]) -> None:
    """Mark the MLflow runs of sweeps as over whose runs have all ended."""
    paths = {
        one.run_dir.parents[1] / layout.SWEEPS / f"{name}.json" for one in runs for name in tracking.swept(one.run_dir)
    }
    for path in sorted(path for path in paths if path.exists()):
        close_if_over(read_sweep(path), ask_slurm=True)


def lacking(runs: Sequence[Tracked]) -> list[Tracked]:
    return [one for one in runs if not tracking.is_sent(one.run_dir, one.uri)]


def send(one: Tracked) -> bool:
    """Send what MLflow lacks of a run; False where the run's own mirror is at it."""
    with tracking.the_mirror(one.run_dir, wait=False) as free:
        if not free:
            return False
        mirror = tracking.Mirror(one.run_dir, one.uri)
        if locked(one.run_dir):
            mirror.send()
        else:
            mirror.close()
        return True


def sync(folder: Path, uri: str | None) -> int:
    """Send what is missing, and say how much it was.

    Returns:
      0, or 1 if anything could not be sent.
    """
    runs, off = find(folder, uri)
    sent, busy, known, problems = 0, 0, 0, list[str]()
    for target in sorted({one.uri for one in runs}):
        mine = [one for one in runs if one.uri == target]
        missing = lacking(mine)
        try:
            open_parents(mine)
            missing = lacking(mine)  # with those that have not been told of their parent
            for one in track(missing, target, console=Console(file=sys.stderr)) if missing else ():
                try:
                    done = send(one)
                    sent, busy = sent + done, busy + (not done)
                except Exception as error:
                    tracking.client(target)  # raises where it is not this run's fault
                    problems.append(f"{one.run_dir}: {tracking.reason(error)}")
            close_parents(mine)
        except Exception as error:
            problems.append(f"{target}: {tracking.reason(error)}")
        known += len(mine) - len(missing)
    parts = [f"{sent} sent", f"{known} had been sent"]
    if busy:
        parts.append(f"{busy} being sent by their own mirrors")
    if off:
        parts.append(f"{off} without tracking (--uri sends them too)")
    print(f"{len(runs) + off} runs: {', '.join(parts)}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return ExitCode.FAILED if problems else ExitCode.DONE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.sync", description="Send to MLflow what it lacks of all runs below a folder."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="RUNS_DIR", help="default: runs")
    parser.add_argument("--uri", help="send all of them there; default: where each run was to be mirrored")
    parsed = parser.parse_args(arguments)
    os.environ.setdefault(tracking.ANSWER_NAME, tracking.PATIENT_ANSWER_S)
    try:
        if parsed.uri is not None:
            check_tracking_uri(parsed.uri)
        return sync(parsed.folder, parsed.uri)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIG
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
