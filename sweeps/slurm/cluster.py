"""SLURM: the script of a job array, its submission, and the queue. Nothing here waits for a job.

A submission is a folder's `NNN.json`: the runs of each of the array's jobs and, once submitted, the array's id;
`NNN.sh` is the script that sbatch was given. A run directory's `job.json` names the submission and its job's index.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conf.schema import LauncherConfig
from conf.typed import ConfigError, did_you_mean, show
from records import files, layout
from records.files import write_json
from records.layout import ExitCode

if TYPE_CHECKING:
    from sweeps.slurm.array import JobArray

ANSWER_S = 10.0
MAX_MINUTES = 7 * 24 * 60
EARLY_S = 60  # SLURM may send a signal so much before it was asked to
RESERVED = {
    "array": "max_parallel",
    "error": "",
    "no-requeue": "",
    "open-mode": "",
    "output": "",
    "parsable": "",
    "requeue": "",
    "signal": "signal_delay_s",
    "test-only": "dry_run",
    "wait": "",
    "wrap": "setup",
}
"""Flags that the launcher sets itself, and the key of `launcher` that stands for them, if any."""

SETUP = """\
# Runs checkpoint when they are told to stop. USR2 comes before the time limit or with a preemption: the job then goes
# back to the queue. TERM comes with a requeue that SLURM does by itself, or with a cancel, which must stay one.
told=
worker=
tell() {
    interrupted=yes
    [ "$told" = USR2 ] || told=$1
    [ -z "$worker" ] || kill -s TERM "$worker" 2>/dev/null
}
trap 'tell USR2' USR2
trap 'tell TERM' TERM"""
COMMAND = """\
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
cancelled={folder}/$job.cancelled
status={interrupted}
if [ -z "$told" ]; then
    {command} "$SLURM_ARRAY_TASK_ID" &
    worker=$!
    [ -z "$told" ] || kill -s TERM "$worker" 2>/dev/null
    interrupted=yes
    while [ -n "$interrupted" ]; do
        interrupted=
        wait "$worker"
        status=$?
    done
fi
if [ "$told" = USR2 ] && {{ [ "$status" -eq {interrupted} ] || [ "$status" -ge 128 ]; }}; then
    for pause_s in 1 2 4 8 0; do  # SLURM may be too busy to answer
        [ -e "$cancelled" ] && break
        scontrol requeue "$job" && break
        sleep "$pause_s"
    done
fi
exit "$status"
"""


@dataclass(frozen=True)
class Job:
    """The job that a run was given to last.

    Attributes:
      id: as `squeue` writes it, or None where the submission did not come through.
      log: what the job's script printed, besides the run's own log.
      time: when it was submitted, in seconds since the epoch.
    """

    id: str | None
    log: Path
    time: float


def controller() -> Literal["up", "silent", "none"]:
    """What becomes of `scontrol ping`; none: SLURM is not installed, or without a configuration, so of no cluster."""
    scontrol = shutil.which("scontrol")
    return "none" if scontrol is None or shutil.which("sbatch") is None else _ping(scontrol)


@cache
def _ping(scontrol: str) -> Literal["up", "silent", "none"]:
    """Asked once in a process, as one that is down makes us wait."""
    try:
        result = subprocess.run([scontrol, "ping"], capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return "silent"
    if result.returncode == 0:
        return "up"
    return "none" if "Could not establish a configuration source" in result.stderr else "silent"


def flags(launcher: LauncherConfig) -> dict[str, Any]:
    """sbatch's flags of the yaml, with dashes, without those that null or false drop.

    Raises:
      ConfigError: a name that no flag can have, one that the launcher sets itself, or a value that is no plain one.
    """
    found = {}
    for key, value in launcher.slurm.items():
        where, name = f"launcher.slurm.{key}={show(value)}", str(key).replace("_", "-")
        if name in RESERVED:
            instead = f"; see launcher.{RESERVED[name]}" if RESERVED[name] else ""
            raise ConfigError(f"{where}: the launcher sets --{name} itself{instead}")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise ConfigError(f"{where}: no flag of sbatch; such as partition, gpus_per_node, mem")
        if isinstance(value, list | tuple) and value and all(isinstance(one, str | int | float) for one in value):
            value = ",".join(map(str, value))
        if not isinstance(value, str | int | float | None):
            raise ConfigError(f"{where}: must be text, a number, true, a list of these, or null, which drops the flag")
        if isinstance(value, str) and ("\n" in value or not value.strip()):
            raise ConfigError(f"{where}: must be one line of text, or null, which drops the flag")
        if value is not None and value is not False:
            found[name] = value
    check_time(found.get("time"), launcher.signal_delay_s)
    return found


def check_time(limit: Any, delay_s: int) -> None:
    """Refuses a time limit that leaves nothing before the signal: such a job would only be requeued, for ever.

    Also a number of minutes that was probably meant otherwise: to YAML, 24:00:00 without quotes is 86400.

    Raises:
      ConfigError: names the keys.
    """
    if isinstance(limit, int) and limit > MAX_MINUTES:
        raise ConfigError(
            f"launcher.slurm.time={limit}: {limit / 1440:,.0f} days, as a number is minutes; quote H:M:S in yaml "
            f'("24:00:00"), and write more than {MAX_MINUTES // 1440} days as D-H ("{limit // 1440}-0")'
        )
    seconds = limit_seconds(limit)
    if seconds and seconds <= delay_s + EARLY_S:
        raise ConfigError(
            f"launcher.slurm.time={limit}: {seconds} s; must be more than launcher.signal_delay_s={delay_s} and "
            f"the {EARLY_S} s that SLURM may be early, or the job is requeued before it does anything"
        )


def limit_seconds(limit: Any) -> int | None:
    """A time limit as sbatch reads it: minutes, M:S, H:M:S, D-H, D-H:M or D-H:M:S (0: none); None: not one of these."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(limit))
    if match is None:
        return None
    days, *parts = match.groups()
    first, second, third = (int(part or 0) for part in parts)
    if days is None and parts[2] is None:
        return 60 * first + second
    return 86400 * int(days or 0) + 3600 * first + 60 * second + third


