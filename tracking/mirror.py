"""One run directory and the MLflow run that mirrors it.

Only rows that a checkpoint covers are sent, from where the last send ended (`tracking.json`), each with a time that
follows from its step: nothing arrives twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from conf import identity
from conf.uris import is_web
from records import layout
from records.decode import DamagedRecordError
from records.entries import MirrorState
from records.layout import RunOutcome
from records.lock import try_lock
from records.metrics import EVAL_RETURN, UPDATE_STEPS, short_names
from records.rows import Readable, Row, Sample, read_rows, whole_lines
from records.run_dir import RunDir
from records.sweep import member_of, parent_of
from tracking import pages
from tracking.client import BATCH, DESCRIPTION_TAG, check_active, client, experiment
from tracking.problems import MirrorError

R = TypeVar("R", bound=Readable)
LOG = "tracking.log"
WAIT_S = 0.2
STATES = {
    RunOutcome.DONE: "FINISHED",
    RunOutcome.FAILED: "FAILED",
    RunOutcome.INTERRUPTED: "KILLED",
    RunOutcome.STOPPED: "KILLED",
}


class Mirror:
    """One run directory and the MLflow run that mirrors it."""

    def __init__(self, run_dir: Path, uri: str | None = None):
        self.record = RunDir(run_dir)
        config = self.record.require_config()
        if config is None:
            raise DamagedRecordError(run_dir / layout.CONFIG, "is missing")
        self.config = config
        target = uri or config.tracking.uri
        assert target is not None
        self.uri = target
        self.client = client(self.uri)
        self._names = short_names(config.benchmark.task_ids)
        self._state = self._open()

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        assert self._state.run_id is not None
        return self._state.run_id

    def _open(self) -> MirrorState:
        """The MLflow run that this directory has at this URI, made on first use.

        A run whose experiment somebody has deleted is sent anew where the configuration names another experiment.

        Raises:
          MirrorError: the MLflow run or its experiment was deleted.
        """
        state = self.record.mirrors().get(self.uri)
        experiment_id = experiment(self.client, self.uri, self.config.experiment)
        if state is not None and state.run_id is not None:
            try:
                check_active(self.client, state.run_id, cure_of_deleted(self.record.path))
                return state
            except MirrorError:
                if state.experiment_id == experiment_id:
                    raise
                state = None
        # The answer to a creation may get lost: the token, which is on disk before, finds the run again.
        made = self._made(experiment_id, state.token) if state else None
        state = state or MirrorState.new(os.urandom(8).hex())
        self.record.write_mirror(self.uri, state)
        tags = {"run_dir": str(self.record.path), "identity": identity.hash_of(self.config), "token": state.token}
        run = made or self.client.create_run(experiment_id, tags=tags, run_name=identity.run_name(self.config))
        state = dataclasses.replace(
            state, run_id=run.info.run_id, experiment_id=experiment_id, created_ms=run.info.start_time
        )
        self.record.write_mirror(self.uri, state)
        return state

    def cause(self, error: Exception) -> Exception:
        """Return why a send failed: that somebody has deleted the MLflow run, if so, and else the error itself."""
        try:
            self._open()
        except Exception as found:
            return found
        return error

    def _made(self, experiment_id: str, token: str) -> Any:
        found = self.client.search_runs([experiment_id], f"tags.token = '{token}'", max_results=1)
        return found[0] if found else None

    def _advance(self, **values: Any) -> None:
        """Write down that MLflow has more."""
        self._state = dataclasses.replace(self._state, problem="", **values)
        self.record.write_mirror(self.uri, self._state)

    def place(self) -> None:
        """Send the sweeps that contain the run: a tag each, and the first one's MLflow run as the parent."""
        sweeps = self.record.sweeps()
        parent = parent_of(self.record.path, sweeps[0], self.uri) if sweeps else None
        if parent is not None and self._state.parent != parent:
            self.client.set_tag(self.run_id, "mlflow.parentRunId", parent)
            self._advance(parent=parent)
        for sweep in sweeps:
            if sweep not in self._state.sweeps:
                self.client.set_tag(self.run_id, f"sweep.{sweep}", "member")
                self._advance(sweeps=(*self._state.sweeps, sweep))

    def describe(self) -> None:
        """Send parameters, tags, and the files that say what the run is; again for each start of the run."""
        from mlflow.entities import Param, RunTag

        self.place()
        manifest = self.record.manifest()
        if manifest is None or self._state.described == len(manifest.starts):
            return
        start = manifest.starts[-1]
        # MLflow takes a parameter once, and other code may count sizes otherwise.
        first = self._state.described == 0
        params = identity.flat(identity.values_of(self.config) | {"sizes": manifest.sizes}) if first else {}
        if first:
            self._send_benchmark()
        tags = {DESCRIPTION_TAG: self._description()} if first else {}  # whose text a user may have changed since
        tags |= {key: getattr(start, key) for key in ("git_commit", "host", "device", "command", "python")}
        tags |= identity.flat({"version": start.versions, "slurm": start.slurm})
        tags |= {"budget_env_steps": self.config.train.env_steps, "starts": len(manifest.starts)}
        if start.code:
            tags["code"] = start.code
        if tags["git_commit"]:
            tags["mlflow.source.git.commit"] = tags["git_commit"]
        self.client.log_batch(
            self.run_id,
            params=[Param(key, as_text(value)) for key, value in params.items()],
            tags=[RunTag(key, as_text(value)) for key, value in tags.items()],
        )
        for name in (layout.MANIFEST, layout.TASKS):
            self.client.log_artifact(self.run_id, str(self.record.path / name))
        self.client.update_run(self.run_id, status="RUNNING")
        self._advance(described=len(manifest.starts))

    def _send_benchmark(self) -> None:
        """Send the benchmark as the run's dataset.

        When several runs are the first of a benchmark at the same moment, MLflow creates the dataset for one of them
        and refuses the others' requests, whose repetition finds the dataset.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import BAD_REQUEST, ErrorCode

        try:
            self.client.log_inputs(self.run_id, [self._benchmark()])
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(BAD_REQUEST):
                raise
            self.client.log_inputs(self.run_id, [self._benchmark()])

    def _benchmark(self) -> Any:
        """The benchmark as MLflow's dataset, which a table of runs shows as `name (digest) N tasks`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        benchmark = self.config.benchmark
        tasks = list(benchmark.task_ids)
        digest = hashlib.sha256(" ".join(tasks).encode()).hexdigest()[:8]
        source, profile = json.dumps({"benchmark": benchmark.name, "tasks": tasks}), json.dumps({"tasks": len(tasks)})
        count = f"{len(tasks)} task{'s' if len(tasks) != 1 else ''}"
        dataset = Dataset(benchmark.name, digest, "benchmark", source, profile=profile)
        return DatasetInput(dataset, [InputTag("mlflow.data.context", count)])

    def _description(self) -> str:
        """What the run is, where it lies and how it goes on, as Markdown."""
        sweeps = self.record.sweeps()
        member = member_of(self.record.path, sweeps[0]) if sweeps else None
        varied = " ".join(f"{key}={value}" for key, value in member.varied.items()) if member else ""
        of_sweep = f" {varied} of sweep {sweeps[0]}." if varied else ""
        command = f"python -m agents.run --run-dir {shlex.quote(str(self.record.path))}"
        return (
            f"{identity.run_name(self.config)} on {self.config.benchmark.name}.{of_sweep} Folder: "
            f"`{self.record.path}`\n\nContinue: `{command}`"
        )

    def send_rows(self) -> None:
        """Send all rows that a checkpoint covers and MLflow lacks, and the machine's samples."""
        durable = self.record.durable()
        for name, file, stop in (
            ("metrics", layout.METRICS, durable.metrics),
            ("timing", layout.TIMING, durable.timing),
        ):
            for rows, end in batches(Row, self.record.path / file, getattr(self._state, name), stop):
                self.client.log_batch(self.run_id, metrics=[metric for row in rows for metric in self._metrics(row)])
                self._advance(**{name: end})
        path = self.record.path / layout.SYSTEM
        for samples, end in batches(Sample, path, self._state.system, whole_lines(path)):
            self.client.log_batch(self.run_id, metrics=[sample_metric(sample) for sample in samples])
            self._advance(system=end)

    def _metrics(self, row: Row) -> Iterator[Any]:
        """A row of the run; its time follows from its step, so that MLflow knows the row when it comes again.

        The updates so far go with one row of each evaluation.
        """
        from mlflow.entities import Metric

        time_ms = self._state.created_ms + row.env_steps
        # `eval/return/<task>`, with the task's short name where that is unambiguous.
        key = row.name if row.task is None else f"{row.name}/{self._names.get(row.task, row.task)}"
        yield Metric(key, row.value, time_ms, row.env_steps)
        if row.name == EVAL_RETURN and row.task == self.config.benchmark.task_ids[0]:
            yield Metric(UPDATE_STEPS, row.update_steps, time_ms, row.env_steps)

    def send_films(self) -> None:
        """Send all finished films that MLflow lacks."""
        for path in films(self.record.path):
            name = str(path.relative_to(self.record.path))
            if name not in self._state.films:
                self.client.log_artifact(self.run_id, str(path), str(Path(name).parent))
                self._advance(films=(*self._state.films, name))

    def send(self) -> None:
        """Send all that there is now, of a run that goes on."""
        self.describe()
        self.send_rows()
        self.send_films()

    def close(self) -> None:
        """Send final rows, figures and state."""
        ending = ending_of(self.record.path)  # before: what comes meanwhile is sent by the next
        self.send()
        status, done = self.record.status(), self.record.done()
        if done is not None and done.score is not None:
            self.client.set_tag(self.run_id, "final_score", f"{done.score:.4f}")
        report = self.record.path / layout.REPORT
        if report.is_dir():
            self.client.log_artifacts(self.run_id, str(report), "report")
        # A state that still says running belongs to a run that was killed; the run may go on.
        self.client.set_terminated(self.run_id, STATES.get(status.state, "KILLED") if status else "KILLED")
        self._advance(closed=ending)


