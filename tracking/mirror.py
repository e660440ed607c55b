"""Mirrors a run directory to MLflow, from a process of its own beside the run.

    python -m tracking RUN_DIR     # send what MLflow lacks, and stop (sweeps.sync: of all runs in a folder)

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
import socket
import subprocess
import sys
import time
import traceback
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from conf import identity
from conf.schema import RunConfig
from records import files, layout, sidecar
from records.files import exclusive, write_json
from records.layout import ExitCode, RunOutcome
from records.sweep import Sweep, sweep_lock
from tracking.system import Sampler, whole_lines

POLL_S = 5.0
MAX_POLL_S = 60.0  # between tries, while MLflow is away
FINISH_TRIES = 2
# That a run waits for the rest to be sent; the mirror then goes on alone. An interrupted run may be killed soon.
FINISH_S = {"database": 90.0, "server": 10.0, "interrupted": 10.0}
BATCH = 1000  # MLflow's limit for one call
LOG = "tracking.log"
STATES = {
    RunOutcome.DONE: "FINISHED",
    RunOutcome.FAILED: "FAILED",
    RunOutcome.INTERRUPTED: "KILLED",
    RunOutcome.STOPPED: "KILLED",
}
CONNECT_S = 3.0
ANSWER_NAME = "MLFLOW_HTTP_REQUEST_TIMEOUT"
ANSWER_S, PATIENT_ANSWER_S = "10", "60"  # of a command that somebody waits for, and of a mirror

# A server that is down answers in seconds instead of minutes; what is not sent is tried again here.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # commands name pages themselves


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Inside, MLflow waits `ANSWER_S` for an answer, unless the environment says otherwise; runs do not inherit it."""
    if ANSWER_NAME in os.environ:
        yield
        return
    os.environ[ANSWER_NAME] = ANSWER_S
    try:
        yield
    finally:
        del os.environ[ANSWER_NAME]


