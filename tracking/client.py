"""The connection to MLflow: a server that is down costs seconds, and a new database is made once."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from conf.uris import sqlite_path
from records.lock import exclusive
from tracking.problems import MirrorError, check_file

BATCH = 1000 // 2
"""Rows in one call, each of which is one metric or two; MLflow takes 1000."""
DELETED = "deleted"
"""The stage of life in which MLflow keeps what somebody has deleted, until `mlflow gc`."""
CONNECT_S = 3.0
ANSWER_NAME = "MLFLOW_HTTP_REQUEST_TIMEOUT"
SHORT_ANSWER_S, LONG_ANSWER_S = "10", "60"
"""Seconds that MLflow may take to answer a command that somebody waits for, and a mirror."""
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
DESCRIPTION_TAG = "mlflow.note.content"
"""The tag of an experiment or a run that MLflow's UI shows, as Markdown."""
DESCRIPTION = """\
A row is a run; a sweep has a run that is the parent of its members. `final_score` is the mean normalised score of a
finished run, `eval/score` that of each evaluation. To compare settings, group the runs by a parameter."""
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # what is not sent is tried again here
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # commands name pages themselves
}


@contextlib.contextmanager
def short_timeout() -> Iterator[None]:
    """Let MLflow take `SHORT_ANSWER_S` inside the block, unless the environment says otherwise.

    Afterwards the environment is as before, so that runs do not inherit the haste.
    """
    if ANSWER_NAME in os.environ:
        yield
        return
    os.environ[ANSWER_NAME] = SHORT_ANSWER_S
    try:
        yield
    finally:
        del os.environ[ANSWER_NAME]


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
    """Return an MLflow client; a new SQLite database gets its tables under a lock, because two at once would break it.

    Raises:
      ConnectionError: no server listens there.
      MirrorError: the file is no database.
    """
    reach(uri)
    if (path := sqlite_path(uri)) is not None:
        check_file(path)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    with database_lock(uri):
        connected = MlflowClient(tracking_uri=uri)
        connected.search_experiments(max_results=1)
    return connected


def experiment(connected: Any, uri: str, name: str) -> str:
    """Return the experiment's id; the experiment is made where it does not exist.

    Raises:
      MirrorError: somebody has deleted the experiment.
    """
    with database_lock(uri):
        found = connected.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == DELETED:
                raise MirrorError(
                    f"MLflow's experiment {name} was deleted; restore it: {cli(uri)} experiments restore "
                    f"--experiment-id {found.experiment_id}, or choose another: tracking.experiment=NAME"
                )
            return found.experiment_id
        path = sqlite_path(uri)
        location = None if path is None else (path.parent / "mlartifacts" / name).as_uri()
        try:
            tags = {KIND_TAG: KIND, DESCRIPTION_TAG: DESCRIPTION}
            return connected.create_experiment(name, artifact_location=location, tags=tags)
        except Exception:
            found = connected.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id  # another process was faster


def check_active(connected: Any, run_id: str, cure: str) -> None:
    """Refuse an MLflow run that somebody has deleted, or of which nothing is left.

    Args:
      connected: the client.
      run_id: MLflow's id of the run.
      cure: what to do then.
    Raises:
      MirrorError: the run is deleted or gone.
    """
    try:
        stage = connected.get_run(run_id).info.lifecycle_stage
    except Exception as error:
        if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
            raise
        stage = DELETED
    if stage == DELETED:
        raise MirrorError(f"MLflow run {run_id} was deleted; {cure}")


def cli(uri: str) -> str:
    """Return how MLflow's own command is called for what is at an address."""
    return f"MLFLOW_TRACKING_URI={uri} mlflow"


@contextlib.contextmanager
def database_lock(uri: str) -> Iterator[None]:
    """Be alone with a SQLite database inside the block; a server needs no lock."""
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    with exclusive(path.with_name(f"{path.name}.lock")):
        yield
