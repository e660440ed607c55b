"""Shows what runs take on disk, and removes what nobody needs: `python -m sweeps.clean [RUNS]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from agents.sizes import readable_bytes
from conf.typed import ConfigError
from records.command_line import Parser, exit_status
from records.layout import ExitCode
from records.output import add_json, print_json
from sweeps.removals import HARMLESS, KINDS, Kind, Removal, removals, remove
from sweeps.status import console
from sweeps.usage import Space, Usage, usage

MAX_ROWS = 40
EPILOG = """\
Without an option that names a kind, only what no command would miss can go:
  old checkpoints    of finished runs, but for the newest and those that checkpoint.keep and keep_every keep
  snapshots          of code, in _code, that no run has run and no job is going to run
Kinds that are lost for good and have to be asked for:
  --replay           of finished runs. A larger train.env_steps cannot continue such a run any more, and says so.
                     Scores, curves, films, the policy and checkpoints that are kept for good stay.
  --failed           whole directories of runs that have failed; the sweep's command begins these runs anew
  --superseded       whole directories of finished runs that rerun=stale has repeated, later, in a folder beside
Never removed: a run that a process or a job has or is going to have, a run of a sweep that is being run, and a run
of this folder that another one was started from. MLflow keeps what it was sent.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Cleans the folder that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Shows what the folder of runs takes, and removes what the arguments ask for once somebody has agreed.

    Raises:
      ConfigError: there is no such folder, or nobody can be asked.
    """
    parser = Parser(
        prog="python -m sweeps.clean",
        description="What each run and sweep takes on disk; removes what is not needed, after a question.",
        epilog=EPILOG,
    )
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"), metavar="RUNS", help="default: runs")
    parser.add_argument("--replay", action="store_true", help="replay of finished runs too")
    parser.add_argument("--failed", action="store_true", help="runs that have failed too")
    parser.add_argument("--superseded", action="store_true", help="runs that newer code has repeated too")
    parser.add_argument("--all", action="store_true", help="all of these")
    parser.add_argument("--dry-run", action="store_true", help="list what would go, and remove nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser)
    parsed = parser.parse_args(arguments)
    if parsed.json and not (parsed.dry_run or parsed.yes):
        raise ConfigError("--json: nobody is asked; add --dry-run or --yes")
    kinds: list[Kind] = [kind for kind in KINDS if kind in HARMLESS or parsed.all or getattr(parsed, kind)]
    found = usage(parsed.runs)
    going = removals(found, kinds)
    if parsed.json:
        removed = [] if parsed.dry_run else [one for one in going if remove(one)]
        print_json("clean", clean_values(found, going, removed))
        return ExitCode.DONE
    print_usage(found)
    print_removals(found, going, kinds, each=parsed.dry_run)
    if parsed.dry_run or not going:
        return ExitCode.DONE
    if not parsed.yes and not agreed():
        return ExitCode.DONE
    removed = [one for one in going if remove(one)]
    print(f"removed {in_words(sum((one.space for one in removed), Space()))}")
    for one in going:
        if one not in removed:
            print(f"left alone, because it was begun or submitted meanwhile: {one.place}", file=sys.stderr)
    return ExitCode.DONE


def clean_values(found: Usage, going: Sequence[Removal], removed: Sequence[Removal]) -> dict[str, Any]:
    """What `--json` says.

    Args:
      found: what there was.
      going: what was asked to go.
      removed: what of that is gone; the rest was begun or submitted meanwhile, or nothing was to be removed.
    """
    return {
        "folder": found.folder,
        "runs": [
            {
                "run_dir": one.run_dir,
                "state": one.state.name,
                "files": one.space.files,
                "bytes": one.space.bytes,
                "checkpoints_bytes": one.checkpoints.bytes,
                "replay_bytes": one.replay.bytes,
                "in_use": one.in_use,
            }
            for one in found.runs
        ],
        "sweeps": [
            {"sweep": one.id, "runs": one.runs, "files": total.files, "bytes": total.bytes}
            for one in found.sweeps
            for total in (one.space + one.own,)
        ],
        "snapshots": [
            {"folder": folder, "files": space.files, "bytes": space.bytes} for folder, space in found.snapshots.items()
        ],
        "removals": [
            {
                "kind": one.kind,
                "place": one.place,
                "paths": one.paths,
                "files": one.space.files,
                "bytes": one.space.bytes,
                "removed": one in removed,
            }
            for one in going
        ],
    }


def agreed() -> bool:
    """Ask on the terminal whether all of this may go.

    Raises:
      ConfigError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise ConfigError("--yes: needed where nobody can be asked; --dry-run lists what would go")
    return input("remove these? [y/N] ").strip().lower() in ("y", "yes")


