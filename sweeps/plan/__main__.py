"""The command `python -m sweeps.plan [key=value ...]`, a short form of `python -m agents.run -m ... plan=true`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from records.command_line import exit_status
from records.layout import ExitCode
from sweeps.command import main as run

USAGE = """\
What a sweep would run, what its runs need, and which of them are finished. Starts nothing.

  python -m sweeps.plan [--json] [key=value ...]    the same as python -m agents.run -m [key=value ...] plan=true

  --json    print one JSON object, as docs/scripts.md describes it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan of a command line, and returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(show_help) if {"-h", "--help"} & set(given) else run(["-m", *given, "plan=true"])


def show_help() -> int:
    """Prints the usage, and returns the exit status."""
    print(USAGE)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