def films(run_dir: Path) -> list[Path]:
    """Return the finished films of a run."""
    return sorted(run_dir.glob(f"{layout.VIDEOS}/*/[!.]*.mp4"))


def ending_of(run_dir: Path) -> dict[str, Any]:
    """Return what changes in a run directory when there is more to send after a run was closed."""
    record = RunDir(run_dir)
    durable, status = record.durable(), record.status()
    return {
        "state": status.state if status else None,
        "time": status.time if status else None,
        "films": len(films(run_dir)),
        "system": whole_lines(run_dir / layout.SYSTEM),
        "metrics": durable.metrics,
        "timing": durable.timing,
    }


def sample_metric(sample: Sample) -> Any:
    """Return a sample of the machine as MLflow's own have it: numbered, with the time at which it was taken."""
    from mlflow.entities import Metric

    return Metric(sample.name, sample.value, sample.time_ms, sample.sample)


def is_sent(run_dir: Path, uri: str) -> bool:
    """Whether MLflow has everything of the run, as far as files know."""
    record = RunDir(run_dir)
    state, sweeps = record.mirrors().get(uri), record.sweeps()
    if state is None:
        return False
    parent = parent_of(run_dir, sweeps[0], uri) if sweeps else None
    return parent in (None, state.parent) and state.closed == ending_of(run_dir) and set(sweeps) <= set(state.sweeps)


