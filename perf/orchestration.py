"""Times what somebody waits for around runs: planning and looking at 1,000, and what the framework adds to each.

    python perf/orchestration.py

Prints one JSON line per measurement: seconds, those of a processor core, which other work on the machine does not
lengthen, and the ratio of seconds to starting Python with the command's own imports.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conf import identity
from conf.compose import compose_many, resolve_paths
from envs import registry
from records import layout
from records.run_record import write_manifest
from records.sweep import Member, write_sweep
from sweeps.slurm.submission import Submission, give, write_submission

RUNS = 1000
REPEATS = 3
TINY = [
    "benchmark.tasks=[cartpole-balance,ball_in_cup-catch]",
    "model.width=8",
    "model.actor_width=8",
    "agent.batch_size=16",
    "train.env_steps=110",
    "train.random_steps=100",
    "eval.episodes=1",
    "eval.max_episode_steps=1",
    "env.backend=inline",
    "tracking=off",
]
OVERHEAD = """
import sys, time
from agents.training import loop
from agents.training import summary
from sweeps.command import main
summary.write_report = lambda run_dir: None
step, reached = loop.step, []
loop.step = lambda lanes: (reached.append(time.perf_counter()), step(lanes))
for seed in (0, 1):  # the second imports and compiles nothing
    reached.clear()
    begun = time.perf_counter()
    assert main([*sys.argv[1:], f"seed={seed}"]) == 0
print(reached[0] - begun)
"""


def command_seconds(folder: Path, *arguments: str) -> tuple[float, float]:
    """The least wall-clock time of a few runs of a Python command, and the least time of a processor core."""
    seconds, of_core = [], []
    for _ in range(REPEATS):
        begun, before = time.perf_counter(), core_seconds()
        subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begun)
        of_core.append(core_seconds() - before)
    return min(seconds), min(of_core)


def core_seconds() -> float:
    """The seconds of a processor core that processes which were begun here, and have ended, have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(name: str, **values: float) -> None:
    """Print one measurement as a line of JSON."""
    print(json.dumps({"name": name, **{key: round(value, 3) for key, value in values.items()}}), flush=True)


def many_runs(folder: Path) -> None:
    """A sweep whose runs have all recorded a rate."""
    members = [
        Member(folder / "runs" / "quickstart" / f"brc-s{seed}", 1000, {"seed": str(seed)}) for seed in range(RUNS)
    ]
    write_sweep(folder / "runs" / layout.SWEEPS / "many.json", members, {})
    row = {"env_steps": 250, "update_steps": 0, "name": "rate/env_steps_per_s", "task": None, "value": 2.5}
    for member in members:
        member.run_dir.mkdir(parents=True)
        (member.run_dir / layout.STATUS).write_text(json.dumps({"state": "running", "time": 1.0}))
        (member.run_dir / layout.TIMING).write_text(json.dumps(row) + "\n")


def jobs_of_many_runs(folder: Path) -> None:
    """The same sweep, each of whose runs is a job of one array; squeue lists them all."""
    run_dirs = sorted((folder / "runs" / "quickstart").glob("brc-s*"))
    path = folder / "runs" / layout.SWEEPS / "many" / "001.json"
    path.parent.mkdir()
    jobs = tuple((os.path.relpath(run_dir, path.parent),) for run_dir in run_dirs)
    write_submission(path, Submission("7", 2.0, "runs", jobs, 1, 2, 30.0))
    for index, run_dir in enumerate(run_dirs):
        give([run_dir], path, index)
    squeue = folder / "bin" / "squeue"
    squeue.parent.mkdir()
    lines = "\n".join(f"7_{index}|{'RUNNING' if index % 2 else 'PENDING'}" for index in range(RUNS))
    squeue.write_text(f"#!/bin/sh\ncat <<END\n{lines}\nEND\n")
    squeue.chmod(0o755)
    os.environ["PATH"] = f"{squeue.parent}{os.pathsep}{os.environ['PATH']}"


def earlier_runs(folder: Path) -> None:
    """Finished runs of Meta-World's 50 tasks, whose rates a plan takes into account."""
    row = {"env_steps": 250, "update_steps": 0, "name": "rate/env_steps_per_s", "task": None, "value": 2.5}
    for one in compose_many(["benchmark=metaworld", f"seed=range(0,{RUNS})"]):
        config = resolve_paths(one.config, folder)
        run_dir = identity.run_dir(config)
        run_dir.mkdir(parents=True)
        specs = registry.specs(config.benchmark.task_ids, config.env)
        write_manifest(run_dir, config, [dataclasses.asdict(spec) for spec in specs], {}, "1 x cpu", "flock", {})
        (run_dir / layout.TIMING).write_text(json.dumps(row) + "\n")


def main() -> None:
    plan, sizes = ["-m", "sweeps.plan"], "model=xs,s,m,l,xl"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, arguments, imports, prepare in (
            ("plan", [*plan, "seed=range(0,200)", sizes], "import sweeps.plan", None),
            (
                "plan_metaworld_beside_as_many",
                [*plan, "benchmark=metaworld", f"seed=range({RUNS},{RUNS + 200})", sizes],
                "import sweeps.plan",
                earlier_runs,
            ),
            ("status", ["-m", "sweeps.status"], "import sweeps.status", many_runs),
            ("status_of_jobs", ["-m", "sweeps.status"], "import sweeps.status", jobs_of_many_runs),
        ):
            if prepare is not None:
                prepare(folder)
            seconds, of_core = command_seconds(folder, *arguments)
            bare, _ = command_seconds(folder, "-c", imports)
            show(f"{what}_{RUNS}_runs", seconds=seconds, core_s=of_core, imports_s=bare, ratio=seconds / bare)
        added = subprocess.run(
            [sys.executable, "-c", OVERHEAD, *TINY], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
        )
        show("overhead_of_a_run", seconds=float(added.stdout.split()[-1]))


if __name__ == "__main__":
    main()
