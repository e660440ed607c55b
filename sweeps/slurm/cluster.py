"""SLURM as this machine sees it: whether it answers, what it takes, and its queue. Nothing here waits for a job."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from conf.schema import LauncherConfig
from conf.typed import ConfigError, did_you_mean, show
from records import layout
from records.run_dir import warn_once
from sweeps.code import Code
from sweeps.slurm.dependency import FLAG, before, follow, followers, joined, with_dependency
from sweeps.slurm.environment import clean, set_aside
from sweeps.slurm.script import arrays, flags, group, job_array, job_command, runs_command
from sweeps.slurm.states import has_ended
from sweeps.slurm.submission import Submission, give, next_submission, submissions, write_submission

ANSWER_S = 10.0


def controller() -> Literal["up", "silent", "none"]:
    """Whether SLURM answers; none: SLURM is not installed, or without a configuration, so of no cluster.

    Where `scontrol` is missing, `squeue` is asked.
    """
    scontrol, squeue = shutil.which("scontrol"), shutil.which("squeue")
    if shutil.which("sbatch") is None:
        return "none"
    if scontrol is not None:
        return _ask(scontrol, "ping")
    return "none" if squeue is None else _ask(squeue, "--noheader", "--user", str(os.getuid()))


@cache
def _ask(*command: str) -> Literal["up", "silent", "none"]:
    """Asked once in a process, as one that is down makes us wait."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, env=clean(os.environ))
    except (OSError, subprocess.TimeoutExpired):
        return "silent"
    if result.returncode == 0:
        return "up"
    return "none" if "Could not establish a configuration source" in result.stderr else "silent"


def check(launcher: LauncherConfig, text: str) -> None:
    """Ask SLURM whether it would take the script; nothing is submitted.

    Say which orders to sbatch are set aside, and where jobs may not be able to go back to the queue.

    Raises:
      ConfigError: there is no SLURM, it has no such flag, or cannot do what the flags ask for.
    """
    if controller() != "up":
        raise ConfigError("launcher=slurm: no SLURM answers here (sbatch and scontrol ping); allowed: launcher=local")
    aside = set_aside(os.environ)
    if aside:
        warn_once(f"set aside, because launcher.slurm says what jobs ask for: {' '.join(aside)}")
    if launcher.requeue == "auto" and shutil.which("scontrol") is None:
        warn_once(
            "launcher.requeue=auto: scontrol is not on this machine; where a job's node lacks it too, the job cannot "
            "requeue itself, and python -m sweeps.status SWEEP --relaunch, or the same command, goes on with its runs"
        )
    known = sorted(set(re.findall(r"--([a-z][a-z-]+)", run_command(["sbatch", "--help"]).stdout)))
    for name, value in flags(launcher).items():
        if known and name not in known:
            key = name.replace("-", "_")
            nearest = did_you_mean(name, known, 0.6).replace("-", "_")
            raise ConfigError(
                f"launcher.slurm.{key}={show(value)}: sbatch has no flag --{name}; {nearest}".rstrip("; ")
            )
    result = run_command(["sbatch", "--test-only"], text)
    if result.returncode != 0:
        raise ConfigError(f"launcher.slurm: {refusal(result)}")


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """What a SLURM command complained of, in one line."""
    return f"{result.args[0]} refuses: {one_line(result.stderr) or f'status {result.returncode}'}"


def one_line(text: str) -> str:
    """The complaints in a SLURM command's output."""
    lines = [line.split("error: ", 1)[-1].strip() for line in text.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))


