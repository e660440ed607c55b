"""Times the learner's update: `python perf/update.py`.

Prints milliseconds per update at several sizes, each beside the same updates dispatched one by one (what the scan over
`U` saves), and the two ways to project a distribution. Medians of repeated timings in one run; compare ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from agents.learner import brc, losses
from agents.learner.types import Batch
from conf.compose import compose
from envs.spec import TaskSpec

UPDATES, TASKS, OBS, ACTION = 4, 4, 24, 6
REPEATS, CALLS = 7, 10


def milliseconds(function: Callable[[], Any]) -> float:
    """Median time of a call whose result is awaited, after a warm-up."""
    jax.block_until_ready(function())
    times, result = [], None
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for _ in range(CALLS):
            result = function()
        jax.block_until_ready(result)
        times.append((time.perf_counter() - begun) / CALLS * 1e3)
    return statistics.median(times)


def task(number: int) -> TaskSpec:
    """Return a task of the sizes that are timed."""
    return TaskSpec(f"timed/{number}", (OBS,), ACTION, 1000, "return", 0.0, 1000.0, None, "perf/update.py")


def batches(batch_size: int) -> Batch:
    """Return random batches `[U, B, ...]`."""
    rng = np.random.default_rng(0)
    shape = (UPDATES, batch_size)
    return Batch(
        obs=rng.normal(size=(*shape, OBS)).astype(np.float32),
        action=rng.uniform(-1, 1, (*shape, ACTION)).astype(np.float32),
        reward=rng.normal(size=shape).astype(np.float32),
        next_obs=rng.normal(size=(*shape, OBS)).astype(np.float32),
        discount=np.full(shape, 0.99, np.float32),
        task_ids=rng.integers(TASKS, size=shape).astype(np.int32),
    )


def time_updates(width: int, batch_size: int) -> None:
    """Print what an update takes, in one call for several and one by one."""
    config = compose(["benchmark=dmc_hard", f"model.width={width}", f"model.actor_width={width}"])
    settings = brc.settings(config, [task(number) for number in range(TASKS)])
    state = brc.init(settings, jax.random.key(0))
    scale = np.ones(TASKS, np.float32)
    together = batches(batch_size)
    single = [jax.tree.map(lambda values, index=index: values[index : index + 1], together) for index in range(UPDATES)]

    def scanned() -> Any:
        nonlocal state
        state, metrics = brc.update(settings, state, together, scale)
        return metrics

    def one_by_one() -> Any:
        nonlocal state
        metrics = {}
        for batch in single:
            state, metrics = brc.update(settings, state, batch, scale)
        return metrics

    scan_ms, single_ms = milliseconds(scanned) / UPDATES, milliseconds(one_by_one) / UPDATES
    ratio = single_ms / scan_ms
    print(f"update  width {width:4d} batch {batch_size:4d}  {scan_ms:7.2f} ms  one by one / scan {ratio:.2f}")


def time_projection(batch_size: int, num_bins: int = 101) -> None:
    """Print how long the two ways to project a target take."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(num_bins), batch_size).astype(np.float32)
    position = rng.uniform(0, num_bins - 1, (batch_size, num_bins)).astype(np.float32)
    by_sum, by_scatter = jax.jit(losses.spread_by_sum), jax.jit(losses.spread_by_scatter)
    sum_ms = milliseconds(lambda: by_sum(probs, position))
    scatter_ms = milliseconds(lambda: by_scatter(probs, position))
    ratio = sum_ms / scatter_ms
    print(f"project batch {batch_size:4d}  sum {sum_ms:.3f} ms  scatter {scatter_ms:.3f} ms  ratio {ratio:.2f}")


if __name__ == "__main__":
    print(f"{jax.devices()[0].device_kind}, {UPDATES} updates a call")
    for size in ((64, 128), (128, 128), (128, 256), (256, 256)):
        time_updates(*size)
    for rows in (128, 1024):
        time_projection(rows)
