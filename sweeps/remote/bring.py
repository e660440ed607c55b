"""Brings the records of a sweep from another machine: whole files, in an order in which no record says too much.

What comes is put beside the records first, in the sweep's folder, and takes its place when all of it is there. Rows
never become fewer: where a run over there has gone back to a checkpoint, what it had recorded before stays here until
the run has come as far again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.training.checkpoint import CheckpointStore, DamagedError
from conf.typed import ConfigError
from records import layout
from records.decode import decoded, read_object
from records.files import write_json
from records.layout import ExitCode
from records.lock import exclusive, is_held
from records.remote import ALIVE, RemoteRun, RemoteSweep, write_remote, write_remote_run
from records.sweep import join_sweep, known_end, known_parents, read_sweep, sweep_lock
from sweeps.remote.connection import Answer, LostConnectionError, execute, last_line, transfer
from sweeps.remote.place import RUNS, Place

STAGE = ".fetching"
"""In a sweep's folder: what has come from the other machine, until all of it is there."""
ROWS = (layout.METRICS, layout.TIMING, layout.SYSTEM, layout.CRASHES)
LEFT_THERE = (
    *(".?*", layout.LOCK, "*.lock", "*.lease", "*.clearing", "workers"),
    *(layout.REMOTE, layout.SWEPT, layout.TRACKING, "tracking.log*"),
)
"""Names of files that belong to the machine where they are: temporary ones, locks, and what MLflow here has."""
CALL = """\
{enter} || exit {no_sweep}
[ -e {record} ] || exit {no_sweep}
export PYTHONSAFEPATH=1 PYTHONPATH="$PWD"/{snapshot}
exec {command}
"""
NEWEST = """\
{enter} || exit 1
while read -r run; do ls -d "$run"/{checkpoints}/step-* 2>/dev/null | sort | tail -n 1; done
"""
NO_SWEEP = 95


@dataclass(frozen=True)
class _Said:
    """One run, as `sweeps.status --json` over there says it."""

    run_dir: str
    state: str
    job: str | None

    @property
    def path(self) -> str:
        """The run's directory, seen from the folder of runs."""
        return "/".join(Path(self.run_dir).parts[-2:])


def bring(record: Path, remote: RemoteSweep, checkpoints: bool = False) -> str:
    """Bring the record of a sweep and those of its runs, and return a line about where the runs stand.

    Args:
      record: where this machine keeps the sweep's record.
      remote: where the sweep is.
      checkpoints: whether the newest checkpoint of each run is brought too, without replay.
    Raises:
      ConfigError: the machine cannot be reached, has no such sweep, or a file cannot be read or written.
      LostConnectionError: the connection was cut at every try.
    """
    place, runs = place_of_record(remote), record.parents[1]
    with exclusive(record.with_suffix("") / "fetch.lock"):
        asked = time.time()
        said, jobs = states(place, record, remote.code)
        paths = [one.path for one in said]
        wanted = [f"{layout.SWEEPS}/{record.name}", f"{layout.SWEEPS}/{record.stem}", *paths]
        stage = record.with_suffix("") / STAGE
        stage.mkdir(exist_ok=True)
        source, target = place.address(f"{RUNS}/"), f"{stage}/"
        options = ["--ignore-missing-args", f"--compare-dest={runs}", *(f"--exclude={name}" for name in LEFT_THERE)]
        transfer(place.host, [*options, f"--exclude=/*/*/{layout.CHECKPOINTS}"], source, target, wanted)
        if checkpoints and (newest := newest_checkpoints(place, paths)):
            transfer(place.host, options, source, target, newest)
        settle(stage, record, paths, remote.command)
        for one in said:
            write_remote_run(runs / one.path, RemoteRun(place.host, asked, one.state, one.job))
            join_sweep(runs / one.path, record.stem)
        found = Counter(one.state for one in said)
        sweep = read_sweep(record)
        grows = bool(sweep.overrides) or sweep.decide is not None  # a search, or seeds that are added
        alive = jobs or any(state in ALIVE for state in found)
        over = not alive and not grows and found.keys() == {"done"}
        write_remote(record, dataclasses.replace(remote, fetched=asked, alive=alive, over=over))
    standing = ", ".join(f"{count} {state}" for state, count in found.items()) or "no runs yet"
    return f"{record.stem} on {place.host}: {standing}"


def place_of_record(remote: RemoteSweep) -> Place:
    """Return the place where a sweep was submitted."""
    return Place(remote.host, remote.folder, remote.python)