def note_problem(run_dir: Path, uri: str, problem: str) -> None:
    """Write into a run's directory what keeps MLflow from having the run; an empty text where nothing does."""
    record = RunDir(run_dir)
    state = record.mirrors().get(uri)
    if (state.problem if state else "") != problem:
        state = state or MirrorState.new(os.urandom(8).hex())
        record.write_mirror(uri, dataclasses.replace(state, problem=problem))


def cure_of_deleted(run_dir: Path) -> str:
    """Return what to do about a run whose MLflow run was deleted."""
    return f"python -m agents.tracking {shlex.quote(str(run_dir))} --anew sends the run again whole"


@contextlib.contextmanager
def mirror_lock(run_dir: Path, wait: bool) -> Iterator[bool]:
    """Be a run's only mirror inside the block; yield whether this is the only one (always, with `wait`)."""
    path = run_dir / f"{LOG}.lock"
    held = try_lock(path)
    while held is None and wait:
        time.sleep(WAIT_S)
        held = try_lock(path)
    try:
        yield held is not None
    finally:
        if held is not None:
            held.release()


def run_link(run_dir: Path, uri: str) -> str | None:
    """Return the page of a run that MLflow has, where a server shows the page."""
    state = RunDir(run_dir).mirrors().get(uri)
    if state is None or state.run_id is None or state.experiment_id is None or not is_web(uri):
        return None
    return f"{pages.server_of(uri)}/{pages.run_page(state.experiment_id, state.run_id)}"


def local_page(run_dir: Path, uri: str) -> str | None:
    """Return the page that lists the experiment's runs, once `mlflow ui` serves the run's database on this machine."""
    state = RunDir(run_dir).mirrors().get(uri)
    if state is None or state.experiment_id is None:
        return None
    return f"{pages.server_of(uri)}/{pages.runs_page(state.experiment_id)}"


def batches(kind: type[R], path: Path, start: int, stop: int) -> Iterator[tuple[list[R], int]]:
    """Yield the rows of a file between two positions, at most `BATCH` at a time, with the position after them.

    Args:
      kind: what a row is: `Row` or `Sample`.
      path: the file.
      start, stop: positions in bytes. Where an older checkpoint had to be used, times are not bit-equal and `start` may
        be in the middle of a row; the next whole row is the first then.
    """
    rows: list[R] = []
    end = start
    for row, end in read_rows(kind, path, start, stop):
        rows.append(row)
        if len(rows) == BATCH:
            yield rows, end
            rows = []
    if rows:
        yield rows, end


def as_text(value: Any) -> str:
    """Return a value as MLflow's parameters and tags hold it."""
    return json.dumps(value) if isinstance(value, list | tuple) else str(value)