def run_command(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    """A SLURM command's outcome; one that cannot be run or does not answer is a refusal."""
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=6 * ANSWER_S, env=clean(os.environ)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def submit(
    teams: Sequence[Sequence[Path]], launcher: LauncherConfig, folder: Path, name: str, code: Code | None = None
) -> list[str]:
    """Submit arrays of jobs, as few as SLURM's limit on their length allows; their ids.

    Args:
      teams: the runs of each process, in the order in which jobs take them on.
      launcher: how many runs share a job, and sbatch's flags.
      folder: the sweep's, where the submission is written.
      name: what SLURM calls the jobs.
      code: the stored code that the jobs import; None: the code as it is when a job starts.
    Raises:
      ConfigError: sbatch refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting, ids = after_other(launcher, folder), []
    for part in arrays(group(teams, launcher), max_array_size()):
        path = next_submission(folder)
        jobs = tuple(tuple(os.path.relpath(run_dir, folder) for run_dir in runs) for runs in part)
        submission = Submission(
            None,
            time.time(),
            "runs",
            jobs,
            launcher.runs_per_gpu,
            launcher.max_crashes,
            launcher.backoff_s,
            **recorded(code),
        )
        write_submission(path, submission)  # before the jobs, which may start at once
        for index, runs in enumerate(part):
            give(runs, path, index)
        try:
            array = job_array(waiting, len(part), folder, name)
            ids.append(array.send(runs_command(path, launcher, code), path.with_suffix(".sh")))
        except OSError as error:
            path.unlink()
            before = f"; submitted before it: {', '.join(ids)}" if ids else ""
            raise ConfigError(f"launcher.slurm: {one_line(str(error))}{before}") from None
        record_submission(path, dataclasses.replace(submission, array=ids[-1]))
    hold(launcher, folder, ids)
    return ids


def record_submission(path: Path, submission: Submission) -> None:
    """Write down what was submitted; where that cannot be done, nobody would find the array again: take it back."""
    try:
        write_submission(path, submission)
    except OSError:
        path.unlink(missing_ok=True)
        if submission.array is not None:
            cancel([submission.array])
        raise


def recorded(code: Code | None) -> dict[str, Any]:
    """What a submission keeps of the code that its jobs import."""
    return {"code": code.folder.name, "git": dict(code.git)} if code else {}


def submit_workers(
    launcher: LauncherConfig, jobs: int, folder: Path, name: str, command: Sequence[str], code: Code | None = None
) -> str:
    """Submit one array of jobs that all execute `command`, with their index as last argument; its id.

    Args:
      launcher: sbatch's flags.
      jobs: the array's length.
      folder: the search's, where the submission is written.
      name: what SLURM calls the jobs.
      command: what each job executes.
      code: the stored code that the jobs import; None: the code as it is when a job starts.
    Raises:
      ConfigError: sbatch refuses.
    """
    path = next_submission(folder)
    try:
        array = job_array(after_other(launcher, folder), jobs, folder, name)
        identifier = array.send(job_command(command, folder, launcher, code), path.with_suffix(".sh"))
    except OSError as error:
        raise ConfigError(f"launcher.slurm: {one_line(str(error))}") from None
    record_submission(path, Submission(identifier, time.time(), "search", (), 1, 0, 0.0, **recorded(code)))
    hold(launcher, folder, [identifier])
    return identifier


def after_other(launcher: LauncherConfig, folder: Path) -> LauncherConfig:
    """The launcher with a dependency on all jobs, now in the queue, of the sweep that `launcher.after` names.

    Raises:
      ConfigError: there is no such sweep.
    """
    if launcher.after is None:
        return launcher
    other = before(launcher.after, folder.parents[1])
    waited = living_arrays(other.folder, other.owner)
    return launcher if not waited else with_dependency(launcher, waited)


def hold(launcher: LauncherConfig, folder: Path, ids: Sequence[str]) -> None:
    """Have jobs that wait for a sweep wait for all of its jobs, those included that were submitted just now.

    Args:
      launcher: the launcher of the jobs that were submitted.
      folder: their sweep's.
      ids: their arrays.
    """
    if launcher.after is not None:
        other = before(launcher.after, folder.parents[1])
        for array in ids:
            follow(other.folder, array, str(launcher.slurm.get(FLAG) or ""))
        hold_followers(other.folder, other.owner)  # some may have been submitted since `after_other` looked
    hold_followers(folder)


def hold_followers(folder: Path, owner: int | None = None) -> None:
    """Tell SLURM of all jobs of a sweep for which the arrays that wait for the sweep are to wait."""
    waiting = followers(folder)
    waited = living_arrays(folder, owner) if waiting else []
    for array, dependency in waiting.items():
        if waited:  # SLURM refuses where the array has begun or ended already: there is nothing to hold
            run_command(["scontrol", "update", f"JobId={array}", f"Dependency={joined(dependency, waited)}"])


def living_arrays(folder: Path, owner: int | None = None) -> list[str]:
    """The arrays of a sweep or search that have jobs in the queue."""
    mine = {one.array for one in submissions(folder)}
    jobs = queue(owner) if mine else {}
    return sorted({job.partition("_")[0] for job in jobs or ()} & {array for array in mine if array})


def max_array_size() -> int:
    """The longest array that SLURM takes."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", run_command(["scontrol", "show", "config"]).stdout)
    return max(1, int(match[1])) if match else 1000


Queue = Mapping[str, str]
"""Job id -> SLURM's state, of all jobs that have not ended."""


def queue(owner: int | None = None) -> Queue | None:
    """The jobs of a user (by number; default: this one) that have not ended; None where SLURM cannot be asked."""
    if shutil.which("squeue") is None:
        return {}  # no SLURM, no jobs
    user = str(os.getuid() if owner is None else owner)
    # All states, because squeue by itself leaves out jobs that are neither pending, running nor completing.
    command = ["squeue", "--noheader", "--array", "--states", "all", "--user", user, "--format", "%i|%T"]
    result = run_command(command)
    if result.returncode != 0:
        return None
    entries = (line.strip().partition("|") for line in result.stdout.splitlines())
    return {job: state for job, _, state in entries if job and not has_ended(state)}


def forbid_requeue(folder: Path, job: str) -> None:
    """Have a job that is about to go back to the queue end instead: a cancel soon after USR2 would be undone.

    Args:
      folder: of the job's submission and log.
    """
    (folder / f"{job}.cancelled").touch()


def search_jobs(folder: Path, owner: int | None = None) -> Queue | None:
    """A user's jobs that share the search of a folder and have not ended; None where SLURM cannot be asked.

    Those of a search that another machine has are not here.
    """
    if (folder / layout.REMOTE).exists():
        return {}
    arrays = {one.array for one in submissions(folder) if one.kind == "search"}
    jobs = queue(owner) if arrays else {}
    return None if jobs is None else {job: state for job, state in jobs.items() if job.partition("_")[0] in arrays}


def in_words(jobs: Queue) -> str:
    """How many jobs are in each state."""
    return ", ".join(f"{count} {state.lower()}" for state, count in sorted(Counter(jobs.values()).items()))


def cancel(jobs: Iterable[str]) -> None:
    """Take jobs from the queue; running ones checkpoint first.

    Raises:
      ConfigError: scancel refuses.
    """
    ids = sorted(jobs)
    for first in range(0, len(ids), 500):
        result = run_command(["scancel", *ids[first : first + 500]])
        if result.returncode != 0:
            raise ConfigError(refusal(result))
