"""The budget of a sweep in GPU-hours, `launcher.max_gpu_hours`: what its runs have used, and what they would use.

A run uses the time that its training loop has recorded, times its GPUs; runs that share a GPU have a part of it each.
Processor cores count for nothing. What a run does before its loop, and what a kill undoes, is not recorded.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conf.schema import LauncherConfig, RunConfig
from conf.typed import ConfigError
from records import layout
from records.decode import DamagedRecordError, read_object
from records.layout import RunOutcome
from records.lock import is_held
from records.run_dir import RunDir, warn_once
from records.run_record import write_status
from records.sweep import read_sweep
from sweeps.gpus import machine_gpus
from sweeps.plan.plan import Plan, Planned

HOUR_S = 3600
GPU_FLAGS = ("gpus", "gpus_per_node", "gpus_per_task", "gres")
"""The flags of sbatch that ask for GPUs."""


def check_hours(plan: Plan) -> None:
    """Refuse a sweep whose runs have used, and would use, more GPU-hours than its budget.

    A search or a deciding sweep is not refused: what it stops early or never begins is not known before.

    Raises:
      ConfigError: names both numbers.
    """
    config = plan.runs[0].config
    allowed = config.launcher.max_gpu_hours
    if allowed is None or config.sweep.search.space or config.sweep.decide.max_seeds is not None:
        return
    if not any(gpus_of(one.config.launcher, plan.common.on_slurm) for one in plan.runs):
        warn_once(f"launcher.max_gpu_hours={allowed:g}: counts GPUs alone, and these runs would have none")
    used = used_hours(one.run_dir for one in plan.runs)
    needed = sum(planned_hours(one, plan.common.on_slurm) for one in plan.pending)
    if plan.pending and used + needed > allowed:
        before = f", besides {in_words(used)} that its runs have used" if used else ""
        raise ConfigError(
            f"launcher.max_gpu_hours={allowed:g}: the plan needs roughly {in_words(needed)} GPU-hours{before}; "
            "raise the budget, or plan less"
        )


def planned_hours(one: Planned, on_slurm: bool) -> float:
    """The GPU-hours that a run still needs, roughly."""
    return one.seconds_left * gpus_of(one.config.launcher, on_slurm) / HOUR_S


def gpus_of(launcher: LauncherConfig, on_slurm: bool) -> float:
    """The GPUs that one run has: its part of one where several share it, 0 where there are none."""
    if not on_slurm:
        return 1 / runs_on_gpu(launcher) if machine_gpus() else 0.0
    asked = max((count_of(name, launcher.slurm.get(name)) for name in GPU_FLAGS), default=0)
    return asked / runs_on_gpu(launcher)


def runs_on_gpu(launcher: LauncherConfig) -> int:
    """How many runs share a GPU."""
    return launcher.runs_per_gpu * launcher.seeds_together


def count_of(name: str, value: Any) -> int:
    """The number of GPUs that one flag of sbatch asks for, such as 2, a100:2 or, of gres, gpu:a100:2."""
    if value is None or value is False:
        return 0
    texts = [str(one) for one in (value if isinstance(value, list | tuple) else str(value).split(","))]
    counts = [re.search(r"(?:^|:)(\d+)$", text) for text in texts if name != "gres" or text.startswith("gpu")]
    return sum(int(found[1]) if found else 1 for found in counts)


def used_hours(run_dirs: Iterable[Path]) -> float:
    """The GPU-hours that runs have recorded."""
    return sum(used_by(run_dir) for run_dir in run_dirs)


def used_by(run_dir: Path) -> float:
    """The GPU-hours that a run has recorded."""
    record = RunDir(run_dir)
    seconds = record.seconds()
    manifest = record.manifest() if seconds else None
    if manifest is None or not manifest.starts:
        return 0.0
    count, _, kind = manifest.starts[-1].device.partition(" x ")
    if not count.isdecimal() or kind == "cpu":
        return 0.0
    return seconds * int(count) / recorded_on_gpu(run_dir) / HOUR_S


def recorded_on_gpu(run_dir: Path) -> int:
    """How many runs shared the run's GPU, as its configuration says."""
    try:
        launcher = (read_object(run_dir / layout.CONFIG) or {}).get("launcher")
    except DamagedRecordError:
        return 1
    found = [launcher.get(key) for key in ("runs_per_gpu", "seeds_together")] if isinstance(launcher, dict) else []
    return math.prod(one for one in found if isinstance(one, int) and one > 0)


def spent(record: Path, allowed: float | None) -> str | None:
    """Why no further run of a sweep or search may begin; None where one may.

    Args:
      record: the sweep's record.
      allowed: the budget in GPU-hours; None: there is none.
    """
    if allowed is None:
        return None
    used = used_hours(member.run_dir for member in read_sweep(record).members)
    if used < allowed:
        return None
    shown = in_words(used)
    return f"launcher.max_gpu_hours={allowed:g}: {shown} GPU-hours are used; with a larger one the command goes on"


def in_words(hours: float) -> str:
    """Hours with two decimals, or with the first digits of so few that two decimals would show none."""
    return f"{hours:,.2f}" if hours >= 0.1 or not hours else f"{hours:.2g}"


def refuse_spent(run_dir: Path, config: RunConfig) -> bool:
    """Whether a run must not begin because its sweep, the one that it came to last, has used its budget; say so then.

    A run that has reached its steps, or that another process executes, has nothing to begin.
    """
    record = RunDir(run_dir)
    done, sweeps = record.done(), record.sweeps()
    if not sweeps or is_held(run_dir) or (done is not None and done.env_steps >= config.train.env_steps):
        return False
    path = run_dir.parents[1] / layout.SWEEPS / f"{sweeps[-1]}.json"
    reason = spent(path, config.launcher.max_gpu_hours) if path.exists() else None
    if reason is not None:
        print(f"not begun: {reason}", file=sys.stderr, flush=True)
        write_status(run_dir, RunOutcome.INTERRUPTED, reason=reason)
    return reason is not None
