"""Launches the runs of one command, each a process of its own: a local pool, or SLURM jobs through submitit."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.record import write_config
from agents.train import check_place
from conf import record
from conf.compose import Composed
from conf.files import write_json
from conf.schema import RunConfig
from sweeps import slurm
from sweeps.plan import Planned, check_memory, plan, summary
from sweeps.status import RunState, env_steps, inspect

POLL_S = 0.5
LINE_EVERY_S = 30.0


def launch(members: Sequence[Composed]) -> int:
    """Run all members that are not finished, and say how each ended.

    Returns:
      0 if all are done, 75 if some are interrupted (resumable), 1 if any failed.
    Raises:
      ConfigError: before anything is started.
    """
    planned = plan(members)
    for one in planned:
        check_place(one.config, one.run_dir)
    first = planned[0].config
    on_slurm = use_slurm(first)
    parallel = min(first.launcher.max_parallel or 1, len(planned))
    print(summary(planned, 1 if on_slurm else parallel), file=sys.stderr, flush=True)
    pending = [one for one in planned if one.pending]
    if not pending:
        print_outcomes(planned, {})
        return record.EXIT_DONE
    if on_slurm:
        slurm.check(first.launcher.slurm)
    else:
        check_memory(planned, parallel)

    sweep_id, parent = open_sweep(planned)
    for one in pending:
        one.run_dir.mkdir(parents=True, exist_ok=True)
        tracking = dataclasses.replace(one.config.tracking, parent_run=parent)
        write_config(one.run_dir, dataclasses.replace(one.config, tracking=tracking))
    if on_slurm:
        folder = Path(first.paths.runs) / record.SWEEPS / f"{sweep_id}-slurm"
        ended = slurm.run_all([one.run_dir for one in pending], first.launcher, folder)
    else:
        ended = run_pool(pending, parallel)
    outcomes = {one.run_dir: outcome(one, ended) for one in planned}
    print_outcomes(planned, outcomes)
    names = {state.name for state in outcomes.values()}
    if parent is not None and first.tracking.uri is not None:
        close_parent(first.tracking.uri, parent, failed="failed" in names)
    if "failed" in names:
        return record.EXIT_FAILED
    return record.EXIT_DONE if names == {"done"} else record.EXIT_INTERRUPTED


def outcome(one: Planned, ended: set[Path]) -> RunState:
    """What a run came to; one that `ended` without saying how has failed."""
    state = inspect(one.run_dir, one.config.train.env_steps)
    if one.run_dir in ended and state.name in ("new", "killed"):
        return dataclasses.replace(state, name="failed", reason="ended without a word; see its log")
    return state


def use_slurm(config: RunConfig) -> bool:
    """Whether the launcher is SLURM; `auto` means so where `sbatch` exists and a controller answers."""
    return config.launcher.name == "slurm" or (config.launcher.name == "auto" and slurm.answers())


def open_sweep(planned: Sequence[Planned]) -> tuple[str, str | None]:
    """Write the sweep's manifest; its id, and the MLflow run that its runs are children of.

    The id follows from the members, so the same command is the same sweep and keeps its parent run.
    """
    config = planned[0].config
    identities = [record.identity(one.config) for one in planned]
    digest = hashlib.sha256(" ".join(sorted(identities)).encode()).hexdigest()[:8]
    name = config.sweep.name or "multirun"
    sweep_id = f"{config.benchmark.name}-{name}-{digest}"
    path = Path(config.paths.runs) / record.SWEEPS / f"{sweep_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = record.read_json(path) or {"parents": {}}
    parents: dict[str, str] = manifest["parents"]
    uri = config.tracking.uri or ""
    if config.tracking.name == "mlflow" and uri not in parents:
        parent = open_parent(config, sweep_id)
        if parent is not None:
            parents[uri] = parent
    members = [
        {"run_dir": str(one.run_dir), "identity": identity, "varied": one.varied}
        for one, identity in zip(planned, identities, strict=True)
    ]
    manifest |= {"id": sweep_id, "command": " ".join(sys.argv), "time": time.time(), "members": members}
    write_json(path, manifest | {"parents": parents})
    return sweep_id, parents.get(uri) if config.tracking.name == "mlflow" else None


def open_parent(config: RunConfig, sweep_id: str) -> str | None:
    """The new MLflow parent run; None, with a warning, where MLflow cannot be reached."""
    from agents import tracking

    try:
        return tracking.open_parent(config, sweep_id, {"sweep": sweep_id})
    except Exception as error:
        print(f"warning: no MLflow parent run at {config.tracking.uri}: {error}", file=sys.stderr)
        return None


def close_parent(uri: str, parent: str, failed: bool) -> None:
    from agents import tracking

    try:
        tracking.close_parent(uri, parent, failed)
    except Exception as error:
        print(f"warning: MLflow parent run {parent} left open at {uri}: {error}", file=sys.stderr)


class Pool:
    """At most `parallel` runs at once, each `python -m agents.run --run-dir ...` with its output in the run's log."""

    def __init__(self, queue: Sequence[Planned], parallel: int):
        self._queue = list(queue)
        self._parallel = parallel
        self._running: dict[Path, tuple[subprocess.Popen, IO[bytes]]] = {}
        self.ended: set[Path] = set()
        self.stopping = False

    def poll(self) -> bool:
        """Collect what has ended and start what fits; whether anything is left."""
        for run_dir, (process, log) in list(self._running.items()):
            if process.poll() is not None:
                log.close()
                del self._running[run_dir]
                self.ended.add(run_dir)
        while self._queue and len(self._running) < self._parallel and not self.stopping:
            self._start(self._queue.pop(0).run_dir)
        return bool(self._running) or (bool(self._queue) and not self.stopping)

    def _start(self, run_dir: Path) -> None:
        log = (run_dir / record.LOG).open("ab")
        environment = dict(os.environ)
        if self._parallel > 1:
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / self._parallel:.3f}")
        command = [sys.executable, "-m", "agents.run", "--run-dir", str(run_dir)]
        # A session of its own: a Ctrl-C reaches runs through `stop`, once.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        self._running[run_dir] = (process, log)

    def stop(self) -> None:
        """Ask running runs to checkpoint and end; start no more."""
        self.stopping = True
        for process, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)


