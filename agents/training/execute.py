"""Executes one run from its configuration: checks, lock, training, report. Returns the process's exit status."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs.spec import TaskSpec
from records import layout
from records.layout import ExitCode, RunOutcome
from records.metrics import eval_name
from records.rows import Row
from records.run_dir import Done, RunDir

if TYPE_CHECKING:
    from agents.training.lane import Lane
    from agents.training.prepare import Prepared
    from agents.training.stop import StopFlag
    from envs.video import Filmer
    from records.lock import Lock

EXITS = {
    RunOutcome.DONE: ExitCode.DONE,
    RunOutcome.FAILED: ExitCode.FAILED,
    RunOutcome.STOPPED: ExitCode.STOPPED,
    RunOutcome.INTERRUPTED: ExitCode.INTERRUPTED,
}
DIGITS = {"return": 1, "success": 2}


def execute(config: RunConfig) -> int:
    """Run, or continue, what `config` (with absolute paths) describes.

    Returns:
      A `records.layout.ExitCode`.
    Raises:
      ConfigError: the run cannot begin here.
      OSError: its directory cannot be written.
    """
    run_dir = identity.run_dir(config)
    check_place(config, run_dir)
    if (done := finished(config, run_dir)) is not None:
        print(f"finished already: {done.env_steps:,} steps, score {as_score(done.score)}: {run_dir}")
        return ExitCode.DONE

    from agents.training.prepare import prepare
    from agents.training.stop import StopFlag
    from records.lock import LockedError, lock
    from records.run_dir import write_config

    prepared = prepare(config)
    run_dir.mkdir(parents=True, exist_ok=True)
    stop = StopFlag(run_dir)
    try:
        with stop.installed(), lock(run_dir) as held:
            device = configure_jax(config)
            write_config(run_dir, config)
            (run_dir / layout.STOP).unlink(missing_ok=True)  # it ended an earlier start
            return run_locked(prepared, stop, device, held)
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED


def check_place(config: RunConfig, run_dir: Path) -> None:
    """Refuse `resume=false` where a run is already, and to continue a run whose replay was removed.

    Raises:
      ConfigError: names the directory.
    """
    if not config.resume and (run_dir / layout.METRICS).exists():
        raise ConfigError(
            f"resume=false: {run_dir} holds a run already; move it away, choose another paths.runs, "
            "or leave resume=true to continue it"
        )
    if (run_dir / layout.NO_REPLAY).exists() and finished(config, run_dir) is None:
        raise ConfigError(
            f"train.env_steps={config.train.env_steps}: {run_dir} cannot be continued beyond the budget that it has "
            "reached, because its replay was removed by sweeps.clean; move it away to begin anew"
        )


def finished(config: RunConfig, run_dir: Path) -> Done | None:
    """Return what DONE says, if the run has reached the budget that is asked for."""
    done = RunDir(run_dir).done()
    return done if done is not None and done.env_steps >= config.train.env_steps else None


def configure_jax(config: RunConfig) -> str:
    """Set what must precede JAX's import, and the persistent compilation cache.

    Returns:
      How many devices JAX computes on, and of which kind, in words.
    Raises:
      ConfigError: JAX_PLATFORMS names a platform that is not here.
    """
    if config.train.deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    import jax

    if config.paths.compilation_cache is not None:
        jax.config.update("jax_compilation_cache_dir", config.paths.compilation_cache)
        # A start compiles some sixty small programs besides the update; together they take seconds.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = (str(error) or "no such device").splitlines()[0].partition(" (set JAX_PLATFORMS")[0]
        raise ConfigError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: JAX cannot compute there ({reason}); "
            "allowed: cpu, cuda (with a GPU and jax[cuda]), or unset, which takes the best one"
        ) from None
    return f"{len(devices)} x {devices[0].device_kind}"


def run_locked(prepared: Prepared, stop: StopFlag, device: str, lock: Lock) -> int:
    """Train the run under its lock, say how that ended, and return the exit status.

    Args:
      prepared: the run.
      stop: tells it to stop.
      device: what JAX computes on, in words.
      lock: the lock of the run's directory.
    """
    from envs.video import Filmer
    from records.lock import LostLockError
    from records.run_dir import RunDirGoneError, write_status
    from tracking.follow import Follower

    config, run_dir = prepared.config, prepared.run_dir
    filmer = Filmer(run_dir, prepared.gl) if prepared.gl else None
    follower = Follower(run_dir, config.tracking.uri or "") if config.tracking.on else None
    write_status(run_dir, RunOutcome.RUNNING)
    outcome, rows, score = RunOutcome.FAILED, [], None
    divergences: dict[str, int] = {}
    try:
        lane = train(prepared, stop, filmer, device, lock)
        outcome = lane.outcome or outcome
        divergences = lane.divergences
        if lane.evaluated is not None:
            rows, score = lane.evaluated.rows, lane.evaluated.score
    except (RunDirGoneError, LostLockError) as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except Exception as error:
        report_failure(run_dir, error)
    if outcome == RunOutcome.DONE:
        if not RunDir(run_dir).sweeps():  # a sweep's report shows all of its runs
            write_report(run_dir)
        if filmer is not None:
            finish_films(filmer)
        write_status(run_dir, RunOutcome.DONE)
    elif outcome == RunOutcome.INTERRUPTED and stop.order is not None:
        outcome = RunOutcome.STOPPED
        write_status(run_dir, RunOutcome.STOPPED, by=stop.order.by, reason=stop.order.reason)
    elif outcome == RunOutcome.INTERRUPTED:
        write_status(run_dir, RunOutcome.INTERRUPTED, signal=stop.signal)
    mirrored = follower.finish(outcome == RunOutcome.INTERRUPTED) if follower else True
    if outcome == RunOutcome.DONE:
        print_summary(prepared, rows, score, divergences)
    if not mirrored:
        print(f"MLflow lacks a part; send it with: python -m tracking {run_dir}", file=sys.stderr)
    if outcome == RunOutcome.INTERRUPTED:
        print(f"interrupted; the same command continues: {run_dir}", file=sys.stderr)
    if outcome == RunOutcome.STOPPED and stop.order is not None:
        why = f"stopped by {stop.order.by} ({stop.order.reason})"
        print(f"{why}; the same command would go on: {run_dir}", file=sys.stderr)
    return EXITS[outcome]


def train(prepared: Prepared, stop: StopFlag, filmer: Filmer | None, device: str, lock: Lock) -> Lane:
    """Train the run to its budget, or until it is told to stop, and return its lane, which has been closed.

    Args:
      prepared: the run.
      stop: tells it to stop.
      filmer: takes recorded evaluation episodes.
      device: what JAX computes on, in words.
      lock: the lock of the run's directory.
    Raises:
      Exception: whatever `open_lane` and the loop raise.
    """
    from agents.training import loop
    from agents.training.opening import open_lane
    from agents.training.progress import Progress
    from agents.training.watchdog import Watchdog, end_process
    from records.run_dir import write_manifest

    config, size, hang_min = prepared.config, prepared.size, prepared.config.launcher.hang_min
    tasks = [dataclasses.asdict(spec) for spec in prepared.specs]
    transfer = prepared.transfer
    write_manifest(
        prepared.run_dir,
        config,
        tasks,
        dataclasses.asdict(size),
        device,
        lock.kind,
        prepared.assets,
        transfer and transfer.to_json(config),
    )
    print(
        f"{identity.run_name(config)} on {config.benchmark.name} ({len(tasks)} tasks), "
        f"{size.critic_params:,} critic parameters: {prepared.run_dir}",
        file=sys.stderr,
    )
    with (
        contextlib.closing(open_lane(prepared, stop, filmer, lock)) as lane,
        Progress(config.train.env_steps, lane.env_steps) as progress,
        Watchdog(None if hang_min is None else 60 * hang_min, end_process(prepared.run_dir)) as watchdog,
    ):
        if lane.evaluated is not None:
            progress.score(lane.evaluated.score)
        loop.train([lane], progress, watchdog.moved)
    return lane


def report_failure(run_dir: Path, error: Exception) -> None:
    """Say in a line and in the run's status why it failed, with a traceback where the reason alone says too little."""
    from agents.training.checkpoint import DamagedError
    from envs.worker import EnvError, WorkerDiedError
    from records.rows import LostRowsError
    from records.run_dir import write_status

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


