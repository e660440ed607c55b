"""Times seeds trained side by side against the same seeds one after another: `python perf/seeds.py [WIDTH:BATCH ...]`.

Side by side with a compiled call for each seed, and with their states stacked. All ways are in one process and take
turns, so that what else the machine does meets each. A step is one of the training loop (environments, replay, updates,
rows), without evaluations and checkpoints; environments are in this process. Prints the steps of all seeds a second,
and the median over the rounds of their ratio to the steps one after another.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax

from agents.training import loop
from agents.training.lane import Lane
from agents.training.opening import open_lane, team_of
from agents.training.prepare import prepare
from conf.compose import compose, resolve_paths

SEEDS, ROUNDS, STEPS, WARM_UP = 4, 7, 10, 10
WAYS = ("side by side", "stacked")
SIZES = ("64:128", "128:256", "256:256")


def opened(
    folder: Path, width: int, batch_size: int, together: int, stacks: bool, stack: contextlib.ExitStack
) -> list[Lane]:
    """Return the lanes of all seeds.

    Args:
      folder: where the runs write.
      width: of critic and actor.
      batch_size: transitions in an update.
      together: seeds in a team.
      stacks: whether the team's states are stacked.
      stack: closes the lanes.
    """
    lanes = []
    for seed in range(SEEDS):
        overrides = [
            f"seed={seed}",
            f"model.width={width}",
            f"model.actor_width={width}",
            f"agent.batch_size={batch_size}",
            f"launcher.seeds_together={together}",
            f"train.random_steps={WARM_UP}",
            "env.backend=inline",
            "eval.parallel_episodes=1",
            "paths.compilation_cache=null",
            "tracking=off",
        ]
        prepared = prepare(resolve_paths(compose(overrides), folder / str(stacks)))
        prepared.run_dir.mkdir(parents=True)
        team = team_of(prepared, together, stacks) if seed % together == 0 else lanes[-1].team
        lanes.append(stack.enter_context(contextlib.closing(open_lane(prepared, team, lambda: False))))
    return lanes


def seconds(step: Callable[[], None], lanes: list[Lane]) -> float:
    """Return the time of `STEPS` steps of every seed, with the last updates awaited."""
    begun = time.perf_counter()
    step()
    jax.block_until_ready([lane.seat.acting for lane in lanes])
    return time.perf_counter() - begun


def steps_of(lanes: list[Lane], count: int) -> None:
    """Take steps of lanes that are side by side."""
    going = loop.Going(lanes, loop.raise_error)
    for _ in range(count):
        loop.step(going)


def compare(width: int, batch_size: int) -> None:
    """Print how many steps a second both ways take at one size."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        alone = opened(Path(folder), width, batch_size, 1, False, stack)
        ways = {name: opened(Path(folder), width, batch_size, SEEDS, name == "stacked", stack) for name in WAYS}

        def in_turn(count: int = STEPS) -> None:
            for lane in alone:
                steps_of([lane], count)

        in_turn(WARM_UP + 3)
        for lanes in ways.values():
            steps_of(lanes, WARM_UP + 3)
        by_turns: list[float] = []
        found: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            by_turns.append(seconds(in_turn, alone))
            for name, lanes in ways.items():
                found[name].append(seconds(lambda lanes=lanes: steps_of(lanes, STEPS), lanes))
        rate = SEEDS * STEPS / statistics.median(by_turns)
        said = f"width {width:4d} batch {batch_size:4d}  in turn {rate:6.1f} steps/s"
        for name, times in found.items():
            ratio = statistics.median(before / now for before, now in zip(by_turns, times, strict=True))
            said += f"  {name} {SEEDS * STEPS / statistics.median(times):6.1f} ({ratio:.2f})"
        print(said, flush=True)


if __name__ == "__main__":
    print(f"{SEEDS} seeds, {jax.devices()[0].device_kind}, {compose([]).agent.updates_per_step} updates a step")
    for size in sys.argv[1:] or SIZES:
        compare(*map(int, size.split(":")))
