"""What all commands share: arguments, and how an error becomes one line and an exit status."""

from __future__ import annotations

import argparse
import io
import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from conf.passwords import mask
from conf.typed import ConfigError
from records.layout import ExitCode

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

EXIT_BROKEN_PIPE = 141
"""The exit status that a shell reports of a program which SIGPIPE has ended."""


class Parser(argparse.ArgumentParser):
    """A parser that raises `ConfigError` for mistakes, and that accepts no abbreviated options."""

    def __init__(
        self, *, prog: str, description: str = "", epilog: str = "", usage: str | None = None, add_help: bool = True
    ):
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            usage=usage,
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Prints the help at once, so that a reader who is gone or a full device shows here."""
        (sys.stdout if file is None else file).write(self.format_help())
        sys.stdout.flush()

    def error(self, message: str) -> NoReturn:
        """Raises the mistake as an error of one line, with the usage."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            first = unknown.split()[0]
            message = f"{first}: {'no such option' if first.startswith('-') else 'one argument too many'}"
        usage = " ".join(self.format_usage().split())
        raise ConfigError(f"{message.removeprefix('argument ')}; {usage}")


def given_command() -> str:
    """Return this process's command as its user would type it, without passwords."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return mask(shlex.join([*program, *sys.argv[1:]]))


def at_least(least: int) -> Callable[[str], int]:
    """Returns an argument's type: an integer that is not below `least`."""

    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return integer


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a sweep."""
    parser.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="the sweep's id, or the id's beginning or end; default: the newest"
    )
    add_runs(parser)


def add_point(parser: argparse.ArgumentParser) -> None:
    """Adds the argument that names a run or one of its checkpoints; `records.find.find_point` takes it."""
    parser.add_argument(
        "run",
        metavar="RUN[@STEP]",
        help="the run's directory, or a part of its name such as the hash; @STEP: the checkpoint at these environment "
        "steps, where it is kept; default: the newest",
    )


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names the folder of runs."""
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="the folder of runs; default: runs"
    )


def exit_status(body: Callable[[], int]) -> int:
    """Return the exit status of a command whose work is `body`; an error that its user can mend becomes one line.

    Where nobody reads standard output any more, as in `command | head`, the command ends without a word. Characters
    that a terminal's encoding lacks are written as escapes. Ctrl-C ends the command also where whatever started the
    command ignores Ctrl-C, as the background jobs of a script do.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    open_missing_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = body()
        sys.stdout.flush()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIG
    except OSError as error:
        if isinstance(error, BrokenPipeError) and close_if_unread():
            return EXIT_BROKEN_PIPE
        place = error.filename or ("reading or writing" if in_a_folder() else "the folder of the command")
        reason = f"{place}: {error.strerror or error}"
        print(f"error: {' '.join(reason.split())}", file=sys.stderr)
        return ExitCode.FAILED
    except MemoryError as error:
        print(f"error: there is too little memory: {error or 'for what the command needs'}", file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return status


def open_missing_streams() -> None:
    """Opens standard streams that were closed when the command began, so that no file takes their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


def in_a_folder() -> bool:
    """Whether the folder in which the command was given is still there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def close_if_unread() -> bool:
    """Return whether standard output has lost its reader; if so, what is still printed goes nowhere."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    unread = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return unread
