"""Times replay against a padded layout: `python perf/replay.py`.

Prints transitions inserted and sampled per second, and bytes per transition, of replay as it is (each task in its own
width) and of the plain layout that pads every task to the widest (`PaddedReplay`). The two take turns in one process,
so that their ratio is fair whatever else the machine does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from agents.learner.types import Batch
from agents.replay.ring import Replay
from envs import registry
from envs.spec import SpaceSpec, TaskSpec
from envs.vector import Step

EPISODE = 500
STEPS = 100  # inserted in a turn
UPDATES = 2


class PaddedReplay:
    """The same transitions with every task padded to the widest; of what replay does, inserting and sampling."""

    def __init__(self, specs: Sequence[TaskSpec], capacity: int, budget: int, *, discount: float, n_step: int = 1):
        space = SpaceSpec.of(specs)
        self.space, self.capacity, self.inserted = space, capacity, 0
        self.past = space.stack - 1
        self.powers = np.power(discount, np.arange(n_step + 1)).astype(np.float32)
        self.rows = min(capacity, budget) + 1 + self.past
        self.num_tasks = len(specs)
        frame_shape = (space.obs_shape[0] // space.stack, *space.obs_shape[1:])
        self.newest = frame_shape[0]
        shape = (self.rows, len(specs))
        self.frames = np.zeros((*shape, *frame_shape), space.obs_dtype)
        self.action = np.zeros((*shape, *space.action_shape), space.action_dtype)
        self.reward = np.zeros(shape, np.float32)
        self.terminated, self.truncated = np.zeros(shape, bool), np.zeros(shape, bool)
        self.final_slot = np.full(shape, -1, np.int32)
        self.final_frames = np.zeros((4 * len(specs), *frame_shape), space.obs_dtype)
        self.free_slots = list(range(4 * len(specs)))

    def start(self, obs: np.ndarray) -> None:
        self.frames[self.inserted % self.rows] = obs[:, -self.newest :]

    def insert(self, action: np.ndarray, step: Step) -> None:
        row, following = self.inserted % self.rows, (self.inserted + 1) % self.rows
        slots = self.final_slot[following]
        self.free_slots.extend(slots[slots >= 0].tolist())
        self.final_slot[following] = -1
        self.action[row], self.reward[row] = action, step.reward
        self.terminated[row], self.truncated[row] = step.terminated, step.truncated
        self.frames[following] = step.obs[:, -self.newest :]
        for task in np.flatnonzero(step.episode_over):
            if not self.free_slots:
                old = len(self.final_frames)
                self.final_frames = np.concatenate([self.final_frames, np.zeros_like(self.final_frames)])
                self.free_slots = list(range(2 * old - 1, old - 1, -1))
            slot = self.free_slots.pop()
            self.final_frames[slot] = step.next_obs[task, -self.newest :]
            self.final_slot[row, task] = slot
        self.inserted += 1

    def sample(self, rng: np.random.Generator, updates: int, batch_size: int) -> Batch:
        age = rng.integers(1, min(self.inserted, self.capacity) + 1, (updates, batch_size))
        tasks = rng.integers(0, self.num_tasks, (updates, batch_size), np.int32)
        numbers = self.inserted - age
        rows = numbers % self.rows
        reward, last, going = self.reward[rows, tasks], numbers, np.ones(numbers.shape, bool)
        for power in self.powers[1:-1]:
            at = last % self.rows
            going = going & ~self.terminated[at, tasks] & (self.final_slot[at, tasks] < 0)
            going &= last + 1 < self.inserted
            last = last + going
            reward = reward + going * power * self.reward[last % self.rows, tasks]
        at = last % self.rows
        terminated = self.terminated[at, tasks] & ~self.truncated[at, tasks]
        next_obs = self._observations(last + 1, tasks)
        slots = self.final_slot[at, tasks]
        final = slots >= 0
        if final.any():
            older = self._observations(last[final], tasks[final])[:, self.newest :]
            next_obs[final] = np.concatenate([older, self.final_frames[slots[final]]], axis=1)
        discount = np.where(terminated, np.float32(0), self.powers[last - numbers + 1])
        return Batch(self._observations(numbers, tasks), self.action[rows, tasks], reward, next_obs, discount, tasks)

    def _observations(self, numbers: np.ndarray, tasks: np.ndarray) -> np.ndarray:
        rows = (numbers[..., None] + np.arange(-self.past, 1)) % self.rows
        frames = self.frames[rows, tasks[..., None]]
        if self.past:
            ended = self.final_slot[rows[..., :-1], tasks[..., None]] >= 0
            frames[..., :-1, :, :, :][np.logical_or.accumulate(ended[..., ::-1], axis=-1)[..., ::-1]] = 0
        return frames.reshape(*numbers.shape, *self.space.obs_shape)

    def nbytes(self) -> dict[str, int]:
        return {name: array.nbytes for name, array in vars(self).items() if isinstance(array, np.ndarray)}


AnyReplay = Replay | PaddedReplay


def workloads() -> dict[str, tuple[list[TaskSpec], int, int]]:
    """Tasks, batch size and rows of the ring, by name."""
    from conf.compose import compose

    def tasks(benchmark: str) -> list[TaskSpec]:
        return registry.specs(compose([f"benchmark={benchmark}"]).benchmark.task_ids)

    humanoids = [registry.spec(f"dmc/humanoid-{name}") for name in ("stand", "walk", "run", "run")]
    return {
        "4 humanoids": (humanoids, 1024, 20_000),
        "dmc_hard": (tasks("dmc_hard"), 1024, 10_000),
        "metaworld": (tasks("metaworld"), 1024, 4_000),
        "metaworld_dmc": (tasks("metaworld_dmc"), 1024, 4_000),
        "frames": ([registry.spec("pixels/catch")] * 4, 256, 2_000),
    }


def insert(replay: AnyReplay, specs: Sequence[TaskSpec], count: int) -> None:
    """Insert `count` made-up steps of all tasks."""
    space, num_tasks = SpaceSpec.of(specs), len(specs)
    obs = np.ones((num_tasks, *space.obs_shape), space.obs_dtype)
    action = np.zeros((num_tasks, *space.action_shape), space.action_dtype)
    nothing = np.zeros(num_tasks, bool)
    for number in range(count):
        over = np.full(num_tasks, number % EPISODE == EPISODE - 1)
        replay.insert(action, Step(obs, obs, np.ones(num_tasks, np.float32), over, nothing, over, nothing, nothing))


def filled(kind: type[AnyReplay], specs: Sequence[TaskSpec], rows: int, n_step: int) -> AnyReplay:
    """A replay whose ring has come round, of episodes of `EPISODE` steps.

    Args:
      kind: ragged or padded.
      specs: the tasks.
      rows: transitions per task that it holds.
      n_step: rewards in a return.
    """
    space = SpaceSpec.of(specs)
    replay = kind(specs, rows, 10**6, discount=0.99, n_step=n_step)
    replay.start(np.ones((len(specs), *space.obs_shape), space.obs_dtype))
    insert(replay, specs, rows + 100)
    return replay


def per_second(functions: Sequence[Callable[[], object]], count: int, turns: int) -> list[float]:
    """`count` over the median time of a call of each function; they take turns."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(turns + 1):
        for function, own in zip(functions, times, strict=True):
            begun = time.perf_counter()
            function()
            if turn:  # the first is a warm-up
                own.append(time.perf_counter() - begun)
    return [count / statistics.median(own) for own in times]


