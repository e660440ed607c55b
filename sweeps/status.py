"""What run directories say of their runs; asks no scheduler and imports nothing heavy."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from conf import record


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
      name: done (has reached the budget), running (its lock is held), interrupted, failed, killed (says running, but
        nobody holds its lock), or new.
      env_steps: steps so far, as recorded.
      score: of the last budget that was reached.
      reason: why it failed.
    """

    name: Literal["done", "running", "interrupted", "failed", "killed", "new"]
    env_steps: int = 0
    score: float | None = None
    reason: str = ""


def inspect(run_dir: Path, budget: int) -> RunState:
    """The state of a run whose budget is `budget` environment steps."""
    done = record.read_json(run_dir / record.DONE)
    if done is not None and done["env_steps"] >= budget:
        return RunState("done", done["env_steps"], done["score"])
    status = record.read_json(run_dir / record.STATUS)
    if status is None:
        return RunState("new")
    steps = env_steps(run_dir)
    if locked(run_dir):
        return RunState("running", steps)
    if status["state"] == "failed":
        return RunState("failed", steps, reason=status.get("reason", "").splitlines()[0])
    return RunState("interrupted" if status["state"] in ("interrupted", "done") else "killed", steps)


def env_steps(run_dir: Path) -> int:
    """The newest recorded step."""
    try:
        with (run_dir / record.TIMING).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["env_steps"])
        except (ValueError, TypeError, KeyError):
            continue
    return 0


def locked(run_dir: Path) -> bool:
    """Whether a process writes this run."""
    try:
        with (run_dir / record.LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
