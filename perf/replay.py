"""Times replay: `python perf/replay.py`.

Prints transitions inserted and sampled per second, and bytes per transition, for vectors and for stacked frames, with
returns of one and of three steps. Medians of repeated timings in one run; compare ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from agents.replay.ring import Replay
from envs.spec import SpaceSpec
from envs.vector import Step

TASKS, ROWS, EPISODE = 4, 2_000, 500
REPEATS = 7
VECTORS = SpaceSpec((67,), "float32", 21, "continuous")
FRAMES = SpaceSpec((4, 84, 84), "uint8", 18, "discrete")


def per_second(function: Callable[[], object], count: int) -> float:
    """`count` over the median time of a call, after a warm-up."""
    function()
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return count / statistics.median(times)


def filled(space: SpaceSpec, n_step: int) -> Replay:
    """A replay whose ring has come round, of episodes of `EPISODE` steps."""
    replay = Replay(TASKS, space, ROWS, 10**6, discount=0.99, n_step=n_step)
    obs = np.ones((TASKS, *space.obs_shape), space.obs_dtype)
    replay.start(obs)
    insert(replay, space, ROWS + 100)
    return replay


def insert(replay: Replay, space: SpaceSpec, count: int) -> None:
    obs = np.ones((TASKS, *space.obs_shape), space.obs_dtype)
    action = np.zeros((TASKS, *space.action_shape), space.action_dtype)
    nothing = np.zeros(TASKS, bool)
    for number in range(count):
        over = np.full(TASKS, number % EPISODE == EPISODE - 1)
        replay.insert(action, Step(obs, obs, np.ones(TASKS, np.float32), over, nothing, over, nothing))


def main() -> None:
    rng = np.random.default_rng(0)
    for name, space, batch in (("vectors", VECTORS, 1024), ("frames", FRAMES, 256)):
        for n_step in (1, 3):
            replay = filled(space, n_step)
            sampled = per_second(lambda replay=replay, batch=batch: replay.sample(rng, 2, batch), 2 * batch)
            inserted = per_second(lambda replay=replay, space=space: insert(replay, space, 200), 200 * TASKS)
            size = sum(replay.nbytes().values()) / (TASKS * ROWS)
            print(
                f"{name:8s} {n_step} step{'s' if n_step > 1 else ' '}  sampled {sampled:10,.0f}/s  "
                f"inserted {inserted:10,.0f}/s  {size:,.0f} bytes a transition"
            )


if __name__ == "__main__":
    main()
