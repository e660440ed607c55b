"""The command `python -m sweeps.status [SWEEP]`: shows where runs stand, and submits again what jobs have left."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from conf.typed import ConfigError
from records.command_line import Parser, add_sweep, exit_status
from records.layout import ExitCode
from records.output import add_json, print_json
from records.remote import remote_sweep
from records.sweep import all_runs, find_sweep, sweep_records
from sweeps.status import console, search_jobs, states_of, table, watch


def main(arguments: Sequence[str] | None = None) -> int:
    """Shows where the runs stand that a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Shows the sweep that the arguments name, the newest one, or all runs where there is no sweep.

    Raises:
      ConfigError: there is no such sweep.
    """
    parser = Parser(
        prog="python -m sweeps.status",
        description="Where the runs of a sweep stand; all runs, where there is no sweep.",
    )
    add_sweep(parser)
    parser.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--relaunch", action="store_true", help="submit again what SLURM jobs have left unfinished")
    add_json(parser)
    parsed = parser.parse_args(arguments)
    if parsed.json and (parsed.watch or parsed.relaunch):
        raise ConfigError("--json: says where the runs stand once; not with --watch or --relaunch")
    known = sweep_records(parsed.runs)
    alone = parsed.sweep is None and not known
    sweep = all_runs(parsed.runs) if alone else find_sweep(parsed.runs, parsed.sweep)
    if parsed.relaunch:
        if alone:
            raise ConfigError(f"--relaunch: there is no sweep in {parsed.runs}; continue a run with its own command")
        if (remote := remote_sweep(sweep.path)) is not None:
            from sweeps.remote.bring import pass_on

            return pass_on(sweep.path, remote, "sweeps.status", "--relaunch")
        from sweeps.relaunch import relaunch

        status = relaunch(sweep)
        if status != ExitCode.DONE:
            return status
    if parsed.json:
        from sweeps.status.as_json import status_values

        print_json("status", status_values(sweep, states_of(sweep)))
        return ExitCode.DONE
    if not sweep.members and not search_jobs(sweep):
        print(f"no runs in {parsed.runs} yet; --runs names another folder")
        return ExitCode.DONE
    if parsed.sweep is None and len(known) > 1:
        others = [path.stem for path in known[1:11]]
        print(f"the newest of {len(known)} sweeps; others: {', '.join(others)}{', ...' if len(known) > 11 else ''}")
    if parsed.watch:
        with contextlib.suppress(KeyboardInterrupt):
            watch(sweep, until_over=False)
    else:
        console().print(table(sweep, states_of(sweep)), highlight=False)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
