"""Submits on another machine: sends the code and the list of packages, and gives the same command over there."""

from __future__ import annotations

import json
import shlex
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conf.composed import Composed
from conf.typed import ConfigError
from records.command_line import given_command
from records.layout import ExitCode
from records.provenance import ORIGIN
from records.remote import RemoteSweep, remote_path, remote_sweep, write_remote
from sweeps.code import Code, store, submitted_code
from sweeps.plan.tables import code_lines
from sweeps.remote import there
from sweeps.remote.bring import bring
from sweeps.remote.connection import LostConnectionError, check_programs, execute, last_line, transfer
from sweeps.remote.packages import as_text, differences, list_name, pinned
from sweeps.remote.place import RUNS, Place, place_of
from sweeps.remote.record import record_path

SHOWN = 8
"""The number of packages that an error names at most."""
WHEELS = "wheels"
"""The folder of wheels over there, seen from the place's folder."""
REPLACED = (
    *("launcher.name", "launcher.host", "launcher.folder", "launcher.python", "launcher.wheels", "launcher.dry_run"),
    *("tracking", "tracking.name", "tracking.uri", "tracking.system_metrics"),
    *("paths.runs", "plan", "wait"),
)
"""The groups and keys of a command that have other values over there."""
LOOK = """\
mkdir -p -- {folder}/{code} && {enter} || exit {no_folder}
[ -w . ] || {{ echo "cannot be written" >&2; exit {no_folder}; }}
command -v rsync >/dev/null || exit {no_rsync}
command -v {python} >/dev/null || exit {no_python}
exec {python} - {snapshot} {names}
"""
RUN = """\
{enter} || exit {no_folder}
[ -d {snapshot} ] || mv -T {sent} {snapshot} || [ -d {snapshot} ] || exit {no_code}
export PYTHONSAFEPATH=1 PYTHONPATH="$PWD"/{snapshot} {origin}
exec {command}
"""
NO_FOLDER, NO_RSYNC, NO_PYTHON, NO_CODE = 91, 92, 93, 94
"""The exit statuses by which the scripts above say what is missing."""


@dataclass(frozen=True)
class Order:
    """What is to be submitted over there.

    Attributes:
      place: where.
      code: the snapshot.
      packages: the packages that the code needs, with their versions.
      command: the command that is given over there.
    """

    place: Place
    code: Code
    packages: Mapping[str, str]
    command: Sequence[str]


@dataclass(frozen=True)
class Found:
    """What a look at the other machine has found.

    Attributes:
      problem: what keeps runs from using the Python there; empty where nothing does.
      packages: the versions that the Python there has of the packages; None for one that is missing.
      has_code: whether the snapshot is there.
    """

    problem: str
    packages: Mapping[str, str | None] = field(default_factory=dict)
    has_code: bool = False


def launch(overrides: Sequence[str], multirun: bool, members: Sequence[Composed]) -> int:
    """Submit the runs of a command on another machine, unless that has been done, and bring their records.

    Args:
      overrides: the command line, without options.
      multirun: whether the command line asks for many runs.
      members: the runs.
    Returns:
      the exit status of the command over there, or 75 where the connection was cut at every try.
    Raises:
      ConfigError: before anything is submitted.
    """
    order = order_of(overrides, multirun, members)
    first = members[0].config
    record = record_path(overrides, members)
    if first.launcher.dry_run:
        print_order(order, record)
        return ExitCode.DONE
    check_programs()
    known = remote_sweep(record)
    place, uri = order.place, first.tracking.uri if first.tracking.on else None
    if known is not None and (known.host, known.folder) != (place.host, place.folder):
        raise ConfigError(
            f"launcher.host={place.host}: {record.stem} was submitted in {known.folder} on {known.host}; to begin "
            f"anew elsewhere, remove {remote_path(record)}"
        )
    remote = RemoteSweep(
        place.host,
        place.folder,
        place.python,
        order.code.packed.id,
        given_command(),
        uri,
        fetched=known.fetched if known else None,
    )
    try:
        send(order, first.launcher.wheels)
        write_remote(record, remote)  # before: the answer to a submission may get lost
        status = submit(order)
    except LostConnectionError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if status == ExitCode.BAD_CONFIG and known is None:
        remote_path(record).unlink()
    if status != ExitCode.DONE:
        return status
    try:
        print(bring(record, remote), flush=True)
    except (ConfigError, LostConnectionError) as error:
        print(f"warning: no records yet: {error}", file=sys.stderr)
    print_hints(record)
    if first.wait:
        from sweeps.fetch import watch

        return watch([record])
    return ExitCode.DONE


def order_of(overrides: Sequence[str], multirun: bool, members: Sequence[Composed]) -> Order:
    """Return what a command asks to be submitted; writes nothing, and connects to nothing.

    Args:
      overrides: the command line, without options.
      multirun: whether the command line asks for many runs.
      members: the runs.
    Raises:
      ConfigError: a key has a value that another machine can make nothing of.
    """
    place = place_of(one.config for one in members)
    first = members[0].config
    code = submitted_code([first.launcher], on_slurm=True, runs=Path(first.paths.runs))
    assert code is not None
    kept = [text for text in overrides if text.partition("=")[0].lstrip("+") not in REPLACED]
    own = ["launcher.name=slurm", "tracking=off", f"paths.runs={RUNS}"]
    command = [place.python, "-m", "agents.run", *(["-m"] if multirun else []), *kept, *own]
    return Order(place, code, pinned(), command)


