"""Executes one run from its configuration: lock, restore or start, train, report. Returns the process's exit status."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import files, layout
from records.layout import ExitCode, RunOutcome
from records.metrics import eval_name

STOP_FILE_S = 1.0
EXITS = {
    RunOutcome.DONE: ExitCode.DONE,
    RunOutcome.FAILED: ExitCode.FAILED,
    RunOutcome.STOPPED: ExitCode.STOPPED,
    RunOutcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


class StopFlag:
    """Set by SIGTERM, SIGUSR2, Ctrl-C or the run's stop file; the loop looks at it where it is safe to stop.

    A second Ctrl-C is at once. The file is looked for once a second.
    """

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / layout.STOP
        self._next_look = 0.0
        self.signal: str | None = None
        self.order: dict | None = None

    def __call__(self) -> bool:
        if self.signal is None and self.order is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + STOP_FILE_S
            self.order = files.read_json(self._file)
        return self.signal is not None or self.order is not None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals inside the block."""
        signals = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
        previous = {number: signal.signal(number, self._set) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _set(self, number: int, _: object) -> None:
        if self.signal is None:
            print(f"\n{signal.Signals(number).name}: checkpointing, then stopping", file=sys.stderr, flush=True)
        self.signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def finished(config: RunConfig, run_dir: Path) -> dict | None:
    """What DONE says, if the run has reached the budget that is asked for."""
    done = files.read_whole(run_dir / layout.DONE, "env_steps", "score")
    return done if done is not None and done["env_steps"] >= config.train.env_steps else None


def check_place(config: RunConfig, run_dir: Path) -> None:
    """`resume=false` begins only where nothing is.

    Raises:
      ConfigError: something is there.
    """
    if not config.resume and (run_dir / layout.METRICS).exists():
        raise ConfigError(
            f"resume=false: {run_dir} holds a run already; move it away, choose another paths.runs, "
            "or leave resume=true to continue it"
        )


def check_backend(config: RunConfig) -> None:
    """Refuses EnvPool where it is missing or right for none of the tasks.

    Raises:
      ConfigError: says which, and what to do.
    """
    from envs import registry
    from envs.envpool import for_training

    for_training(registry.specs(config.benchmark.task_ids, config.env), config.env.backend)


def execute(config: RunConfig) -> int:
    """Run, or continue, what `config` (with absolute paths) describes.

    Returns:
      0 done, 1 failed, 3 stopped by a stop file, 75 interrupted and resumable (`records.layout.EXIT_*`).
    Raises:
      ConfigError: the run cannot begin here.
    """
    from agents.memory import available_bytes
    from agents.sizes import check_memory, run_size
    from envs import registry

    run_dir = identity.run_dir(config)
    check_place(config, run_dir)
    if (done := finished(config, run_dir)) is not None:
        print(f"finished already: {done['env_steps']:,} steps, score {as_score(done['score'])}: {run_dir}")
        return ExitCode.DONE
    check_backend(config)
    check_memory([run_size(config, registry.specs(config.benchmark.task_ids, config.env))], available_bytes())
    gl = check_video(config)
    run_dir.mkdir(parents=True, exist_ok=True)

    from records.lock import LockedError, lock
    from records.run_dir import write_config

    stop = StopFlag(run_dir)
    try:
        with stop.installed(), lock(run_dir):
            write_config(run_dir, config)
            (run_dir / layout.STOP).unlink(missing_ok=True)  # it ended an earlier start
            return _execute(config, run_dir, stop, gl)
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED


def check_video(config: RunConfig) -> str | None:
    """The OpenGL back end that films will use; None where none are asked for.

    Raises:
      ConfigError: nothing here renders.
    """
    if not config.eval.video:
        return None
    from envs import registry
    from envs.video import usable_gl

    return usable_gl(registry.specs(config.benchmark.task_ids, config.env))


def _execute(config: RunConfig, run_dir: Path, stop: StopFlag, gl: str | None) -> int:
    from envs.video import Filmer
    from tracking.mirror import Follower

    filmer = Filmer(run_dir, gl) if gl else None
    follower = Follower(run_dir, config.tracking.uri or "") if config.tracking.on else None
    configure_jax(config)
    from records.run_dir import RunDirGoneError, write_status

    write_status(run_dir, RunOutcome.RUNNING)
    try:
        outcome = _train(config, run_dir, stop, filmer)
    except RunDirGoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except Exception as error:
        report_failure(run_dir, error)
        outcome = RunOutcome.FAILED
    if outcome == RunOutcome.DONE:
        write_report(run_dir)
        if filmer is not None:
            print(f"filming the rest into {filmer.folder}", file=sys.stderr)
            if not filmer.finish():
                print(f"warning: not all films were made (see {filmer.folder / 'log.txt'})", file=sys.stderr)
        write_status(run_dir, RunOutcome.DONE)
    elif outcome == RunOutcome.INTERRUPTED and stop.order is not None:
        outcome = RunOutcome.STOPPED
        write_status(run_dir, RunOutcome.STOPPED, **stop.order)
    elif outcome == RunOutcome.INTERRUPTED:
        write_status(run_dir, RunOutcome.INTERRUPTED, signal=stop.signal)
    mirrored = follower.finish(outcome == RunOutcome.INTERRUPTED) if follower else True
    if outcome == RunOutcome.DONE:
        print_summary(config, run_dir)
    if not mirrored:
        print(f"MLflow lacks a part; send it with: python -m tracking {run_dir}", file=sys.stderr)
    if outcome == RunOutcome.INTERRUPTED:
        print(f"interrupted; the same command continues: {run_dir}", file=sys.stderr)
    if outcome == RunOutcome.STOPPED:
        print(f"stopped ({stop.order}); the same command would go on: {run_dir}", file=sys.stderr)
    return EXITS[outcome]


def report_failure(run_dir: Path, error: Exception) -> None:
    """Say in a line and in the run's status why it failed, with a traceback where the reason alone says too little."""
    from agents.training.checkpoint import DamagedError
    from envs.worker import EnvError, WorkerDiedError
    from records.rows import LostRowsError
    from records.run_dir import write_status

    same_again = isinstance(error, EnvError | DamagedError | LostRowsError | FloatingPointError)
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


def configure_jax(config: RunConfig) -> None:
    """Settings that must precede JAX's import, and the persistent compilation cache."""
    if config.train.deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    import jax

    if config.paths.compilation_cache is not None:
        jax.config.update("jax_compilation_cache_dir", config.paths.compilation_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def device_in_words() -> str:
    """How many accelerators JAX sees, and of which kind."""
    import jax

    return f"{len(jax.devices())} x {jax.devices()[0].device_kind}"


def _train(config: RunConfig, run_dir: Path, stop: StopFlag, filmer) -> RunOutcome:
    from agents.sizes import run_size
    from agents.training.checkpoint import CheckpointStore
    from agents.training.loop import Training
    from agents.training.progress import Progress
    from envs import registry
    from records.run_dir import NO_ROWS, Coverage, RunRecord, check_begins_nothing_anew, write_manifest

    specs = registry.specs(config.benchmark.task_ids, config.env)
    size = run_size(config, specs)
    tasks = [dataclasses.asdict(spec) for spec in specs]
    write_manifest(run_dir, config, tasks, dataclasses.asdict(size), device_in_words())
    print(
        f"{identity.run_name(config)} on {config.benchmark.name} ({len(specs)} tasks), "
        f"{size.critic_params:,} critic parameters: {run_dir}",
        file=sys.stderr,
    )
    store = CheckpointStore(run_dir / layout.CHECKPOINTS)
    checkpoint, problems = store.load()
    for problem in problems:
        print(f"warning: {problem}; using the one before it", file=sys.stderr)
    if checkpoint is None:
        check_begins_nothing_anew(run_dir)
    covered = NO_ROWS if checkpoint is None else Coverage(**checkpoint.meta["covered"])
    with (
        contextlib.closing(RunRecord(run_dir, covered)) as run_record,
        contextlib.closing(Training(config, specs, run_record, store, filmer)) as training,
    ):
        if checkpoint is not None:
            training.restore(checkpoint)
            print(f"continuing from {training.env_steps:,} steps", file=sys.stderr)
        with Progress(config.train.env_steps, training.env_steps) as progress:
            progress.score(training.score)
            return training.run(stop, progress)


def write_report(run_dir: Path) -> None:
    """Learning curves of this run, by the analysis package's own command."""
    command = [sys.executable, "-m", "analysis.report", str(run_dir), "--out", str(run_dir / layout.REPORT)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        print(f"warning: no report: {result.stderr.strip().splitlines()[-1:]}", file=sys.stderr)


def print_summary(config: RunConfig, run_dir: Path) -> None:
    done = files.read_json(run_dir / layout.DONE) or {}
    print(f"done: {done['env_steps']:,} steps, mean normalised score {as_score(done['score'])}")
    manifest = files.read_json(run_dir / layout.MANIFEST) or {}
    metrics = {task["id"]: task["score_metric"] for task in manifest["tasks"]}
    digits = {"return": 1, "success": 2}
    for row in done["evaluation"]:
        if row["task"] is not None and row["name"] == eval_name(metrics[row["task"]]):
            print(f"  {row['task']:40s} {metrics[row['task']]} {row['value']:8.{digits[metrics[row['task']]]}f}")
    print(f"run:    {run_dir}")
    print(f"report: {run_dir / layout.REPORT} (learning_curves.png)")
    if config.tracking.on:
        from tracking.mirror import run_link

        uri = config.tracking.uri or ""
        print(f"mlflow: {run_link(run_dir, uri) or uri}")
        if not uri.startswith("http"):
            print(f"        mlflow ui --backend-store-uri {uri}")


def as_score(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.3f}"
