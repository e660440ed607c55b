"""Which runs are seeds of one another, and what to call the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from conf.typed import show

AGENT, WIDTH, BENCHMARK, TASKS, SEED = "agent.name", "model.width", "benchmark.name", "benchmark.tasks", "seed"
CRITIC_SIZE = frozenset({WIDTH, "model.depth"})
"""What a scaling curve varies along its x axis."""


def labels(runs: Sequence[Mapping[str, Any]], ignored: frozenset[str] = frozenset()) -> list[str]:
    """A short name for each run, equal for two runs exactly where all but the seed and `ignored` is equal.

    Args:
      runs: flattened identity values of all runs of one benchmark.
      ignored: further keys that make no difference.
    Returns:
      Agent and width, then `key=value` for the keys whose values differ among `runs`. Where abbreviated values would
      give different runs one name, a hash is added.
    """
    kept = [{key: run[key] for key in run if key != SEED and key not in ignored} for run in runs]
    keys = dict.fromkeys(key for run in kept for key in run if key not in (AGENT, WIDTH))
    differing = [key for key in keys if len({_canonical(run.get(key)) if key in run else "" for run in kept}) > 1]
    short = [_short(run, differing) for run in kept]
    owners: dict[str, set[str]] = {}
    for name, run in zip(short, kept, strict=True):
        owners.setdefault(name, set()).add(_canonical(run))
    return [
        name if len(owners[name]) == 1 else f"{name} #{hashlib.sha256(_canonical(run).encode()).hexdigest()[:6]}"
        for name, run in zip(short, kept, strict=True)
    ]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(run: Mapping[str, Any], differing: Sequence[str]) -> str:
    size = [f"w{run[WIDTH]}"] if WIDTH in run else []
    rest = [_tasks(run[key]) if key == TASKS else f"{key}={show(run[key])}" for key in differing if key in run]
    return " ".join([str(run[AGENT]), *size, *rest])


def _tasks(ids: Sequence[str]) -> str:
    return short_task(ids[0]) if len(ids) == 1 else f"{len(ids)} tasks"


def short_task(task: str) -> str:
    """A task's name without its suite."""
    return task.split("/", 1)[-1]
