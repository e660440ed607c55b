"""Times what a step of HumanoidBench's tasks takes outside of MuJoCo: `python perf/humanoidbench.py [NAME ...]`.

Prints for each task the time of a step of random actions, and which share of the step is not MuJoCo's `mj_step`; then
the medians over the tasks without hands and over those with hands.
"""

from __future__ import annotations

import statistics
import sys
import time

import mujoco
import numpy as np

from envs import registry
from envs.suites.humanoidbench import TASKS

STEPS = 300


class Stopwatch:
    """Stands in for a function, and adds up the seconds that its calls take."""

    def __init__(self, function):
        self._function = function
        self.seconds = 0.0

    def __call__(self, *arguments) -> None:
        begun = time.perf_counter()
        self._function(*arguments)
        self.seconds += time.perf_counter() - begun


def measured(name: str, physics: Stopwatch) -> tuple[float, float]:
    """Return the seconds of a step of random actions, resets left out, and the share of them outside of the physics."""
    spec = registry.spec(f"humanoidbench/{name}")
    env = registry.make(spec)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, spec.action_dim)).astype(np.float32)
    env.reset(seed=0)
    physics.seconds = whole = 0.0
    for number, action in enumerate(actions):
        begun = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        whole += time.perf_counter() - begun
        if terminated or truncated:
            env.reset(seed=number)
    return whole / STEPS, 1 - physics.seconds / whole


def main() -> None:
    physics = Stopwatch(mujoco.mj_step)  # pyright: ignore[reportAttributeAccessIssue]
    mujoco.mj_step = physics  # pyright: ignore[reportAttributeAccessIssue]
    shares: dict[str, list[float]] = {"h1": [], "h1hand": []}
    for name in sys.argv[1:] or TASKS:
        seconds, share = measured(name, physics)
        shares[name.split("-")[0]].append(share)
        print(f"{name:24s} {seconds * 1e3:6.2f} ms a step, {share:5.1%} outside of mj_step", flush=True)
    for robot, found in shares.items():
        if found:
            print(f"{robot:24s} median over {len(found)} tasks: {statistics.median(found):5.1%} outside of mj_step")


if __name__ == "__main__":
    main()
