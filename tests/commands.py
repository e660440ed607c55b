"""Runs the project's commands as a user does, on settings small enough for a test."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from records import layout

TINY = [
    "benchmark.tasks=[cartpole-balance,ball_in_cup-catch]",
    "model.width=8",
    "model.depth=1",
    "model.actor_width=8",
    "agent.batch_size=16",
    "agent.updates_per_step=1",
    "train.env_steps=1300",
    "train.random_steps=100",
    "train.log_every_steps=50",
    "eval.every_steps=400",
    "eval.episodes=2",
    "eval.max_episode_steps=50",
    "report=false",
]
TINY_DISCRETE = [
    "benchmark=catch",
    "model.width=8",
    "model.depth=0",
    "model.encoder_channels=2",
    "model.encoder_stride=12",
    "agent.batch_per_task=4",
    "agent.updates_per_step=1",
    "agent.image_shift=2",
    "agent.eval_epsilon=0.3",
    "train.env_steps=1300",
    "train.random_steps=100",
    "train.replay_capacity=350",
    "train.log_every_steps=50",
    "eval.every_steps=400",
    "eval.episodes=2",
    "report=false",
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "agents.run", *arguments]


def run(
    folder: Path, *arguments: str, timeout_s: float = 300, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m agents.run` in a folder."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | (environment or {}),
    )


@contextlib.contextmanager
def living(*arguments: str, limit_s: float = 60, **options: Any) -> Iterator[subprocess.Popen]:
    """A process that is stopped after the block, and in it after `limit_s`, so that nobody waits for it in vain."""
    process = subprocess.Popen(arguments, **options)
    limit = threading.Timer(limit_s, process.terminate)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.terminate()  # and not killed: a sweep's command stops its runs first
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def only_run(folder: Path) -> Path:
    """The one run directory below `folder`."""
    (config,) = folder.glob("runs/*/*/config.json")
    return config.parent


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def newest_state(run_dir: Path) -> dict[str, np.ndarray]:
    """All arrays of the newest checkpoint but replay."""
    with np.load(max(run_dir.glob("checkpoints/step-*")) / "state.npz") as file:
        return dict(file)


def replay_contents(run_dir: Path) -> dict[str, np.ndarray]:
    """Replay's transitions in order, whatever the segments they were written in."""
    segments = [np.load(path) for path in sorted(run_dir.glob("checkpoints/replay/*.npz"))]
    names = ("obs", "action", "reward", "terminated", "truncated", "final_obs")
    return {name: np.concatenate([segment[name] for segment in segments]) for name in names}


def mirrored_once(run_dir: Path) -> None:
    """Assert that MLflow's history of every metric is the metrics file, each row once."""
    from mlflow.tracking import MlflowClient

    ((uri, state),) = json.loads((run_dir / layout.TRACKING).read_text()).items()
    client = MlflowClient(uri)
    expected: dict[str, list[tuple[int, float]]] = {}
    for row in rows(run_dir / layout.METRICS):
        key = row["name"] if row["task"] is None else f"{row['name']}/{row['task'].split('/')[1]}"
        expected.setdefault(key, []).append((row["env_steps"], row["value"]))
    for key, values in expected.items():
        history = sorted((point.step, point.value) for point in client.get_metric_history(state["run_id"], key))
        assert [step for step, _ in history] == [step for step, _ in sorted(values)], key
        assert [value for _, value in history] == pytest.approx([value for _, value in sorted(values)]), key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(true: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll; fail with `what` was waited for."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s in vain: {what}"
        time.sleep(0.1)