def print_order(order: Order, record: Path) -> None:
    """Print what would be sent and submitted."""
    print(f"sweep {record.stem}, to be submitted over ssh; nothing has been sent")
    for line in [*code_lines(order.code), order.place.receives(order.code.packed.id)]:
        print(line)
    print(f"packages: {len(order.packages)}, listed in {order.place.folder}/{list_name(order.packages)}")
    print(f"command: {shlex.join(order.command)}")


def send(order: Order, wheels: str | None) -> None:
    """Send what the runs need, after a look at the other machine.

    Args:
      order: what is to be submitted.
      wheels: the folder of wheels that are sent too; None: none are.
    Raises:
      ConfigError: the folder over there cannot be written, or rsync, Python or packages are missing there.
      LostConnectionError: the connection was cut at every try.
    """
    place, packed = order.place, order.code.packed
    found = look(order)
    store(order.code)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / list_name(order.packages)
        listed.write_text(as_text(order.packages))
        transfer(place.host, [], str(listed), place.address(listed.name))
    if wheels is not None:
        transfer(place.host, [], f"{Path(wheels).expanduser()}/", place.address(f"{WHEELS}/"))
    lacking = differences(order.packages, found.packages)
    problem = found.problem
    if not problem and lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        problem = f"the packages there are not those of this environment: {', '.join(lacking[:SHOWN])}{more}"
    if problem:
        raise ConfigError(
            f"launcher.python={place.python} on {place.host}: {problem}; {cure(order, wheels, bool(found.packages))}"
        )
    if not found.has_code:
        options = ["-p", "--delete", "--exclude=__pycache__"]
        transfer(place.host, options, f"{order.code.folder}/", place.address(f"{place.snapshot(sent_as(packed.id))}/"))


def sent_as(code: str) -> str:
    """Return the name that a snapshot has over there until all of it has arrived."""
    return f".{code}.{socket.gethostname()}"


def look(order: Order) -> Found:
    """Return what is there already.

    Raises:
      ConfigError: the machine cannot be reached, the folder cannot be written, or rsync is missing there.
      LostConnectionError: the connection was cut at every try.
    """
    place = order.place
    text = LOOK.format(
        folder=shlex.quote(place.folder),
        code=place.snapshot(""),
        enter=place.enter(),
        python=shlex.quote(place.python),
        snapshot=place.snapshot(order.code.packed.id),
        names=shlex.join(order.packages),
        no_folder=NO_FOLDER,
        no_rsync=NO_RSYNC,
        no_python=NO_PYTHON,
    )
    answer = execute(place.host, text, Path(there.__file__).read_text())
    if answer.status == NO_FOLDER:
        raise ConfigError(f"launcher.folder={place.folder} on {place.host}: {last_line(answer.errors)}")
    if answer.status == NO_RSYNC:
        raise ConfigError(f"launcher.host={place.host}: rsync is not installed there")
    if answer.status == NO_PYTHON:
        return Found("there is no such program")
    try:
        found = json.loads(answer.output[answer.output.index("{") :])
    except ValueError:
        return Found(f"does not work: {last_line(answer.errors)}")
    here = ".".join(map(str, sys.version_info[:2]))
    problem = "" if found["python"] == here else f"is Python {found['python']}, and this one is {here}"
    return Found(problem, found["packages"], found["has_code"])


def cure(order: Order, wheels: str | None, has_python: bool) -> str:
    """Return how the environment over there is made, in words.

    Args:
      order: what is to be submitted.
      wheels: the folder of wheels that are sent too; None: none are.
      has_python: whether there is a Python already.
    """
    place = order.place
    sources = f"--no-index --find-links {WHEELS} " if wheels is not None else ""
    install = f"{shlex.quote(place.python)} -m pip install {sources}-r {list_name(order.packages)}"
    made = "" if has_python else f"python{'.'.join(map(str, sys.version_info[:2]))} -m venv venv && "
    return f"mend that by: {place.shell(made + install)}"


def submit(order: Order) -> int:
    """Give the command over there, again where the connection is cut: what was submitted is not submitted twice.

    Returns:
      the exit status of the command.
    Raises:
      ConfigError: the machine cannot be reached, or the snapshot is not there.
      LostConnectionError: the connection was cut at every try.
    """
    place, code = order.place, order.code
    print(f"submits in {place.folder} on {place.host}, with code {code.packed.id}", file=sys.stderr, flush=True)
    answer = execute(
        place.host,
        RUN.format(
            enter=place.enter(),
            snapshot=place.snapshot(code.packed.id),
            sent=shlex.quote(place.snapshot(sent_as(code.packed.id))),
            origin=f"{ORIGIN}={shlex.quote(json.dumps(dict(code.git)))}",
            command=shlex.join(order.command),
            no_folder=NO_FOLDER,
            no_code=NO_CODE,
        ),
    )
    if answer.status in (NO_FOLDER, NO_CODE):
        raise ConfigError(f"launcher.folder={place.folder} on {place.host}: {last_line(answer.errors)}")
    for line in answer.output.splitlines():
        if not line.startswith(("watch: ", "continue: ", "cancel: ")):  # which are for that machine
            print(line)
    for line in answer.errors.splitlines():
        print(f"{place.host}: {line}", file=sys.stderr)
    sys.stdout.flush()
    return answer.status


def print_hints(record: Path) -> None:
    """Say how to bring records, to watch and to cancel."""
    runs = record.parents[1]
    own = runs == Path.cwd() / "runs"
    where = "" if own else f" --runs {shlex.quote(str(runs))}"
    print(f"records:  python -m sweeps.fetch{'' if own else f' {shlex.quote(str(runs))}'}")
    print(f"watch:    python -m sweeps.fetch{'' if own else f' {shlex.quote(str(runs))}'} --watch")
    print(f"cancel:   python -m sweeps.cancel {record.stem}{where}", flush=True)