class Follower:
    """The mirroring process of a running run; it ends by itself when the run's process does."""

    def __init__(self, run_dir: Path, uri: str):
        self._patience_s = FINISH_S["server" if uri.startswith("http") else "database"]
        self._process = sidecar.start("tracking", run_dir, run_dir / LOG)

    def finish(self, interrupted: bool) -> bool:
        """Let it send the rest; whether MLflow has everything. A slow one goes on after the run."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        patience_s = min(self._patience_s, FINISH_S["interrupted"]) if interrupted else self._patience_s
        try:
            return self._process.wait(patience_s) == 0
        except subprocess.TimeoutExpired:
            return False


class Mirror:
    """One run directory and the MLflow run that mirrors it."""

    def __init__(self, run_dir: Path, uri: str | None = None):
        self.run_dir = run_dir
        self.config = identity.config_from_json((run_dir / layout.CONFIG).read_text())
        uri = uri or self.config.tracking.uri
        assert uri is not None
        self.uri = uri
        self.client = client(self.uri)
        self._state = self._open()
        self._names: dict[str, str] = {}

    @property
    def run_id(self) -> str:
        return self._state["run_id"]

    def _open(self) -> dict[str, Any]:
        """The MLflow run that this directory has at this URI, made on first use."""
        states = files.read_json(self.run_dir / layout.TRACKING) or {}
        state = states.get(self.uri)
        if state is None or "run_id" not in state:
            experiment_id = experiment(self.client, self.uri, self.config.benchmark.name)
            # The answer to a creation may get lost: the token, which is on disk before, finds the run again.
            made = self._made(experiment_id, state["token"]) if state else None
            token = state["token"] if state else os.urandom(8).hex()
            write_json(self.run_dir / layout.TRACKING, states | {self.uri: {"token": token}})
            tags = {"run_dir": str(self.run_dir), "identity": identity.hash_of(self.config), "token": token}
            name = identity.run_name(self.config)
            run = made or self.client.create_run(experiment_id, tags=tags, run_name=name)
            state = {
                "token": token,
                "run_id": run.info.run_id,
                "experiment_id": experiment_id,
                "created_ms": run.info.start_time,
                "metrics": 0,
                "timing": 0,
                "system": 0,
                "described": 0,
                "films": [],
            }
            write_json(self.run_dir / layout.TRACKING, states | {self.uri: state})
        return {"parent": None, "sweeps": [], "closed": None} | state

    def _made(self, experiment_id: str, token: str) -> Any:
        found = self.client.search_runs([experiment_id], f"tags.token = '{token}'", max_results=1)
        return found[0] if found else None

    def _save(self) -> None:
        states = files.read_json(self.run_dir / layout.TRACKING) or {}
        write_json(self.run_dir / layout.TRACKING, states | {self.uri: self._state})

    def place(self) -> None:
        """The sweeps that contain the run: a tag each, and the first one's MLflow run as the parent."""
        sweeps = swept(self.run_dir)
        parent = self.config.tracking.parent_run if self.uri == self.config.tracking.uri else None
        parent = parent or (parent_of(self.run_dir, sweeps[0], self.uri) if sweeps else None)
        if parent is not None and self._state["parent"] is None:
            self.client.set_tag(self.run_id, "mlflow.parentRunId", parent)
            self._state["parent"] = parent
            self._save()
        for sweep in sweeps:
            if sweep not in self._state["sweeps"]:
                self.client.set_tag(self.run_id, f"sweep.{sweep}", "member")
                self._state["sweeps"].append(sweep)
                self._save()

    def describe(self) -> None:
        """Parameters and tags; again for each start of the run."""
        from mlflow.entities import Param, RunTag

        self.place()
        manifest = files.read_json(self.run_dir / layout.MANIFEST)
        if manifest is None or self._state["described"] == len(manifest["starts"]):
            return
        start = manifest["starts"][-1]
        # MLflow takes a parameter once, and other code may count sizes otherwise.
        first = self._state["described"] == 0
        params = identity.flat(identity.values_of(self.config) | {"sizes": manifest["sizes"]}) if first else {}
        tags = {key: start[key] for key in ("git_commit", "host", "device", "command", "python")}
        tags |= identity.flat({"version": start["versions"], "slurm": start["slurm"]})
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
        """Send all durable rows that MLflow lacks, and the machine's samples."""
        durable = files.read_json(self.run_dir / layout.DURABLE) or {}
        for name, file, metric in (
            ("metrics", layout.METRICS, self._metric),
            ("timing", layout.TIMING, self._metric),
            ("system", layout.SYSTEM, system_metric),
        ):
            path = self.run_dir / file
            stop = whole_lines(path) if name == "system" else durable.get(name, 0)
            for rows, position in batches(path, self._state[name], stop):
                self.client.log_batch(self.run_id, metrics=[metric(row) for row in rows])
                self._state[name] = position
                self._save()

    def _metric(self, row: dict[str, Any]) -> Any:
        """A row of the run; its time follows from its step, so that MLflow knows it when it comes again."""
        from mlflow.entities import Metric

        steps = row["env_steps"]
        return Metric(self._key(row["name"], row["task"]), row["value"], self._state["created_ms"] + steps, steps)

    def send_films(self) -> None:
        """Send all finished films that MLflow lacks."""
        for path in sorted(self.run_dir.glob(f"{layout.VIDEOS}/*/[!.]*.mp4")):
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

    def send(self) -> None:
        """All that there is now, of a run that goes on."""
        self.describe()
        self.send_rows()
        self.send_films()

    def close(self) -> None:
        """Final rows, figures and state."""
        ending = ending_of(self.run_dir)  # before: what comes meanwhile is sent by the next
        self.send()
        status = files.read_json(self.run_dir / layout.STATUS) or {}
        done = files.read_whole(self.run_dir / layout.DONE, "env_steps", "score")
        if done is not None and done["score"] is not None:
            self.client.set_tag(self.run_id, "final_score", f"{done['score']:.4f}")
        report = self.run_dir / layout.REPORT
        if report.is_dir():
            self.client.log_artifacts(self.run_id, str(report), "report")
        # A state that still says running belongs to a run that was killed; it may resume.
        self.client.set_terminated(self.run_id, STATES.get(status.get("state", ""), "KILLED"))
        self._state["closed"] = ending
        self._save()


