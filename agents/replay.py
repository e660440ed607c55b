"""Replay of all tasks' transitions; every observation is stored once and the next one is found by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.types import Batch
from envs.spec import SpaceSpec
from envs.vector import Step


class Replay:
    """A ring over time: row `n % rows` holds transition `n` of every task, and its observation.

    A transition's successor is the observation of the next row, except at an episode's end, where it is kept in a
    side table. Memory is reserved but touched only as it fills, so it grows lazily.

    Args:
      num_tasks, space: sizes of a row.
      capacity: transitions per task after which the oldest is overwritten.
      budget: transitions per task that will ever be inserted; memory beyond it is not reserved.
    """

    def __init__(self, num_tasks: int, space: SpaceSpec, capacity: int, budget: int):
        self.capacity = capacity
        self.inserted = 0
        self._first = 0  # number of the first transition ever given
        self._num_tasks = num_tasks
        self._space = space
        self._rows = min(capacity, budget) + 1  # one for the observation that awaits its transition
        shape = (self._rows, num_tasks)
        self._obs = np.zeros((*shape, *space.obs_shape), space.obs_dtype)
        self._action = np.zeros((*shape, *space.action_shape), space.action_dtype)
        self._reward = np.zeros(shape, np.float32)
        self._terminated = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self._final_slot = np.full(shape, -1, np.int32)
        self._final_obs = np.zeros((0, *space.obs_shape), space.obs_dtype)
        self._free_slots: list[int] = []

    def __len__(self) -> int:
        """Transitions per task that can be sampled."""
        return min(self.inserted - self._first, self.capacity)

    def start(self, obs: np.ndarray) -> None:
        """The observation `[T, O]` that the next transition starts from."""
        self._obs[self.inserted % self._rows] = obs

    def insert(self, action: np.ndarray, step: Step) -> None:
        """Append one transition of every task, from the observation last given."""
        row, following = self.inserted % self._rows, (self.inserted + 1) % self._rows
        self._free(following)
        self._action[row] = action
        self._reward[row] = step.reward
        self._terminated[row] = step.terminated
        self._truncated[row] = step.truncated
        self._obs[following] = step.obs
        for task in np.flatnonzero(step.episode_over):
            self._put_final(row, int(task), step.next_obs[task])
        self.inserted += 1

    def sample(self, rng: np.random.Generator, updates: int, batch_size: int) -> Batch:
        """`[U, B]` transitions, uniform over (task, time), with replacement."""
        age = rng.integers(1, len(self) + 1, (updates, batch_size))
        task_ids = rng.integers(0, self._num_tasks, (updates, batch_size), np.int32)
        return self._gather((self.inserted - age) % self._rows, task_ids)

    def transitions(self, first: int, last: int) -> Batch:
        """Transitions `first` to `last` (exclusive) of all tasks, `[N, T]`, by their number since the run's start."""
        rows = np.arange(first, last)[:, None] % self._rows
        return self._gather(*np.broadcast_arrays(rows, np.arange(self._num_tasks, dtype=np.int32)))

    def _gather(self, rows: np.ndarray, task_ids: np.ndarray) -> Batch:
        next_obs = self._obs[(rows + 1) % self._rows, task_ids]
        slots = self._final_slot[rows, task_ids]
        final = slots >= 0
        if final.any():
            next_obs[final] = self._final_obs[slots[final]]
        terminated = self._terminated[rows, task_ids] & ~self._truncated[rows, task_ids]
        return Batch(
            obs=self._obs[rows, task_ids],
            action=self._action[rows, task_ids],
            reward=self._reward[rows, task_ids],
            next_obs=next_obs,
            mask=1 - terminated.astype(np.float32),
            task_ids=task_ids,
        )

    def _free(self, rows: np.ndarray | int) -> None:
        slots = self._final_slot[rows]
        self._free_slots.extend(slots[slots >= 0].tolist())
        self._final_slot[rows] = -1

    def _put_final(self, row: int, task: int, obs: np.ndarray) -> None:
        if not self._free_slots:
            old = len(self._final_obs)
            grown = np.zeros((max(2 * old, 4 * self._num_tasks), *self._space.obs_shape), self._space.obs_dtype)
            grown[:old] = self._final_obs
            self._final_obs = grown
            self._free_slots = list(range(len(grown) - 1, old - 1, -1))
        slot = self._free_slots.pop()
        self._final_obs[slot] = obs
        self._final_slot[row, task] = slot

    def export(self, first: int) -> dict[str, np.ndarray]:
        """Everything inserted since transition `first`, for a checkpoint's segment; `merge` takes it back."""
        rows = np.arange(max(first, self.inserted - len(self)), self.inserted) % self._rows
        slots = self._final_slot[rows]
        final = np.argwhere(slots >= 0)
        return {
            "obs": self._obs[rows],
            "action": self._action[rows],
            "reward": self._reward[rows],
            "terminated": self._terminated[rows],
            "truncated": self._truncated[rows],
            "final_at": final.astype(np.int64),
            "final_obs": self._final_obs[slots[slots >= 0]],
        }

    def merge(self, segment: dict[str, np.ndarray], first: int) -> None:
        """Append a segment whose first transition is number `first`; segments come in order, without gaps."""
        if first < self.inserted or (self.inserted > 0 and first != self.inserted):
            raise ValueError(f"replay segment starts at {first}, expected {self.inserted}")
        if self.inserted == 0:
            self._first = first
        length = len(segment["reward"])
        skip = max(0, length - self._rows + 1)
        rows = np.arange(first + skip, first + length) % self._rows
        self._free(rows)
        self._free((first + length) % self._rows)
        self._obs[rows] = segment["obs"][skip:]
        self._action[rows] = segment["action"][skip:]
        self._reward[rows] = segment["reward"][skip:]
        self._terminated[rows] = segment["terminated"][skip:]
        self._truncated[rows] = segment["truncated"][skip:]
        for (offset, task), obs in zip(segment["final_at"], segment["final_obs"], strict=True):
            if offset >= skip:
                self._put_final(int(first + offset) % self._rows, int(task), obs)
        self.inserted = first + length

    @property
    def pending_obs(self) -> np.ndarray:
        """`[T, O]`, the observation that the next transition starts from."""
        return self._obs[self.inserted % self._rows]

    def nbytes(self) -> dict[str, Any]:
        """Bytes reserved, by array, for tests and plans."""
        return {name: array.nbytes for name, array in vars(self).items() if isinstance(array, np.ndarray)}
