"""What each of several runs at once has of a machine's processor and memory, and whether its environments keep up."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

from conf import identity
from conf.schema import LauncherConfig, RunConfig
from records import layout
from records.metrics import ENVIRONMENT_S
from records.rows import Row, last_rows
from records.run_dir import TIMING_TAIL, RunDir
from sweeps.estimate import ENV_STEP_S, int_or, on_gpu, update_seconds
from sweeps.plan.bandwidth import machine_bandwidth
from sweeps.plan.place import local_parallel
from sweeps.plan.plan import Plan, Planned, by_launcher, teams_of

GATHER_PASSES = 3
"""How often the bytes of an update's batch go through memory: read from replay, written, read by the learner."""
LEARNER_PASSES = 2
"""On a processor, each of the learner's arrays is read and written by an update."""


@dataclass(frozen=True)
class Share:
    """Several runs at once on one machine, or in one SLURM job.

    Attributes:
      launcher: how the runs are launched.
      runs: how many there are at once.
      on_slurm: whether they share a SLURM job, and not this machine.
      cores: processor cores of the machine or the job.
      gpu: whether the learner has a GPU.
      run: the run that asks most of the memory.
    """

    launcher: LauncherConfig
    runs: int
    on_slurm: bool
    cores: int
    gpu: bool
    run: Planned

    @property
    def cores_each(self) -> float:
        return self.cores / self.runs

    @property
    def knob(self) -> str:
        """The key that says how many runs there are at once."""
        packed = self.on_slurm or self.launcher.max_parallel is None
        return "launcher.runs_per_gpu" if packed else "launcher.max_parallel"


def shares(plan: Plan) -> list[Share]:
    """Return what the pending runs share, for each launcher that has several of them at once."""
    found = []
    for launcher, runs in by_launcher(plan.pending):
        on_slurm = plan.common.on_slurm
        processes = len(teams_of(runs))
        at_once = min(launcher.runs_per_gpu, processes) if on_slurm else local_parallel(launcher, processes)
        cores = int_or(launcher.slurm.get("cpus_per_task"), 1) if on_slurm else len(os.sched_getaffinity(0))
        if at_once > 1:
            gpu = on_gpu(launcher, on_slurm)
            found.append(Share(launcher, at_once, on_slurm, cores, gpu, max(runs, key=lambda one: traffic(one, gpu))))
    return found


def said(share: Share) -> str:
    """Return, in words, what each of the runs has of processor and memory."""
    place = "a SLURM job" if share.on_slurm else "this machine"
    cores = f"{share.runs} runs at once in {place}: each has {share.cores_each:.3g} of {share.cores} processor cores"
    needs = f"a run moves about {gigabytes(traffic(share.run, share.gpu))} through memory"
    if share.on_slurm:
        return f"{cores}; {needs} (how fast the nodes' memory is, is not known here)"
    total = machine_bandwidth()
    return (
        f"{cores} and {gigabytes(total / share.runs)} of {gigabytes(total)} of memory bandwidth (measured: all cores, "
        f"at most 8, copy arrays at once); {needs}"
    )


def warn_of_sharing(plan: Plan) -> None:
    """Print a warning on standard error for each thing that will make runs wait which share a machine."""
    for share in shares(plan):
        for sentence in warnings(share):
            print(f"warning: {sentence}", file=sys.stderr)


def warnings(share: Share) -> list[str]:
    """Return a sentence for each thing that will make the runs wait, with what to change."""
    found = []
    config = share.run.config
    tasks = config.launcher.seeds_together * len(config.benchmark.task_ids)
    environments_s = tasks * environment_seconds(config)
    updates_s = config.agent.updates_per_step * update_seconds(config, share.run.size, share.gpu, share.cores_each)
    needed = min(tasks, environments_s / updates_s)
    fewer = max(1, math.floor(share.cores / max(needed, 1.0)))
    if share.gpu and share.cores_each < needed and share.cores_each < tasks:
        cores = math.ceil(needed * share.runs)
        more = f"launcher.slurm.cpus_per_task={cores} or " if share.on_slurm else ""
        found.append(
            f"environments will be the limit: a run's {tasks} tasks keep about {needed:.2g} processor cores busy while "
            f"the GPU updates, and each run has {share.cores_each:.2g}; set {more}{share.knob}={fewer}"
        )
    elif share.cores_each < 1:
        found.append(
            f"environments will be the limit: {share.runs} runs at once share {share.cores} processor "
            f"core{'s' if share.cores > 1 else ''}, so they take turns; set {share.knob}={share.cores}"
        )
    moved = share.runs * traffic(share.run, share.gpu)
    if not share.on_slurm and moved > (total := machine_bandwidth()):
        found.append(
            f"memory bandwidth will be the limit: {share.runs} runs at once move about {gigabytes(moved)}, and this "
            f"machine copies {gigabytes(total)}; set {share.knob}={max(1, math.floor(total / moved * share.runs))}"
        )
    return found


def traffic(one: Planned, gpu: bool) -> float:
    """Return roughly the bytes a second that a run moves through memory: batches, and without a GPU the learner too."""
    config, size = one.config, one.size
    kept = min(config.train.replay_capacity, config.train.env_steps) + 1
    transition = size.replay_bytes / (kept * len(config.benchmark.task_ids))
    update = GATHER_PASSES * config.batch_size * transition + (0 if gpu else LEARNER_PASSES * size.learner_bytes)
    return config.agent.updates_per_step * update * config.train.env_steps / one.estimate.seconds


def environment_seconds(config: RunConfig) -> float:
    """Return the seconds that a step of one task keeps a core busy, as an earlier run recorded; a guess without one."""
    for path in sorted(RunDir(identity.run_dir(config)).path.parent.glob(f"*/{layout.TIMING}")):
        record = RunDir(path.parent)
        manifest, known = record.manifest(), record.config()
        if manifest is None or not manifest.starts or known is None:
            continue
        if known.benchmark.task_ids != config.benchmark.task_ids:
            continue
        rows = last_rows(Row, path, TIMING_TAIL)
        busy = [row for row in rows if row.name == ENVIRONMENT_S]
        workers = min(len(known.benchmark.task_ids), known.env.workers or manifest.starts[-1].cpus or 1)
        if busy and busy[-1].env_steps and busy[-1].value > 0:
            return busy[-1].value * workers / busy[-1].env_steps / len(known.benchmark.task_ids)
    return ENV_STEP_S


def gigabytes(bytes_per_s: float) -> str:
    """Write a rate in gigabytes a second."""
    return f"{bytes_per_s / 1e9:.2g} GB/s"
