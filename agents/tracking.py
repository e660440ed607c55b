"""Mirrors a run directory to MLflow, from a process of its own beside the run.

    python -m agents.tracking RUN_DIR     # send what MLflow lacks, and stop

The process follows the files, so MLflow's imports, a slow server or none cost the run nothing, and whatever ends the
run, what is on disk still gets there. Only rows that a checkpoint covers are sent, from where the last send ended
(`tracking.json`), each with a time that follows from its step: nothing arrives twice.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from conf import record
from conf.files import write_json
from conf.schema import RunConfig

POLL_S = 5.0
DEFAULT_SAMPLING_INTERVAL_S = 10
FINISH_TRIES = 3
BATCH = 1000  # MLflow's limit for one call
LOG = "tracking.log"
STATES = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}

# A server that is down answers in seconds instead of minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


class Follower:
    """The mirroring process of a running run; it ends by itself when the run's process does."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        log = (run_dir / LOG).open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agents.tracking", str(run_dir), "--follow"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is for the run
        )
        log.close()

    def finish(self, timeout_s: float) -> bool:
        """Let it send the rest; whether MLflow has everything."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return self._process.wait(timeout_s) == 0
        except subprocess.TimeoutExpired:
            return False


class Mirror:
    """One run directory and the MLflow run that mirrors it."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.config = record.config_from_json((run_dir / record.CONFIG).read_text())
        assert self.config.tracking.uri is not None
        self.uri = self.config.tracking.uri
        self.client = client(self.uri)
        self._state = self._open()
        self._names: dict[str, str] = {}

    @property
    def run_id(self) -> str:
        return self._state["run_id"]

    def _open(self) -> dict[str, Any]:
        """The MLflow run that this directory has at this URI, made on first use."""
        states = record.read_json(self.run_dir / record.TRACKING) or {}
        if self.uri not in states:
            experiment_id = experiment(self.client, self.uri, self.config.benchmark.name)
            tags = {"run_dir": str(self.run_dir), "identity": record.identity(self.config)}
            if self.config.tracking.parent_run:
                tags["mlflow.parentRunId"] = self.config.tracking.parent_run
            name = record.run_name(self.config)
            run = self.client.create_run(experiment_id, tags=tags, run_name=name)
            states[self.uri] = {
                "run_id": run.info.run_id,
                "created_ms": run.info.start_time,
                "metrics": 0,
                "timing": 0,
                "described": 0,
                "films": [],
            }
            write_json(self.run_dir / record.TRACKING, states)
        return states[self.uri]

    def _save(self) -> None:
        states = record.read_json(self.run_dir / record.TRACKING) or {}
        write_json(self.run_dir / record.TRACKING, states | {self.uri: self._state})

    def describe(self) -> None:
        """Parameters and tags; again for each start of the run."""
        from mlflow.entities import Param, RunTag

        manifest = record.read_json(self.run_dir / record.MANIFEST)
        if manifest is None or self._state["described"] == len(manifest["starts"]):
            return
        start = manifest["starts"][-1]
        params = record.flat(record.identity_of(self.config) | {"sizes": manifest["sizes"]})
        tags = {key: start[key] for key in ("git_commit", "host", "device", "command", "python")}
        tags |= record.flat({"version": start["versions"], "slurm": start["slurm"]})
        tags |= {"budget_env_steps": self.config.train.env_steps, "starts": len(manifest["starts"])}
        if tags["git_commit"]:
            tags["mlflow.source.git.commit"] = tags["git_commit"]
        self.client.log_batch(
            self.run_id,
            params=[Param(key, as_text(value)) for key, value in params.items()],
            tags=[RunTag(key, as_text(value)) for key, value in tags.items()],
        )
        self.client.update_run(self.run_id, status="RUNNING")
        self._state["described"] = len(manifest["starts"])
        self._save()

    def send_rows(self) -> None:
        """Send all durable rows that MLflow lacks."""
        from mlflow.entities import Metric

        durable = record.read_json(self.run_dir / record.DURABLE) or {}
        for name, file in (("metrics", record.METRICS), ("timing", record.TIMING)):
            for rows, position in batches(self.run_dir / file, self._state[name], durable.get(name, 0)):
                metrics = [
                    Metric(
                        self._key(row["name"], row["task"]),
                        row["value"],
                        self._state["created_ms"] + row["env_steps"],
                        row["env_steps"],
                    )
                    for row in rows
                ]
                self.client.log_batch(self.run_id, metrics=metrics)
                self._state[name] = position
                self._save()

    def send_films(self) -> None:
        """Send all finished films that MLflow lacks."""
        for path in sorted(self.run_dir.glob(f"{record.VIDEOS}/*/[!.]*.mp4")):
            name = str(path.relative_to(self.run_dir))
            if name not in self._state["films"]:
                self.client.log_artifact(self.run_id, str(path), str(Path(name).parent))
                self._state["films"].append(name)
                self._save()

    def _key(self, name: str, task: str | None) -> str:
        """`eval/return/<task>`, with the task's short name where that is unambiguous."""
        if task is None:
            return name
        if not self._names:
            self._names = short_names(list(self.config.benchmark.task_ids))
        return f"{name}/{self._names[task]}"

    def close(self) -> None:
        """Final rows, figures and state."""
        self.describe()
        self.send_rows()
        self.send_films()
        status = record.read_json(self.run_dir / record.STATUS) or {}
        done = record.read_json(self.run_dir / record.DONE)
        if done is not None and done["score"] is not None:
            self.client.set_tag(self.run_id, "final_score", f"{done['score']:.4f}")
        report = self.run_dir / record.REPORT
        if report.is_dir():
            self.client.log_artifacts(self.run_id, str(report), "report")
        # A state that still says running belongs to a run that was killed; it may resume.
        self.client.set_terminated(self.run_id, STATES.get(status.get("state", ""), "KILLED"))


