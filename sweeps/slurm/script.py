"""The script of a job array, as text: from the launcher's settings to what sbatch is given. Asks SLURM nothing."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema import LauncherConfig
from conf.typed import ConfigError, show
from records.layout import ExitCode
from sweeps.code import Code
from sweeps.slurm.submission import next_submission

if TYPE_CHECKING:
    from sweeps.slurm.array import JobArray

MAX_MINUTES = 7 * 24 * 60
PAUSES = " 1 2 4 8 0"
"""Seconds between the tries of a job to go back to the queue."""
EARLY_S = 60  # SLURM may send a signal so much before it was asked to
RESERVED = {
    "array": "max_parallel",
    "error": "",
    "no-requeue": "requeue",
    "open-mode": "",
    "output": "",
    "parsable": "",
    "requeue": "requeue",
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
{exports}job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
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
    back=
    for pause_s in{pauses}; do  # SLURM may be too busy to answer
        [ -e "$cancelled" ] && break
        command -v scontrol >/dev/null || {{ echo "scontrol is not on this node"; break; }}
        scontrol requeue "$job" && {{ back=yes; break; }}
        sleep "$pause_s"
    done
    if [ -z "$back" ] && [ ! -e "$cancelled" ]; then
        touch {folder}/"$job.interrupted"
        echo "job $job is interrupted, and has not gone back to the queue; its runs go on with the sweep's command" \
            "again, or with: python -m sweeps.status {sweep} --relaunch"
    fi
fi
exit "$status"
"""


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
    check_nodes(found.get("nodes"))
    check_time(found.get("time"), launcher.signal_delay_s)
    return found


def check_nodes(nodes: Any) -> None:
    """Refuse jobs of several nodes, all but one of which would be idle.

    Raises:
      ConfigError: names the key.
    """
    if nodes is not None and str(nodes) not in ("1", "1-1"):
        raise ConfigError(
            f"launcher.slurm.nodes={nodes}: a run computes on one node, so that others would be idle; allowed: 1 or "
            "null, with mesh.data and launcher.slurm.gpus_per_node for several GPUs of a node"
        )


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


def job_array(launcher: LauncherConfig, jobs: int, folder: Path, name: str) -> JobArray:
    """The job array that the launcher's settings make.

    Args:
      launcher: sbatch's flags, and how many jobs may run at once.
      jobs: the array's length.
      folder: where the jobs' logs are written.
      name: what SLURM calls the jobs.
    Raises:
      ConfigError: as `flags`.
    """
    all_flags = {"job-name": name} | flags(launcher)
    all_flags |= {
        "output": str(folder / "%A_%a.log"),
        "requeue" if launcher.requeue == "auto" else "no-requeue": True,
        "signal": f"B:USR2@{launcher.signal_delay_s}",
    }
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # else its import closes other libraries' log handlers
    from sweeps.slurm.array import JobArray

    return JobArray(folder, jobs, launcher.max_parallel or jobs, all_flags, [SETUP, *launcher.setup])


def job_command(command: Sequence[str], folder: Path, launcher: LauncherConfig, code: Code | None = None) -> str:
    """What a job's script does: execute `command` with the job's index as last argument; requeue if told to.

    Args:
      command: what a job executes.
      folder: the folder of the submission, where `forbid_requeue` leaves its word; named like the sweep.
      launcher: whether a job that is told to stop goes back to the queue.
      code: the code that the job imports; None: the code as it is when the job starts.
    """
    return COMMAND.format(
        exports=f"{code.exports()}\n" if code else "",
        command=shlex.join(command),
        folder=shlex.quote(str(folder)),
        interrupted=ExitCode.INTERRUPTED,
        pauses=PAUSES if launcher.requeue == "auto" else "",
        sweep=folder.name,
    )


def runs_command(submission: Path, launcher: LauncherConfig, code: Code | None) -> str:
    """What the script of a job does which takes on its runs, as the submission lists them."""
    return job_command([sys.executable, "-m", "sweeps.slurm.job", str(submission)], submission.parent, launcher, code)


def script(
    teams: Sequence[Sequence[Path]],
    launcher: LauncherConfig,
    folder: Path,
    name: str,
    max_array_size: int,
    code: Code | None = None,
) -> str:
    """What `sbatch` would be given for the runs: the first array, where several are needed.

    Args:
      teams: the runs of each process, in the order in which jobs take them on.
      launcher: how many runs share a job, and sbatch's flags.
      folder: where the submission and the jobs' logs are written.
      name: what SLURM calls the jobs.
      max_array_size: the longest array that SLURM takes.
      code: the code that the jobs import; None: the code as it is when a job starts.
    Raises:
      ConfigError: as `flags`.
    """
    first = arrays(group(teams, launcher), max_array_size)[0]
    return job_array(launcher, len(first), folder, name).script(runs_command(next_submission(folder), launcher, code))


def group(teams: Sequence[Sequence[Path]], launcher: LauncherConfig) -> list[list[Path]]:
    """The runs of each job: neighbours, which differ in the seed, share one, and the runs of a process always do."""
    size = launcher.runs_per_job or launcher.runs_per_gpu
    parts = [teams[first : first + size] for first in range(0, len(teams), size)]
    return [[run_dir for team in part for run_dir in team] for part in parts]


def arrays(jobs: Sequence[list[Path]], length: int) -> list[Sequence[list[Path]]]:
    """The jobs in as few parts as SLURM's limit on the length of an array allows."""
    return [jobs[first : first + length] for first in range(0, len(jobs), length)]
