"""Run directories in the real format, with numbers of our choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from records import layout

Scores = Mapping[int, Sequence[float]]
"""env_steps -> the normalised score of each task."""
WriteRun = Callable[..., Path]
START = {
    "time": 0.0,
    "command": "python -m agents.run",
    "git_commit": None,
    "git_diff_sha256": None,
    "python": "3.11",
    "versions": {},
    "host": "here",
    "slurm": {},
    "device": "1 x cpu",
    "lock": "flock",
}


def rows_of(scores: Scores, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """An evaluation's rows as the agents write them: return is 1000 x score, success is score / 2."""
    rows = []
    for env_steps, values in scores.items():
        at = {"env_steps": env_steps, "update_steps": 4 * env_steps}
        rows.append(at | {"name": "critic/loss", "task": None, "value": 1.0})
        for task, score in zip(tasks, values, strict=True):
            rows.append(at | {"name": "eval/return", "task": task, "value": 1000 * score})
            rows.append(at | {"name": "eval/success", "task": task, "value": score / 2})
            rows.append(at | {"name": "eval/score", "task": task, "value": score})
        rows.append(at | {"name": "eval/score", "task": None, "value": sum(values) / len(values)})
    return rows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """`write_run(scores, seed=0, width=64, ...)` -> the run's directory below `tmp_path / "runs"`."""

    def write(
        scores: Scores,
        *,
        seed: int = 0,
        width: int = 64,
        discount: float = 0.99,
        benchmark: str = "toy",
        tasks: Sequence[str] = ("dmc/a-walk", "dmc/b-run"),
        score_metric: str = "return",
        settings: Mapping[str, Any] | None = None,
        run_identity: str = "0" * 16,
        forked: tuple[str, int] | None = None,
        starts: Sequence[Mapping[str, Any]] = (),
        name: str | None = None,
    ) -> Path:
        identity = {
            "seed": seed,
            "agent": {"name": "brc", "discount": discount, "batch_size": 32},
            "model": {"width": width, "depth": 2},
            "benchmark": {"name": benchmark, "tasks": list(tasks)},
        }
        identity["agent"] |= settings or {}
        high = {"return": 1000.0, "success": 0.5}[score_metric]  # see rows_of
        specs = [{"id": task, "norm_low": 0.0, "norm_high": high, "score_metric": score_metric} for task in tasks]
        manifest = {
            "version": layout.VERSION,
            "identity": run_identity,
            "identity_values": identity,
            "sizes": {"critic_params": width**2, "update_flops": 384 * width**2},
            "starts": [{**START, **start} for start in starts],
        }
        if forked is not None:
            identity["source"] = {"kind": "fork", "identity": forked[0], "env_steps": forked[1], "setting": "5" * 16}
            manifest["source"] = identity["source"]
        run = tmp_path / "runs" / benchmark / (name or f"brc-w{width}-d{discount}-t{len(tasks)}-s{seed}")
        (run / layout.CHECKPOINTS / "step-000000000").mkdir(parents=True)
        (run / layout.CHECKPOINTS / "step-000000000" / layout.MANIFEST).write_text("{}")
        (run / layout.CONFIG).write_text(json.dumps(identity))
        (run / layout.MANIFEST).write_text(json.dumps(manifest))
        (run / layout.TASKS).write_text(json.dumps({"tasks": specs}))
        (run / layout.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows_of(scores, tasks)))
        return run

    return write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where `write_run` writes."""
    return tmp_path / "runs"