def client(uri: str) -> Any:
    """An MLflow client; a new SQLite database gets its tables under a lock, because two at once would break it."""
    from mlflow.tracking import MlflowClient

    with database_lock(uri):
        connected = MlflowClient(tracking_uri=uri)
        connected.search_experiments(max_results=1)
    return connected


def experiment(connected: Any, uri: str, name: str) -> str:
    """The experiment's id; made where it does not exist."""
    with database_lock(uri):
        found = connected.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        path = sqlite_path(uri)
        location = None if path is None else (path.parent / "mlartifacts" / name).as_uri()
        return connected.create_experiment(name, artifact_location=location)


@contextlib.contextmanager
def database_lock(uri: str) -> Iterator[None]:
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def open_parent(config: RunConfig, name: str, tags: dict[str, str]) -> str:
    """The MLflow run that a sweep's runs become children of."""
    assert config.tracking.uri is not None
    connected = client(config.tracking.uri)
    experiment_id = experiment(connected, config.tracking.uri, config.benchmark.name)
    return connected.create_run(experiment_id, tags=tags, run_name=name).info.run_id


def close_parent(uri: str, run_id: str, failed: bool) -> None:
    client(uri).set_terminated(run_id, "FAILED" if failed else "FINISHED")


def batches(path: Path, start: int, stop: int) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Rows of a file between two positions, at most BATCH at a time, with the position after them."""
    if stop <= start:
        return
    with path.open("rb") as file:
        file.seek(max(0, start - 1))
        if start > 0 and file.read(1) != b"\n":
            # Times are not bit-equal when an older checkpoint had to be used: go on with the next whole row.
            file.readline()
        rows = []
        while file.tell() < stop:
            rows.append(json.loads(file.readline()))
            if len(rows) == BATCH or file.tell() >= stop:
                yield rows, file.tell()
                rows = []


def short_names(task_ids: list[str]) -> dict[str, str]:
    """Task id -> name without its suite, or the whole id where two suites share the name."""
    shorts = [task.split("/", 1)[1] for task in task_ids]
    return {task: short if shorts.count(short) == 1 else task for task, short in zip(task_ids, shorts, strict=True)}


def as_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | tuple) else str(value)


def follow(run_dir: Path, stdin: IO[str]) -> None:
    """Send rows as they become durable until `stdin` closes; then the rest.

    Failures are written to the log and tried again; nothing is lost, because the cursor moves only after a send.
    """
    mirror: Mirror | None = None
    monitor: Any = None
    running = True
    failures = 0
    while running or (failures > 0 and failures <= FINISH_TRIES):
        readable, _, _ = select.select([stdin] if running else [], [], [], POLL_S)
        running = running and not readable
        try:
            mirror = mirror or Mirror(run_dir)
            if mirror.config.tracking.system_metrics and monitor is None:
                monitor = system_monitor(mirror)
            mirror.describe()
            mirror.send_rows()
            mirror.send_films()
            failures = 0
            if not running:
                if monitor:
                    monitor.finish()
                mirror.close()
        except Exception:
            traceback.print_exc()
            failures += 1
            if running:
                time.sleep(min(60.0, POLL_S * failures) if not stdin_closed(stdin) else 0)
    if failures:
        sys.exit(record.EXIT_FAILED)


def stdin_closed(stdin: IO[str]) -> bool:
    return bool(select.select([stdin], [], [], 0)[0])


def system_monitor(mirror: Mirror) -> Any:
    """MLflow's own sampling of CPU, memory, disk and GPU, in a thread of this process."""
    import mlflow
    from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    mlflow.set_tracking_uri(mirror.uri)
    interval_s = MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or DEFAULT_SAMPLING_INTERVAL_S
    monitor = SystemMetricsMonitor(mirror.run_id, interval_s, samples_before_logging=1, resume_logging=True)
    monitor.start()
    return monitor


def main() -> None:
    parser = argparse.ArgumentParser(description="Send to MLflow what it lacks of a run directory.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--follow", action="store_true", help="go on until standard input closes")
    arguments = parser.parse_args()
    run_dir: Path = arguments.run_dir.resolve()
    if not (run_dir / record.CONFIG).is_file():
        print(f"error: {run_dir}: no run here ({record.CONFIG} is missing)", file=sys.stderr)
        sys.exit(record.EXIT_BAD_CONFIG)
    with (run_dir / f"{LOG}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # one mirror at a time; a predecessor may still be finishing
        if arguments.follow:
            os.nice(10)
            for number in (signal.SIGTERM, signal.SIGUSR2):  # they are for the run; its end closes standard input
                signal.signal(number, signal.SIG_IGN)
            follow(run_dir, sys.stdin)
        else:
            Mirror(run_dir).close()


if __name__ == "__main__":
    main()
