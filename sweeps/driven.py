"""One run in the care of a process that begins more runs as others end, as a search's worker does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conf.schema import RunConfig
from records import layout
from records.files import write_json
from records.run_dir import RunDir
from records.run_record import write_config
from sweeps.pool import Pool
from sweeps.status import RunState, inspect


@dataclass
class Driven:
    """A run that is to be executed.

    Attributes:
      config: the run's configuration.
      run_dir: the run's directory.
      begun: whether the run was begun here, or is known to go on elsewhere; one that has failed before is tried again.
    """

    config: RunConfig
    run_dir: Path
    begun: bool = False


def advance(one: Driven, pool: Pool, by: str, begin: bool = True) -> RunState:
    """Where the run stands, after giving it to the pool where nobody executes it and it has not ended.

    Args:
      one: the run.
      pool: executes runs.
      by: the search or sweep that runs are begun for; a run that it has stopped is not begun again.
      begin: whether the run may be begun now.
    Returns:
      the state: alive where the run goes on or is going to; done, failed or stopped (by the search) where it has ended;
      anything else where it is not begun yet, or has been interrupted, and may not be begun now.
    """
    if pool.has(one.run_dir):
        return RunState("running" if pool.is_running(one.run_dir) else "queued")
    state = inspect(one.run_dir, one.config.train.env_steps, {})
    if state.name == "running":  # of a process that died, or begun for another sweep
        one.begun = True
        return state
    if state.name == "done" or (state.name == "failed" and one.begun):
        return state
    if is_stopped(one.run_dir, by):
        return RunState("stopped", state.env_steps)
    if pool.stopping or not begin:  # what failed before, or somebody else stopped, has another try to come
        return RunState("interrupted", state.env_steps) if state.name in ("failed", "stopped") else state
    one.begun = True
    one.run_dir.mkdir(parents=True, exist_ok=True)
    write_config(one.run_dir, one.config)
    pool.add(one.run_dir)
    return RunState("queued", state.env_steps)


def is_stopped(run_dir: Path, by: str) -> bool:
    """Whether a search has ordered the run to end for good."""
    stop = RunDir(run_dir).stop()
    return stop is not None and stop.by == by


def stop(one: Driven, pool: Pool, by: str, reason: str) -> None:
    """Order the run to end for good; one that has not been started never is. A start may miss the order: repeat it.

    Args:
      one: the run.
      pool: what may be about to execute the run.
      by: the search or sweep that gives the order.
      reason: what the run's record says.
    """
    pool.withdraw(one.run_dir)
    if not is_stopped(one.run_dir, by):
        one.run_dir.mkdir(parents=True, exist_ok=True)
        write_json(one.run_dir / layout.STOP, {"by": by, "reason": reason})
