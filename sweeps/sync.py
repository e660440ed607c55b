"""Sends to MLflow what it lacks of all runs below a folder: `python -m sweeps.sync [RUNS_DIR] [--uri URI]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from conf import uris
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, exit_status
from records.layout import ExitCode
from records.lock import is_held
from records.remote import remote_run
from records.run_dir import RunDir
from records.sweep import add_parent, axes_of, change_sweep, parent_of, read_sweep, sweep_lock
from sweeps.ending import end_if_over
from tracking import client as mlflow
from tracking.mirror import Mirror, is_sent, mirror_lock, note_problem
from tracking.problems import explain
from tracking.sweep_runs import Part, open_parent


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
    paths = sorted(path for path in folder.resolve().rglob(layout.CONFIG) if layout.SWEEPS not in path.parts)
    if not paths:
        raise ConfigError(f"{folder}: no runs below this folder ({layout.CONFIG} is what a run has)")
    found = []
    for path in paths:
        try:
            config = RunDir(path.parent).require_config()
            if config is None:
                continue
            target = uri or (config.tracking.uri if config.tracking.on else None)
            if target is not None:
                uris.check_tracking_uri(target)
        except ValueError as error:
            print(f"warning: {path.parent}: not sent: {error}", file=sys.stderr)
            continue
        if target is not None:
            found.append(Tracked(path.parent, config, target))
    return found, len(paths) - len(found)


def open_parents(runs: Sequence[Tracked]) -> None:
    """Open the MLflow runs of sweeps that have none there yet, so that their runs find their parent."""
    for one in runs:
        for sweep in RunDir(one.run_dir).sweeps()[:1]:
            path = one.run_dir.parents[1] / layout.SWEEPS / f"{sweep}.json"
            if not path.exists() or parent_of(one.run_dir, sweep, one.uri) is not None:
                continue
            with sweep_lock(path):
                found = read_sweep(path)
                member = found.member(one.run_dir)
                name = member.part if member else ""
                mine = [known for known in found.members if known.part == name]
                axes, keys = axes_of(mine), list(axes_of(found.members))
                part = Part(found.id, path.parents[1], name, axes, keys, f"{len(mine)} runs", found.command)
                parent, _ = open_parent(one.uri, one.config.experiment, part)
                change_sweep(path, parents=add_parent(found.parents, one.uri, name, parent))


def close_parents(runs: Sequence[Tracked]) -> None:
    """Mark the MLflow runs of sweeps as over whose runs have all ended."""
    paths = {
        one.run_dir.parents[1] / layout.SWEEPS / f"{name}.json" for one in runs for name in RunDir(one.run_dir).sweeps()
    }
    for path in sorted(path for path in paths if path.exists()):
        end_if_over(read_sweep(path), ask_slurm=True)


def lacking(runs: Sequence[Tracked]) -> list[Tracked]:
    """The runs of which MLflow lacks something, as far as files know."""
    return [one for one in runs if not is_sent(one.run_dir, one.uri)]


def send(one: Tracked) -> bool:
    """Send what MLflow lacks of a run; False where the run's own mirror is at it."""
    with mirror_lock(one.run_dir, wait=False) as free:
        if not free:
            return False
        mirror = Mirror(one.run_dir, one.uri)
        remote = remote_run(one.run_dir)
        if is_held(one.run_dir) or (remote is not None and remote.alive):
            mirror.send()
        else:
            mirror.close()
        return True


def sync(folder: Path, uri: str | None) -> int:
    """Send what is missing of all runs below a folder, and say how much it was.

    Returns:
      0, or 1 if anything could not be sent.
    """
    return send_all(*find(folder, uri))


def send_all(runs: Sequence[Tracked], off: int = 0) -> int:
    """Send what is missing of runs, and say how much it was.

    Args:
      runs: the runs.
      off: how many others there are, which are mirrored nowhere.
    Returns:
      0, or 1 if anything could not be sent.
    """
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
                    mlflow.client(target)  # raises where it is not this run's fault
                    problem = explain(error, target)
                    note_problem(one.run_dir, target, problem)
                    problems.append(f"{one.run_dir}: {problem}")
            close_parents(mine)
        except Exception as error:
            problems.append(explain(error, target))
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
    """Sends what a command line asks for to MLflow, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Sends what MLflow lacks of the runs that the arguments name.

    Raises:
      ConfigError: there are no runs, or the URI is none.
    """
    parser = Parser(
        prog="python -m sweeps.sync", description="Send to MLflow what it lacks of all runs below a folder."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="RUNS_DIR", help="default: runs")
    parser.add_argument("--uri", help="send all of them there; default: where each run was to be mirrored")
    arguments = sys.argv[1:] if arguments is None else arguments
    uris.check_no_passwords(arguments)
    parsed = parser.parse_args(arguments)
    os.environ.setdefault(mlflow.ANSWER_NAME, mlflow.LONG_ANSWER_S)
    if parsed.uri is not None:
        uris.check_tracking_uri(parsed.uri, "--uri")
    return sync(parsed.folder, parsed.uri and uris.absolute(parsed.uri, Path.cwd()))


if __name__ == "__main__":
    sys.exit(main())