def call(place: Place, record: Path, code: str, module: str, *options: str) -> Answer:
    """Execute one of the project's commands over there, on a sweep and with its code.

    Args:
      place: where the sweep is.
      record: where this machine keeps the sweep's record.
      code: the snapshot that the command is imported from.
      module: the command, such as sweeps.status.
      *options: its further arguments.
    Raises:
      ConfigError: the machine cannot be reached, or has no such sweep.
      LostConnectionError: the connection was cut at every try.
    """
    command = [place.python, "-m", module, record.stem, "--runs", RUNS, *options]
    text = CALL.format(
        enter=place.enter(),
        record=shlex.quote(f"{RUNS}/{layout.SWEEPS}/{record.name}"),
        snapshot=place.snapshot(code),
        command=shlex.join(command),
        no_sweep=NO_SWEEP,
    )
    answer = execute(place.host, text)
    if answer.status == NO_SWEEP:
        raise ConfigError(
            f"{record.stem}: {place.host} has no such sweep in {place.folder}; the sweep's command submits it"
        )
    return answer


def pass_on(record: Path, remote: RemoteSweep, module: str, *options: str) -> int:
    """Execute a command over there, print what it prints, and return its exit status.

    Args:
      record: where this machine keeps the sweep's record.
      remote: where the sweep is.
      module: the command, such as sweeps.cancel.
      *options: its arguments, besides those that name the sweep.
    Raises:
      ConfigError: the machine cannot be reached, or has no such sweep.
    """
    try:
        answer = call(place_of_record(remote), record, remote.code, module, *options)
    except LostConnectionError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    print(answer.output, end="", flush=True)
    print(answer.errors, end="", file=sys.stderr)
    write_remote(record, dataclasses.replace(remote, alive=True, over=False))
    return answer.status


def states(place: Place, record: Path, code: str) -> tuple[list[_Said], bool]:
    """Return where the runs of a sweep stand, as the machine says that has them, and whether jobs share a search there.

    Raises:
      ConfigError: the machine cannot be reached, has no such sweep, or cannot say.
    """
    answer = call(place, record, code, "sweeps.status", "--json")
    try:
        values = json.loads(answer.output[answer.output.index("{") :])
        listed, jobs = values["runs"], bool(values["search_jobs"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{place.host}: sweeps.status failed there: {last_line(answer.errors)}") from None
    said = [decoded(_Said, one, record) for one in listed]
    if strange := next((one.run_dir for one in said if ".." in one.path.split("/")), None):
        raise ConfigError(f"{place.host}: {strange}: sweeps.status names this run there, which is no run's directory")
    return said, jobs


def newest_checkpoints(place: Place, paths: Sequence[str]) -> list[str]:
    """Return the newest checkpoint of each run that has one, seen from the folder of runs."""
    text = NEWEST.format(
        enter=dataclasses.replace(place, folder=f"{place.folder}/{RUNS}").enter(), checkpoints=layout.CHECKPOINTS
    )
    return execute(place.host, text, "".join(f"{path}\n" for path in paths)).output.split()


def settle(stage: Path, record: Path, paths: Sequence[str], command: str) -> None:
    """Move what has come to its place: rows first, so that nothing here says more than the rows hold.

    Args:
      stage: the folder that holds what has come, laid out like the folder of runs.
      record: where this machine keeps the sweep's record.
      paths: the runs, seen from the folder of runs.
      command: the sweep's command here.
    """
    runs = record.parents[1]
    for path in paths:
        if is_held(runs / path):
            print(f"warning: {runs / path}: is being run on this machine, and stays as it is", file=sys.stderr)
            shutil.rmtree(stage / path, ignore_errors=True)
            continue
        move_checkpoint(stage / path, runs / path)
        files = sorted(_files(stage / path), key=lambda file: file.name not in ROWS)
        for file in files:
            target = runs / file.relative_to(stage)
            if file.name not in ROWS or not _shorter(file, target):
                _move(file, target)
    for file in _files(stage / layout.SWEEPS / record.stem):
        _move(file, runs / file.relative_to(stage))
    settle_record(stage / layout.SWEEPS / record.name, record, command)
    shutil.rmtree(stage)


def settle_record(come: Path, record: Path, command: str) -> None:
    """Replace the sweep's record by what has come, and keep what is of this machine: MLflow's runs, and the command.

    The user's command for the end of the sweep is run over there.
    """
    if (value := read_object(come)) is None:
        return
    with sweep_lock(record):
        own = {"parents": known_parents(record), "closed": known_end(record).get("closed", [])}
        write_json(record, value | own | {"command": command, "notify": None, "notified": False})


def move_checkpoint(come: Path, run_dir: Path) -> None:
    """Move a run's checkpoint that has come to its place, if there is one and all of it has come.

    Args:
      come: the run's directory among what has come.
      run_dir: the run's directory.
    """
    for folder in (come / layout.CHECKPOINTS).glob("step-*"):
        target = run_dir / layout.CHECKPOINTS / folder.name
        if not target.exists():
            try:
                CheckpointStore(folder.parent).peek()
            except DamagedError:  # it was removed over there meanwhile; the next one comes with the next fetch
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
    shutil.rmtree(come / layout.CHECKPOINTS, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the whole files below a folder; not the parts of those that did not arrive."""
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (Path(place) / name for name in names if not name.startswith("."))


def _shorter(file: Path, target: Path) -> bool:
    return target.exists() and file.stat().st_size < target.stat().st_size


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    file.replace(target)
