"""Kills, requeues, preemption signals and time limits at random moments of a sweep on a real SLURM: `make torture`.

At the end every run's metrics equal those of a run that nothing happened to, and MLflow has each row exactly once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from records import layout
from records.sweep import Sweep, find_sweep
from sweeps.slurm import cluster as slurm
from sweeps.status import RunState, inspect
from tests import slurm_cluster
from tests.commands import TINY, command, living, mirrored_once, run

SETTINGS = [*TINY, "checkpoint.every_min=0.05", "eval.every_steps=1000"]
SWEEP = [
    "launcher=slurm",
    "launcher.slurm.gpus_per_node=null",
    "launcher.slurm.cpus_per_task=1",
    "launcher.slurm.mem=2G",
    "launcher.slurm.time=10",
    "launcher.signal_delay_s=20",
    "launcher.max_crashes=1000",
    "launcher.backoff_s=0.1",
]
PAUSE_S = (1.0, 5.0)
EARLY = 0.2


def kill(run_dir: Path, _: str) -> None:
    pid = json.loads((run_dir / layout.STATUS).read_text())["pid"]
    # What a run said last may be of a process that is gone, and its number another's.
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "agents.run" not in arguments or str(run_dir) not in arguments:
        raise ValueError(f"{run_dir}: is not run by {pid}")
    os.kill(pid, signal.SIGKILL)


def requeue(_: Path, job: str) -> None:
    slurm_cluster.command("scontrol", "requeue", job)


def warn(_: Path, job: str) -> None:
    slurm_cluster.command("scancel", "--batch", "--signal=USR2", job)


def limit(_: Path, job: str) -> None:
    """From now on the job's time is up after a minute; SLURM looks twice a minute."""
    slurm_cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=1")


EVENTS: tuple[Callable[[Path, str], None], ...] = (kill, requeue, warn, limit)


def survive(folder: Path, events: int, runs: int, env_steps: int, seed: int, limit_s: float) -> Counter[str]:
    """Run a sweep through `events` events; what happened, and how often.

    Raises:
      AssertionError: anything differs from the runs that nothing happened to, or it takes longer than `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    budget = f"train.env_steps={env_steps}"
    reference = folder / "reference"
    reference.mkdir()
    seeds = f"seed=range(0,{runs})"
    at_once = f"launcher.max_parallel={min(runs, len(os.sched_getaffinity(0)))}"
    alone = command("-m", *SETTINGS, budget, seeds, "tracking=off", "launcher=local", at_once)
    with living(
        *alone, limit_s=limit_s, cwd=reference, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as undisturbed:
        launched = run(folder, "-m", *SETTINGS, budget, seeds, *SWEEP)
        assert launched.returncode == 0, launched.stderr
        sweep = find_sweep(folder / "runs", None)
        happened = disturb(sweep, events, random.Random(seed), deadline)
        assert undisturbed.wait(max(1.0, deadline - time.monotonic())) == 0
    for member in sweep.members:
        same = reference / member.run_dir.relative_to(folder)
        assert (member.run_dir / layout.METRICS).read_bytes() == (same / layout.METRICS).read_bytes(), member.run_dir
        mirrored_once(member.run_dir)
        starts = json.loads((member.run_dir / layout.MANIFEST).read_text())["starts"]
        happened["start"] += len(starts)
    return happened


def disturb(sweep: Sweep, events: int, moments: random.Random, deadline: float) -> Counter[str]:
    """Have things happen to a sweep until it is done, which must be before the deadline; what, and how often."""
    happened: Counter[str] = Counter()
    seen = dict.fromkeys((member.run_dir for member in sweep.members), 0)
    while (states := alive(sweep)) or not over(sweep):
        assert time.monotonic() < deadline, f"not over yet, after {happened}: {states}"
        running = [(run_dir, state.job) for run_dir, state in states.items() if state.name == "running" and state.job]
        # Mostly to runs that have come further since the last time, so that the sweep ends; some while they begin.
        early = moments.random() < EARLY
        running = [(run_dir, job) for run_dir, job in running if early or states[run_dir].env_steps > seen[run_dir]]
        if running and happened.total() < events:
            run_dir, job = moments.choice(running)
            event = moments.choice(EVENTS)
            try:
                event(run_dir, job)
                seen[run_dir] = states[run_dir].env_steps
                happened[event.__name__] += 1
                print(f"{event.__name__} {run_dir.name} at {states[run_dir].env_steps} steps", flush=True)
            except (OSError, KeyError, TypeError, ValueError, subprocess.CalledProcessError):
                pass  # it was just then between two states
        time.sleep(moments.uniform(*PAUSE_S))
    assert happened.total() == events, f"the sweep was over after {happened}"
    return happened


def alive(sweep: Sweep) -> dict[Path, RunState]:
    queue = slurm.queue() or {}
    states = {one.run_dir: inspect(one.run_dir, one.env_steps, queue) for one in sweep.members}
    return {run_dir: state for run_dir, state in states.items() if state.alive}


def over(sweep: Sweep) -> bool:
    """Whether nothing is alive, and it was not only for the moment of a requeue; all must be done then."""
    time.sleep(3)
    if alive(sweep) or slurm.queue():  # a job that is done still mirrors the rest
        return False
    states = {one.run_dir.name: inspect(one.run_dir, one.env_steps, {}) for one in sweep.members}
    assert all(state.name == "done" for state in states.values()), states
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--env-steps", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit-s", type=float, default=3600, help="when it must be over (default: 3600)")
    options = vars(parser.parse_args())
    reason = slurm_cluster.missing()
    if reason:
        sys.exit(f"error: {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with slurm_cluster.running(folder / "slurm") as environment:
            os.environ.update(environment)
            happened = survive(folder, **options)
            counted = ", ".join(f"{count} x {what}" for what, count in happened.items())
            print(f"survived {counted}; every number is unchanged", flush=True)


if __name__ == "__main__":
    main()