def ending_of(run_dir: Path) -> dict[str, Any]:
    """What changes in a run directory when there is more to send after a run was closed."""
    durable = files.read_json(run_dir / layout.DURABLE) or {}
    status = files.read_json(run_dir / layout.STATUS) or {}
    films = len(list(run_dir.glob(f"{layout.VIDEOS}/*/[!.]*.mp4")))
    samples = whole_lines(run_dir / layout.SYSTEM)
    return {"state": status.get("state"), "time": status.get("time"), "films": films, "system": samples} | durable


def system_metric(row: dict[str, Any]) -> Any:
    """A sample of the machine, as MLflow's own have it: numbered, with the time it was taken."""
    from mlflow.entities import Metric

    return Metric(row["name"], row["value"], row["time_ms"], row["sample"])


def is_sent(run_dir: Path, uri: str) -> bool:
    """Whether MLflow has everything of the run, as far as files know."""
    state = (files.read_json(run_dir / layout.TRACKING) or {}).get(uri, {})
    sweeps = swept(run_dir)
    has_parent = state.get("parent") is not None or not sweeps or parent_of(run_dir, sweeps[0], uri) is None
    return has_parent and state.get("closed") == ending_of(run_dir) and set(sweeps) <= set(state["sweeps"])


def swept(run_dir: Path) -> list[str]:
    """The sweeps that contain the run, in the order in which they came to it."""
    return (files.read_json(run_dir / layout.SWEPT) or {"sweeps": []})["sweeps"]


def parent_of(run_dir: Path, sweep: str, uri: str) -> str | None:
    """The sweep's MLflow run there, as its manifest says."""
    manifest = files.read_json(run_dir.parents[1] / layout.SWEEPS / f"{sweep}.json") or {}
    return manifest.get("parents", {}).get(uri, {}).get("")


@impatient()
def tag_sweeps(run_dirs: Sequence[Path], uri: str) -> None:
    """Tell MLflow of sweeps that contain runs which it has already."""
    for run_dir in run_dirs:
        state = (files.read_json(run_dir / layout.TRACKING) or {}).get(uri, {})
        if "run_id" in state and not set(swept(run_dir)) <= set(state.get("sweeps", [])):
            with the_mirror(run_dir, wait=False) as free:
                if free:  # else the run's own mirror sees to it
                    Mirror(run_dir, uri).place()


@contextlib.contextmanager
def the_mirror(run_dir: Path, wait: bool) -> Iterator[bool]:
    """One mirror of a run at a time; yields whether this is it (always, if it waits)."""
    with (run_dir / f"{LOG}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def link(uri: str, experiment_id: str, run_id: str) -> str | None:
    """The run's page in MLflow's UI, where a server has one."""
    return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}" if uri.startswith("http") else None


def run_link(run_dir: Path, uri: str) -> str | None:
    """The page of a run that MLflow has."""
    state = (files.read_json(run_dir / layout.TRACKING) or {}).get(uri, {})
    return link(uri, state["experiment_id"], state["run_id"]) if "experiment_id" in state else None


def reach(uri: str) -> None:
    """Raises ConnectionError, within seconds and without MLflow, where no server listens."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), CONNECT_S).close()
    except OSError as error:
        raise ConnectionError(f"no server answers at {uri}: {error}") from None


def client(uri: str) -> Any:
    """An MLflow client; a new SQLite database gets its tables under a lock, because two at once would break it.

    Raises:
      ConnectionError: no server listens there.
    """
    reach(uri)
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
        try:
            return connected.create_experiment(name, artifact_location=location)
        except Exception:
            found = connected.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id  # another process was faster


@contextlib.contextmanager
def database_lock(uri: str) -> Iterator[None]:
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    with exclusive(path.with_name(f"{path.name}.lock")):
        yield


def sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@impatient()
def open_parent(config: RunConfig, uri: str, sweep: str) -> tuple[str, str | None]:
    """The MLflow run that a sweep's runs become children of, and its page where there is a server."""
    connected = client(uri)
    experiment_id = experiment(connected, uri, config.benchmark.name)
    run_id = connected.create_run(experiment_id, tags={"sweep": sweep}, run_name=sweep).info.run_id
    return run_id, link(uri, experiment_id, run_id)


