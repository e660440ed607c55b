"""Addresses in MLflow's UI, and the view of a sweep's runs with their scores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from conf.uris import is_web
from records.metrics import EVAL_SCORE

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves, unless told otherwise."""
TRAINING_PAGES = "workflowType=machine_learning"
"""MLflow 3 has two sets of pages; without this word, the one for traces of language models may open, which is empty."""
VIEW_TAG = "mlflow.sharedViewState."
"""Begins the name of an experiment's tag that holds a view, which MLflow's UI opens by the rest of the name."""
MAX_COLUMNS = 8
PARAMETERS = {"model": "model.width", "agent": "agent.name", "benchmark": "benchmark.name"}
"""Groups of the configuration that a sweep may vary, and the run's parameter that shows the choice."""


def server_of(uri: str) -> str:
    """Return where the UI of a tracking URI is: the server itself, or this machine's for a database."""
    return uri.rstrip("/") if is_web(uri) else LOCAL_UI


def run_page(experiment_id: str, run_id: str) -> str:
    """Return the page of a run, without the server, as links inside of MLflow have it."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{TRAINING_PAGES}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """Return the page that shows one artifact of a run, without the server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{path}?{TRAINING_PAGES}"


def runs_page(experiment_id: str) -> str:
    """Return the page that lists an experiment's runs, without the server."""
    return f"#/experiments/{experiment_id}/runs?{TRAINING_PAGES}"


def sweep_page(experiment_id: str, sweep: str) -> str:
    """Return the page that lists a sweep's runs with their scores, without the server."""
    return f"{runs_page(experiment_id)}&viewStateShareKey={sweep}"


def view(sweep: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the experiment's tag that holds the view of a sweep's runs: the best first, with what the sweep varies.

    Args:
      sweep: the sweep's id.
      keys: the swept keys.
    """
    params = [f"params.`{PARAMETERS.get(key, key)}`" for key in keys][:MAX_COLUMNS]
    score = f"metrics.`{EVAL_SCORE}`"
    state: dict[str, Any] = {
        "searchFilter": f"tags.`sweep.{sweep}` = 'member'",
        "orderByKey": score,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": ["attributes.`Dataset`", score, *params],
    }
    return {f"{VIEW_TAG}{sweep}": json.dumps(state)}