def run_pool(pending: Sequence[Planned], parallel: int) -> set[Path]:
    """Run all members on this machine; Ctrl-C or SIGTERM lets each checkpoint, and ends. Those that ended."""
    pool = Pool(pending, parallel)
    with on_signals(pool.stop), SweepProgress(pending) as progress:
        while pool.poll():
            progress.show()
            time.sleep(POLL_S)
        progress.show()
    return pool.ended


@contextlib.contextmanager
def on_signals(action) -> Iterator[None]:
    """Call `action` on Ctrl-C or SIGTERM inside the block."""
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda *_: action()) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class SweepProgress:
    """One bar over all runs' environment steps; a line now and then where there is no terminal."""

    def __init__(self, pending: Sequence[Planned]):
        self._pending = pending
        self._total = sum(one.config.train.env_steps for one in pending)
        console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("runs", total=self._total)
        self._last_line = time.monotonic()

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self) -> None:
        now = time.monotonic()
        if self._bar.disable and now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        steps = sum(min(env_steps(one.run_dir), one.config.train.env_steps) for one in self._pending)
        done = sum((one.run_dir / record.DONE).exists() for one in self._pending)
        text = f"{done}/{len(self._pending)} runs done"
        if self._bar.disable:
            print(f"{text}, {steps:,}/{self._total:,} steps", file=sys.stderr, flush=True)
        else:
            self._bar.update(self._task, completed=steps, description=text)


def print_outcomes(planned: Sequence[Planned], outcomes: dict[Path, RunState]) -> None:
    """The closing table: what each run came to, and where to look."""
    table = Table(title="outcomes")
    for column in ("run", "varied", "outcome", "steps", "score", "where"):
        table.add_column(column, overflow="fold")
    for one in planned:
        state = outcomes.get(one.run_dir, one.state)
        name = "skipped (done)" if state.name == "done" and one.state.name == "done" else state.name
        table.add_row(
            one.run_dir.name,
            " ".join(f"{key}={value}" for key, value in one.varied.items()),
            name,
            f"{state.env_steps:,}",
            "-" if state.score is None else f"{state.score:.3f}",
            str(one.run_dir),
        )
    Console(width=None if Console().is_terminal else 200).print(table)
    for one in planned:
        state = outcomes.get(one.run_dir, one.state)
        if state.name == "failed":
            print(f"failed: {one.run_dir}: {state.reason}")
    counts: dict[str, int] = {}
    for one in planned:
        name = outcomes.get(one.run_dir, one.state).name
        name = "skipped" if name == "done" and one.state.name == "done" else name
        counts[name] = counts.get(name, 0) + 1
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
