"""What was submitted to SLURM, on disk.

A submission is a folder's `NNN.json`: the runs of each of the array's jobs, or that the jobs share a search, and the
array's id once SLURM has said it. `NNN.sh` is the script that sbatch was given. A run directory's `job.json` names the
submission and the index of the run's job.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from conf.typed import Since
from records import layout
from records.decode import DamagedRecordError, read_as
from records.files import write_json
from records.run_dir import RunDir, warn_once


@dataclass(frozen=True)
class Submission:
    """One array of jobs.

    Attributes:
      array: SLURM's id of the array; None where the submission did not come through.
      time: when it was submitted, in seconds since the epoch.
      kind: whether the jobs execute runs, or share the trials of a search.
      jobs: the runs of each job, seen from the submission's folder; empty for a search.
      at_once: processes that a job has at once, each of a run or of several seeds together.
      max_crashes, backoff_s: how often and how soon a run that crashed is started again.
      code: the name of the snapshot that the jobs import; empty where their code is live.
      git: what git said of the code, as `records.provenance.git_state`; empty where the code is live.
    """

    array: str | None
    time: float
    kind: Literal["runs", "search"]
    jobs: Annotated[tuple[tuple[str, ...], ...], Since(())]
    at_once: Annotated[int, Since(1)]
    max_crashes: Annotated[int, Since(0)]
    backoff_s: Annotated[float, Since(0.0)]
    code: Annotated[str, Since("")] = ""
    git: Annotated[dict[str, Any], Since({})] = field(default_factory=dict)

    def run_dirs(self, path: Path, index: int) -> list[Path]:
        """The runs of one job of the submission that is written at `path`."""
        return [Path(os.path.normpath(path.parent / name)) for name in self.jobs[index]]


@dataclass(frozen=True)
class Job:
    """The job that a run was given to last.

    Attributes:
      id: as `squeue` writes it, or None where the submission did not come through.
      log: what the job's script printed, besides the run's own log.
      time: when it was submitted, in seconds since the epoch.
      code: the name of the snapshot that the job imports; empty where its code is live.
      git: what git said of that code at the submission.
    """

    id: str | None
    log: Path
    time: float
    code: str = ""
    git: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_interrupted(self) -> bool:
        """Whether the job has ended early, and could not send itself back to the queue."""
        return self.log.with_suffix(".interrupted").exists()


def read_submission(path: Path) -> Submission | None:
    """The submission that a file describes; None where the file is missing or, with a warning, damaged."""
    try:
        return read_as(Submission, path)
    except DamagedRecordError as error:
        warn_once(f"{error}; taken as missing")
        return None


def submission_at(path: Path) -> Submission | None:
    """The same, read once for as long as the file stays as it is: each of a thousand runs asks for the same one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _unchanged(path, found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _unchanged(path: Path, inode: int, changed_ns: int, size: int) -> Submission | None:
    return read_submission(path)


def write_submission(path: Path, submission: Submission) -> None:
    """Write a submission."""
    write_json(path, dataclasses.asdict(submission))


def submissions(folder: Path) -> Iterator[Submission]:
    """Yield the submissions of a sweep's or a search's folder that can be read."""
    for path in sorted(folder.glob("[0-9]*.json")):
        found = read_submission(path)
        if found is not None:
            yield found


def next_submission(folder: Path) -> Path:
    """Where the folder's next submission is written."""
    taken = [int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdigit()]
    return folder / f"{max(taken, default=0) + 1:03d}.json"


def give(run_dirs: Sequence[Path], submission: Path, index: int) -> None:
    """Write into the runs' directories which job of a submission they are given to."""
    for run_dir in run_dirs:
        write_json(run_dir / layout.JOB, {"submission": os.path.relpath(submission, run_dir), "index": index})


def job_of(run_dir: Path) -> Job | None:
    """The job that the run was given to last."""
    entry = RunDir(run_dir).job()
    if entry is None:
        return None
    path = Path(os.path.normpath(run_dir / entry.submission))
    submission = submission_at(path)
    array = submission.array if submission else None
    identifier = None if array is None else f"{array}_{entry.index}"
    log = path.parent / f"{identifier}.log"
    return Job(identifier, log, submission.time, submission.code, submission.git) if submission else Job(None, log, 0.0)
