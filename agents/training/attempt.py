"""One start of a run: what is said and written before, and after, its lane is trained."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from pathlib import Path

from agents.training import summary
from agents.training.checkpoint import DamagedError
from agents.training.lane import Lane
from agents.training.opening import open_lane
from agents.training.prepare import Prepared
from agents.training.stop import StopFlag
from agents.training.team import Team
from conf import identity
from conf.typed import ConfigError
from envs.video import Filmer
from envs.worker import EnvError, WorkerDiedError
from records import layout
from records.layout import ExitCode, RunOutcome
from records.lock import Lock, LostLockError
from records.rows import LostRowsError
from records.run_dir import RunDir
from records.run_record import RunDirGoneError, write_config, write_manifest, write_status
from tracking.follow import Follower

EXITS = {
    RunOutcome.DONE: ExitCode.DONE,
    RunOutcome.FAILED: ExitCode.FAILED,
    RunOutcome.STOPPED: ExitCode.STOPPED,
    RunOutcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


class Attempt:
    """One start of a run, under the lock of its directory.

    Args:
      prepared: the run.
      stop: tells the run to stop.
      device: what JAX computes on, in words.
      lock: the lock of the run's directory, which the end of the attempt gives back.

    Attributes:
      prepared: the run.
      over: whether the attempt has ended.
      exit: the exit status of the run alone, once the attempt has ended.
    """

    def __init__(self, prepared: Prepared, stop: StopFlag, device: str, lock: Lock):
        self.prepared = prepared
        self.over, self.exit = False, ExitCode.FAILED
        self._stop, self._device, self._lock = stop, device, lock
        self._lane: Lane | None = None
        config, run_dir = prepared.config, prepared.run_dir
        write_config(run_dir, config)
        (run_dir / layout.STOP).unlink(missing_ok=True)  # it ended an earlier start
        self._filmer = Filmer(run_dir, prepared.gl) if prepared.gl else None
        self._follower = Follower(run_dir, config.tracking.uri or "") if config.tracking.on else None
        write_status(run_dir, RunOutcome.RUNNING)

    def open(self, team: Team) -> Lane:
        """Write down how the run starts, and open its lane.

        Raises:
          Exception: whatever `open_lane` raises.
        """
        prepared, config, transfer = self.prepared, self.prepared.config, self.prepared.transfer
        tasks = [dataclasses.asdict(spec) for spec in prepared.specs]
        write_manifest(
            prepared.run_dir,
            config,
            tasks,
            dataclasses.asdict(prepared.size),
            self._device,
            self._lock.kind,
            prepared.assets,
            transfer and transfer.to_json(config),
        )
        print(
            f"{identity.run_name(config)} on {config.benchmark.name} ({len(tasks)} tasks), "
            f"{prepared.size.critic_params:,} critic parameters: {prepared.run_dir}",
            file=sys.stderr,
        )
        self._lane = open_lane(prepared, team, self._stop, self._filmer, self._lock)
        return self._lane

    def close(self) -> None:
        """Close the lane, where that is open."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.close()

    def end(self, error: Exception | None = None) -> None:
        """Say how the run has ended, in words and in its directory, and give the lock back.

        Args:
          error: what ended the run; None where the run came to its own end.
        """
        lane, self.over = self._lane, True
        try:
            self.close()
        except Exception as late:
            error = error or late
        if isinstance(error, RunDirGoneError | LostLockError):
            print(f"error: {error}", file=sys.stderr)
        else:
            outcome = self._said(lane, error)
            mirrored = self._follower.finish(outcome == RunOutcome.INTERRUPTED) if self._follower else True
            self._summarise(outcome, lane, mirrored)
            self.exit = EXITS[outcome]
        self._lock.release()

    def _said(self, lane: Lane | None, error: Exception | None) -> RunOutcome:
        """What the run has come to, after the run's directory says so."""
        run_dir, order = self.prepared.run_dir, self._stop.order
        if error is not None or lane is None or lane.outcome is None:
            report_failure(run_dir, error or RuntimeError("the run has ended without a word"))
            return RunOutcome.FAILED
        if lane.outcome == RunOutcome.DONE:
            if self.prepared.config.report and not RunDir(run_dir).sweeps():  # a sweep's shows all of its runs
                summary.write_report(run_dir)
            if self._filmer is not None:
                summary.finish_films(self._filmer)
            write_status(run_dir, RunOutcome.DONE)
        elif order is not None:
            write_status(run_dir, RunOutcome.STOPPED, by=order.by, reason=order.reason)
            return RunOutcome.STOPPED
        else:
            write_status(run_dir, RunOutcome.INTERRUPTED, signal=self._stop.signal)
        return lane.outcome

    def _summarise(self, outcome: RunOutcome, lane: Lane | None, mirrored: bool) -> None:
        """Say in words what the run has come to, and where to look further."""
        run_dir, order = self.prepared.run_dir, self._stop.order
        if outcome == RunOutcome.DONE and lane is not None and lane.evaluated is not None:
            _, score, rows = lane.evaluated
            summary.print_summary(self.prepared, rows, score, lane.divergences, lane.time_shares)
        if not mirrored:
            print(f"MLflow lacks a part; send it with: python -m tracking {run_dir}", file=sys.stderr)
        if outcome == RunOutcome.INTERRUPTED:
            print(f"interrupted; the same command continues: {run_dir}", file=sys.stderr)
        if outcome == RunOutcome.STOPPED and order is not None:
            why = f"stopped by {order.by} ({order.reason})"
            print(f"{why}; the same command would go on: {run_dir}", file=sys.stderr)


def report_failure(run_dir: Path, error: Exception) -> None:
    """Say in a line and in the run's status why it failed, with a traceback where the reason alone says too little."""
    same_again = isinstance(error, EnvError | DamagedError | LostRowsError | FloatingPointError | ConfigError)
    if isinstance(error, OSError) and error.filename is not None:
        reason = f"{error.filename}: {error.strerror}"
    else:
        reason = str(error) or type(error).__name__
        if not same_again:
            traceback.print_exception(error)
    print(f"error: {reason.splitlines()[0]} (more in {run_dir / layout.STATUS})", file=sys.stderr)
    # The same numbers would come again; another try may help against anything else.
    retry = not same_again or isinstance(error, WorkerDiedError)
    details = "".join(traceback.format_exception(error))
    write_status(run_dir, RunOutcome.FAILED, reason=reason, traceback=details, retry=retry)