def check(launcher: LauncherConfig, text: str) -> None:
    """Ask SLURM whether it would take the script; nothing is submitted.

    Raises:
      ConfigError: there is no SLURM, it has no such flag, or cannot do what the flags ask for.
    """
    if controller() != "up":
        raise ConfigError("launcher=slurm: no SLURM answers here (sbatch and scontrol ping); allowed: launcher=local")
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
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=6 * ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def array(launcher: LauncherConfig, jobs: int, folder: Path, name: str) -> JobArray:
    """The array of `jobs` jobs that the launcher's settings make; its logs are in `folder`.

    Raises:
      ConfigError: as `flags`.
    """
    all_flags = {"job-name": name} | flags(launcher)
    all_flags |= {
        "output": str(folder / "%A_%a.log"),
        "requeue": True,
        "signal": f"B:USR2@{launcher.signal_delay_s}",
    }
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # else its import closes other libraries' log handlers
    from sweeps.slurm.array import JobArray

    return JobArray(folder, jobs, launcher.max_parallel or jobs, all_flags, [SETUP, *launcher.setup])


def job_command(command: Sequence[str], folder: Path) -> str:
    """What a job's script does: execute `command` with the job's index as last argument; requeue if told to.

    Args:
      folder: of the submission, where `forbid_requeue` leaves its word.
    """
    return COMMAND.format(
        command=shlex.join(command), folder=shlex.quote(str(folder)), interrupted=ExitCode.INTERRUPTED
    )


def runs_command(submission: Path) -> str:
    """That of a job which takes on its runs, as the submission lists them."""
    return job_command([sys.executable, "-m", "sweeps.slurm.job", str(submission)], submission.parent)


def script(run_dirs: Sequence[Path], launcher: LauncherConfig, folder: Path, name: str) -> str:
    """What `sbatch` would be given for the runs: the first array, where it takes several.

    Raises:
      ConfigError: as `flags`.
    """
    first = arrays(group(run_dirs, launcher))[0]
    return array(launcher, len(first), folder, name).script(runs_command(next_submission(folder)))


def group(run_dirs: Sequence[Path], launcher: LauncherConfig) -> list[list[Path]]:
    """The runs of each job: neighbours, which differ in the seed, share one."""
    size = launcher.runs_per_job or launcher.runs_per_gpu
    return [list(run_dirs[first : first + size]) for first in range(0, len(run_dirs), size)]


def arrays(jobs: Sequence[list[Path]]) -> list[Sequence[list[Path]]]:
    """The jobs in as few parts as SLURM's limit on the length of an array allows."""
    length = max_array_size()
    return [jobs[first : first + length] for first in range(0, len(jobs), length)]