def print_usage(found: Usage) -> None:
    """Print a table of runs, the largest first, and one of sweeps, on standard output."""
    runs = Table(title=f"{len(found.runs)} runs in {found.folder}")
    for column in ("run", "state", "files", "size", "checkpoints", "replay"):
        runs.add_column(column, justify="left" if column in ("run", "state") else "right", no_wrap=True)
    largest = sorted(found.runs, key=lambda one: -one.space.bytes)
    for one in largest[:MAX_ROWS]:
        sizes = (one.space, one.checkpoints, one.replay)
        runs.add_row(
            escape(str(one.run_dir.relative_to(found.folder))),
            one.state.name,
            f"{one.space.files:,}",
            *(readable_bytes(size.bytes) for size in sizes),
        )
    sweeps = Table(title="by sweep")
    for column in ("sweep", "runs", "files", "size"):
        sweeps.add_column(column, justify="left" if column == "sweep" else "right", no_wrap=True)
    for sweep in found.sweeps[:MAX_ROWS]:
        total = sweep.space + sweep.own
        sweeps.add_row(escape(sweep.id), str(sweep.runs), f"{total.files:,}", readable_bytes(total.bytes))
    screen = console()
    screen.print(runs)
    if len(largest) > MAX_ROWS:
        screen.print(f"... and {len(largest) - MAX_ROWS} more")
    if found.sweeps:
        screen.print(sweeps)
    total = sum((one.space for one in found.runs), sum((one.own for one in found.sweeps), Space()))
    snapshots = sum(found.snapshots.values(), Space())
    print(f"in all: {in_words(total)}; {len(found.snapshots)} snapshots of code: {in_words(snapshots)}")


def print_removals(found: Usage, going: Sequence[Removal], kinds: Sequence[Kind], each: bool) -> None:
    """Print what goes, by kind, what is left alone because it is in use, and which options would find more.

    Args:
      found: what there is.
      going: what goes.
      kinds: the kinds that were asked for.
      each: whether every path is named.
    """
    for kind in kinds:
        mine = [one for one in going if one.kind == kind]
        what = "old checkpoints" if kind == "checkpoints" else kind
        print(f"{what}: {in_words(sum((one.space for one in mine), Space()))} in {len(mine)} places")
        for path in (path for one in mine for path in one.paths if each):
            print(f"  {path}")
    used = [one for one in found.runs if one.in_use]
    for one in used[:MAX_ROWS]:
        print(f"left alone: {one.run_dir.relative_to(found.folder)} {one.in_use}")
    if len(used) > MAX_ROWS:
        print(f"left alone: ... and {len(used) - MAX_ROWS} more")
    everything = removals(found, KINDS)
    for kind in KINDS:
        others = [one for one in everything if one.kind == kind and kind not in kinds]
        if others:
            print(f"--{kind} would remove {in_words(sum((one.space for one in others), Space()))}")


def in_words(space: Space) -> str:
    """Return how many files there are, and how large they are together."""
    return f"{space.files:,} files, {readable_bytes(space.bytes)}"


if __name__ == "__main__":
    sys.exit(main())