@impatient()
def send_parent(
    uri: str, run_id: str, name: str, points: Sequence[tuple[int, float, int]], tags: dict[str, str], files: Path
) -> None:
    """Points (step, value, milliseconds) of one metric, tags and a folder of files, for a sweep's run."""
    from mlflow.entities import Metric, RunTag

    connected = client(uri)
    metrics = [Metric(name, value, time_ms, step) for step, value, time_ms in points]
    for start in range(0, len(metrics), BATCH):
        connected.log_batch(run_id, metrics=metrics[start : start + BATCH])
    connected.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    connected.log_artifacts(run_id, str(files), files.name)


@impatient()
def close_parent(uri: str, run_id: str, failed: bool) -> None:
    client(uri).set_terminated(run_id, "FAILED" if failed else "FINISHED")


def close_parents(sweep: Sweep, failed: bool) -> None:
    """Mark the sweep's MLflow runs as over, where they are not; a warning where MLflow is away."""
    for uri, parents in sweep.parents.items():
        if uri in sweep.closed:
            continue
        try:
            for parent in parents.values():
                close_parent(uri, parent, failed)
        except Exception as error:
            print(f"warning: parent run left open (python -m sweeps.sync closes it): {reason(error)}", file=sys.stderr)
            continue
        with sweep_lock(sweep.path):
            body = files.read_json(sweep.path) or {}
            write_json(sweep.path, body | {"closed": [*body.get("closed", []), uri]})


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


def follow(run_dir: Path, stdin: IO[str]) -> bool:
    """Send rows as they become durable until `stdin` closes; then the rest. Whether all was sent.

    Failures are written to the log and tried again; nothing is lost, because the cursor moves only after a send.
    """
    config = identity.config_from_json((run_dir / layout.CONFIG).read_text())
    sampler = Sampler(run_dir / layout.SYSTEM) if config.tracking.system_metrics else None
    mirror: Mirror | None = None
    running = True
    failures = 0
    while running or 0 < failures <= FINISH_TRIES:
        wait_s = min(MAX_POLL_S, POLL_S * (1 + failures)) if running else 1.0
        if running and select.select([stdin], [], [], wait_s)[0]:
            running, failures = False, 0
            if sampler:
                sampler.stop()
        elif not running:
            time.sleep(wait_s)
        try:
            mirror = mirror or Mirror(run_dir)
            if running:
                mirror.send()
            else:
                mirror.close()
            failures = 0
        except Exception as error:
            if failures == 0:
                traceback.print_exc()
            print(f"{time.ctime()}: {reason(error)}", file=sys.stderr, flush=True)
            failures += 1
    return failures == 0


def reason(error: Exception) -> str:
    """One line that says what went wrong."""
    return str(error).partition("\n")[0] or type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description="Send to MLflow what it lacks of a run directory.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--follow", action="store_true", help="go on until standard input closes")
    arguments = parser.parse_args()
    run_dir: Path = arguments.run_dir.resolve()
    if not (run_dir / layout.CONFIG).is_file():
        print(f"error: {run_dir}: no run here ({layout.CONFIG} is missing)", file=sys.stderr)
        sys.exit(ExitCode.BAD_CONFIG)
    os.environ.setdefault(ANSWER_NAME, PATIENT_ANSWER_S)
    with the_mirror(run_dir, wait=True):  # a predecessor may still be finishing
        if arguments.follow:
            for number in (signal.SIGTERM, signal.SIGUSR2):  # they are for the run; its end closes standard input
                signal.signal(number, signal.SIG_IGN)
            sent = follow(run_dir, sys.stdin)
            # The run waits for this process, and to take down all of MLflow takes longer than to send the rest.
            os._exit(ExitCode.DONE if sent else ExitCode.FAILED)
        else:
            try:
                Mirror(run_dir).close()
            except Exception as error:
                print(f"error: {reason(error)}", file=sys.stderr)
                sys.exit(ExitCode.FAILED)