def next_submission(folder: Path) -> Path:
    """Where the folder's next submission is written."""
    taken = [int(path.stem) for path in folder.glob("[0-9]*.json")]
    return folder / f"{max(taken, default=0) + 1:03d}.json"


def submit(run_dirs: Sequence[Path], launcher: LauncherConfig, folder: Path, name: str) -> list[str]:
    """Submit arrays of jobs, as few as SLURM's limit on their length allows; their ids.

    Raises:
      ConfigError: sbatch refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = []
    for part in arrays(group(run_dirs, launcher)):
        submission = next_submission(folder)
        body = {
            "array": None,
            "time": time.time(),
            "jobs": [[os.path.relpath(run_dir, folder) for run_dir in runs] for runs in part],
            "at_once": launcher.runs_per_gpu,
            "max_crashes": launcher.max_crashes,
            "backoff_s": launcher.backoff_s,
        }
        write_json(submission, body)  # before the jobs, which may start at once
        for index, runs in enumerate(part):
            for run_dir in runs:
                job = {"submission": os.path.relpath(submission, run_dir), "index": index}
                write_json(run_dir / layout.JOB, job)
        try:
            jobs = array(launcher, len(part), folder, name)
            ids.append(jobs.send(runs_command(submission), submission.with_suffix(".sh")))
        except OSError as error:
            submission.unlink()
            before = f"; submitted before it: {', '.join(ids)}" if ids else ""
            raise ConfigError(f"launcher.slurm: {one_line(str(error))}{before}") from None
        note(submission, body | {"array": ids[-1]})
    return ids


def note(submission: Path, body: Mapping[str, Any]) -> None:
    """Write down what was submitted; where that cannot be done, nobody would find the array again: take it back."""
    try:
        write_json(submission, body)
    except OSError:
        submission.unlink(missing_ok=True)
        cancel([body["array"]])
        raise


def submit_workers(launcher: LauncherConfig, jobs: int, folder: Path, name: str, command: Sequence[str]) -> str:
    """Submit one array of jobs that all execute `command`, with their index as last argument; its id.

    Raises:
      ConfigError: sbatch refuses.
    """
    submission = next_submission(folder)
    try:
        script = submission.with_suffix(".sh")
        identifier = array(launcher, jobs, folder, name).send(job_command(command, folder), script)
    except OSError as error:
        raise ConfigError(f"launcher.slurm: {one_line(str(error))}") from None
    note(submission, {"array": identifier, "time": time.time(), "jobs": []})
    return identifier


def max_array_size() -> int:
    """The longest array that SLURM takes."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", run_command(["scontrol", "show", "config"]).stdout)
    return max(1, int(match[1])) if match else 1000


def job_of(run_dir: Path) -> Job | None:
    """The job that the run was given to last."""
    entry = files.read_whole(run_dir / layout.JOB, "submission", "index")
    if entry is None:
        return None
    submission = Path(os.path.normpath(run_dir / entry["submission"]))
    body = files.read_json(submission) or {}
    array = body.get("array")
    identifier = None if array is None else f"{array}_{entry['index']}"
    return Job(identifier, submission.parent / f"{identifier}.log", body.get("time", 0.0))


Queue = Mapping[str, str]
"""Job id -> SLURM's state, of all jobs that have not ended."""


def queue(owner: int | None = None) -> Queue | None:
    """The jobs of a user (by number; default: this one) that have not ended; None where SLURM cannot be asked."""
    if shutil.which("squeue") is None:
        return {}  # no SLURM, no jobs
    user = str(os.getuid() if owner is None else owner)
    result = run_command(["squeue", "--noheader", "--array", "--user", user, "--format", "%i|%T"])
    if result.returncode != 0:
        return None
    entries = (line.split("|") for line in result.stdout.split())
    ended = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
    return {job: state for job, state in entries if state not in ended}


def forbid_requeue(folder: Path, job: str) -> None:
    """Have a job that is about to go back to the queue end instead: a cancel soon after USR2 would be undone.

    Args:
      folder: of the job's submission and log.
    """
    (folder / f"{job}.cancelled").touch()


def workers(folder: Path, owner: int | None = None) -> Queue | None:
    """Of a user's jobs that have not ended, those that `submit_workers` submitted; None where SLURM cannot be asked."""
    bodies = [files.read_json(path) or {} for path in folder.glob("[0-9]*.json")]
    arrays = {body.get("array") for body in bodies if body.get("jobs") == []}
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