def main() -> None:
    parser = argparse.ArgumentParser(description="Times replay against a padded layout.")
    parser.add_argument("--turns", type=int, default=40, help="of each timing; default: %(default)s")
    turns: int = parser.parse_args().turns
    rng = np.random.default_rng(0)
    print(f"{'':24s}{'sampled/s':>32s}{'inserted/s':>32s}{'bytes a transition':>26s}")
    print(f"{'':24s}" + f"{'padded':>12s}{'ragged':>12s}{'ratio':>8s}" * 2 + f"{'padded':>13s}{'ragged':>13s}")
    for name, (specs, batch, rows) in workloads().items():
        for n_step in (1, 3):
            both = [filled(kind, specs, rows, n_step) for kind in (PaddedReplay, Replay)]
            samples = [partial(one.sample, rng, UPDATES, batch) for one in both]
            inserts = [partial(insert, one, specs, STEPS) for one in both]
            line = f"{name:16s} {n_step} step{'s' if n_step > 1 else ' '}"
            for functions, count in ((samples, UPDATES * batch), (inserts, STEPS * len(specs))):
                padded, ragged = per_second(functions, count, turns)
                line += f"{padded:12,.0f}{ragged:12,.0f}{ragged / padded:7.2f}x"
            for one in both:
                line += f"{sum(one.nbytes().values()) / (len(specs) * rows):13,.0f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