def write_report(run_dir: Path) -> None:
    """Draw learning curves of this run, by the analysis package's own command."""
    command = [sys.executable, "-m", "analysis.report", str(run_dir), "--out", str(run_dir / layout.REPORT)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        print(f"warning: no report: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)


def finish_films(filmer: Filmer) -> None:
    """Wait for the films that are not made yet."""
    print(f"filming the rest into {filmer.folder}", file=sys.stderr)
    if not filmer.finish():
        print(f"warning: not all films were made (see {filmer.folder / 'log.txt'})", file=sys.stderr)


def print_summary(prepared: Prepared, rows: Sequence[Row], score: float | None, divergences: Mapping[str, int]) -> None:
    """Print the last evaluation, and where to look further.

    Args:
      prepared: the run.
      rows: the evaluation's.
      score: its mean normalised score.
      divergences: training episodes that ended because the simulation diverged, by task id.
    """
    config, run_dir = prepared.config, prepared.run_dir
    print(f"done: {config.train.env_steps:,} steps, mean normalised score {as_score(score)}")
    for line in result_lines(prepared.specs, rows):
        print(line)
    for task_id, count in divergences.items():
        print(f"  {task_id}: {count:,} training episodes ended because the simulation diverged")
    print(f"run:    {run_dir}")
    if (run_dir / layout.REPORT).exists():
        print(f"report: {run_dir / layout.REPORT} (learning_curves.png)")
    if config.tracking.on:
        from tracking.mirror import local_page, run_link

        uri = config.tracking.uri or ""
        print(f"mlflow: {run_link(run_dir, uri) or uri}")
        if not uri.startswith("http"):
            print(f"        mlflow ui --backend-store-uri {uri}")
            if (page := local_page(run_dir, uri)) is not None:
                print(f"        {page}")


def result_lines(specs: Sequence[TaskSpec], rows: Sequence[Row]) -> list[str]:
    """Return a line for each task, with the metric that its score is made of."""
    values = {(row.task, row.name): row.value for row in rows}
    return [
        f"  {spec.id:40s} {spec.score_metric} "
        f"{values[spec.id, eval_name(spec.score_metric)]:8.{DIGITS[spec.score_metric]}f}"
        for spec in specs
    ]


def as_score(score: float | None) -> str:
    """Return a score in words."""
    return "unknown" if score is None else f"{score:.3f}"
