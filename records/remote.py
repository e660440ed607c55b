"""What this machine knows of sweeps and runs that another machine has, as of when their records were brought last."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from conf.typed import Since
from records import layout
from records.decode import DamagedRecordError, read_as
from records.files import write_json
from records.run_dir import warn_once

T = TypeVar("T")
ALIVE = ("running", "queued", "preempted")
"""The states of a run that a process or a job executes now, or is going to."""


@dataclass(frozen=True)
class RemoteSweep:
    """Where a sweep was submitted, in `runs/_sweeps/<id>/remote.json`.

    Attributes:
      host: the machine, as ssh calls it.
      folder, python: the folder over there, seen from home, and the Python, seen from the folder.
      code: the name of the snapshot that was submitted last.
      command: the command that was given here.
      uri: the MLflow that the runs are mirrored to from here; None: none.
      fetched: when the records were brought last, in seconds since the epoch; None: never.
      alive: whether a run or a job of the sweep went on then, or was going to.
      over: whether all runs were done then, and no more can come, so that nothing is left to bring.
    """

    host: str
    folder: str
    python: str
    code: str
    command: str
    uri: str | None
    fetched: Annotated[float | None, Since(None)] = None
    alive: Annotated[bool, Since(True)] = True
    over: Annotated[bool, Since(False)] = False


@dataclass(frozen=True)
class RemoteRun:
    """Where a run stood over there when its record was brought last.

    Attributes:
      host: the machine, as ssh calls it.
      time: when that was, in seconds since the epoch.
      state: as `sweeps.status` over there called it.
      job: SLURM's id of the job that had the run; None where none did.
    """

    host: str
    time: float
    state: str
    job: str | None

    @property
    def alive(self) -> bool:
        """Whether a process or a job over there executed the run, or was going to."""
        return self.state in ALIVE


def remote_path(record: Path) -> Path:
    """Return the file that says where a sweep with a record at `record` was submitted."""
    return record.with_suffix("") / layout.REMOTE


def write_remote(record: Path, remote: RemoteSweep) -> None:
    """Write where a sweep was submitted."""
    path = remote_path(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dataclasses.asdict(remote))


def remote_sweep(record: Path) -> RemoteSweep | None:
    """Return where a sweep was submitted; None for a sweep of this machine."""
    return _read(RemoteSweep, remote_path(record))


def remote_sweeps(runs: Path) -> dict[Path, RemoteSweep]:
    """Return every sweep below `runs` that another machine has, by the path of its record, which may be yet to come."""
    found = {}
    for path in sorted((runs.absolute() / layout.SWEEPS).glob(f"*/{layout.REMOTE}")):
        record = path.parent.with_name(f"{path.parent.name}.json")
        if (remote := remote_sweep(record)) is not None:
            found[record] = remote
    return found


def write_remote_run(run_dir: Path, said: RemoteRun) -> None:
    """Write where a run stood over there."""
    write_json(run_dir / layout.REMOTE, dataclasses.asdict(said))


def remote_run(run_dir: Path) -> RemoteRun | None:
    """Return where a run stood over there; None for a run of this machine."""
    return _read(RemoteRun, run_dir / layout.REMOTE)


def _read(cls: type[T], path: Path) -> T | None:
    try:
        return read_as(cls, path)
    except DamagedRecordError as error:
        warn_once(f"{error}; taken as missing")
        return None
