"""Replay of all tasks' transitions; every observation is stored once and the next one is found by index.

Of a stack of frames only the newest is stored, and the stack is put together again when it is sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.learner.types import Batch
from envs.spec import SpaceSpec
from envs.vector import Step


class Replay:
    """A ring over time: row `n % rows` holds transition `n` of every task, and the newest frame of its observation.

    A transition's successor is the observation of the next row, except at an episode's end, where it is kept in a
    side table. Memory is reserved but touched only as it fills, so it grows lazily.

    Args:
      num_tasks, space: sizes of a row.
      capacity: transitions per task after which the oldest is overwritten.
      budget: transitions per task that will ever be inserted; memory beyond it is not reserved.
      discount, n_step: of the returns that are sampled.
    """

    def __init__(
        self, num_tasks: int, space: SpaceSpec, capacity: int, budget: int, *, discount: float, n_step: int = 1
    ):
        self.capacity = capacity
        self.inserted = 0
        self._first = 0  # number of the first transition that can be sampled
        self._num_tasks = num_tasks
        self._space = space
        self._past = space.stack - 1  # rows before an observation's own that hold its older frames
        self._powers = np.power(discount, np.arange(n_step + 1)).astype(np.float32)
        # One row more for the observation that awaits its transition.
        self._rows = min(capacity, budget) + 1 + self._past
        shape = (self._rows, num_tasks)
        self._frames = np.zeros((*shape, *space.frame_shape), space.obs_dtype)
        self._action = np.zeros((*shape, *space.action_shape), space.action_dtype)
        self._reward = np.zeros(shape, np.float32)
        self._terminated = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self._final_slot = np.full(shape, -1, np.int32)  # of a transition that ends its episode
        self._final_frames = np.zeros((0, *space.frame_shape), space.obs_dtype)
        self._free_slots: list[int] = []

    def __len__(self) -> int:
        """Transitions per task that can be sampled."""
        return min(self.inserted - self._first, self.capacity)

    @property
    def oldest_row(self) -> int:
        """Number of the oldest row that sampling still reads."""
        return max(0, self.inserted - len(self) - self._past)

    def start(self, obs: np.ndarray) -> None:
        """The observation `[T, O]` that the next transition starts from."""
        self._frames[self.inserted % self._rows] = self._newest(obs)

    def insert(self, action: np.ndarray, step: Step) -> None:
        """Append one transition of every task, from the observation last given."""
        row, following = self.inserted % self._rows, (self.inserted + 1) % self._rows
        self._free(following)
        self._action[row] = action
        self._reward[row] = step.reward
        self._terminated[row] = step.terminated
        self._truncated[row] = step.truncated
        self._frames[following] = self._newest(step.obs)
        for task in np.flatnonzero(step.episode_over):
            self._put_final(row, int(task), self._newest(step.next_obs)[task])
        self.inserted += 1

    def _newest(self, obs: np.ndarray) -> np.ndarray:
        """What is stored of observations `[T, O]`."""
        return obs[:, -self._space.frame_shape[0] :]

    def sample(self, rng: np.random.Generator, updates: int, batch_size: int) -> Batch:
        """`[U, B]` transitions, uniform over (task, time), with replacement."""
        age = rng.integers(1, len(self) + 1, (updates, batch_size))
        task_ids = rng.integers(0, self._num_tasks, (updates, batch_size), np.int32)
        return self._gather(self.inserted - age, task_ids)

    def transitions(self, first: int, last: int) -> Batch:
        """Transitions `first` to `last` (exclusive) of all tasks, `[N, T]`, by their number since the run's start."""
        numbers = np.arange(first, last)[:, None]
        return self._gather(*np.broadcast_arrays(numbers, np.arange(self._num_tasks, dtype=np.int32)))

    def _gather(self, numbers: np.ndarray, task_ids: np.ndarray) -> Batch:
        """The transitions of these numbers and tasks, each `[...]`, with the returns of the steps that follow."""
        rows = numbers % self._rows
        reward, last, going = self._reward[rows, task_ids], numbers, np.ones(numbers.shape, bool)
        for power in self._powers[1:-1]:
            at = last % self._rows
            going = going & ~self._terminated[at, task_ids] & (self._final_slot[at, task_ids] < 0)
            going &= last + 1 < self.inserted
            last = last + going
            reward = reward + going * power * self._reward[last % self._rows, task_ids]
        at = last % self._rows
        terminated = self._terminated[at, task_ids] & ~self._truncated[at, task_ids]
        return Batch(
            obs=self._observations(numbers, task_ids),
            action=self._action[rows, task_ids],
            reward=reward,
            next_obs=self._successors(last, task_ids),
            discount=np.where(terminated, np.float32(0), self._powers[last - numbers + 1]),
            task_ids=task_ids,
        )

    def _observations(self, numbers: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
        """`[..., O]`: each row's frame and the frames before it, zeros where its episode had none yet."""
        past = np.arange(-self._past, 1)
        rows = (numbers[..., None] + past) % self._rows
        tasks = task_ids[..., None]
        frames = self._frames[rows, tasks]
        if self._past:
            # A frame is of the same episode if no transition from its row on ended one. Rows before the run's first are
            # zeros: they are not written while it can be sampled.
            ended = self._final_slot[rows[..., :-1], tasks] >= 0
            frames[..., :-1, :, :, :][np.logical_or.accumulate(ended[..., ::-1], axis=-1)[..., ::-1]] = 0
        return frames.reshape(*numbers.shape, *self._space.obs_shape)

    def _successors(self, numbers: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
        """`[..., O]`: what was seen after these transitions, also where it was the last of its episode."""
        obs = self._observations(numbers + 1, task_ids)
        slots = self._final_slot[numbers % self._rows, task_ids]
        final = slots >= 0
        if final.any():
            older = self._observations(numbers[final], task_ids[final])[:, self._space.frame_shape[0] :]
            obs[final] = np.concatenate([older, self._final_frames[slots[final]]], axis=1)
        return obs

    def _free(self, rows: np.ndarray | int) -> None:
        slots = self._final_slot[rows]
        self._free_slots.extend(slots[slots >= 0].tolist())
        self._final_slot[rows] = -1

    def _put_final(self, row: int, task: int, frame: np.ndarray) -> None:
        if not self._free_slots:
            old = len(self._final_frames)
            grown = np.zeros((max(2 * old, 4 * self._num_tasks), *self._space.frame_shape), self._space.obs_dtype)
            grown[:old] = self._final_frames
            self._final_frames = grown
            self._free_slots = list(range(len(grown) - 1, old - 1, -1))
        slot = self._free_slots.pop()
        self._final_frames[slot] = frame
        self._final_slot[row, task] = slot

    def export(self, first: int) -> dict[str, np.ndarray]:
        """Rows from number `first` on, for a checkpoint's segment; `merge` takes them back."""
        rows = np.arange(max(first, self.oldest_row), self.inserted) % self._rows
        slots = self._final_slot[rows]
        final = np.argwhere(slots >= 0)
        return {
            "obs": self._frames[rows],
            "action": self._action[rows],
            "reward": self._reward[rows],
            "terminated": self._terminated[rows],
            "truncated": self._truncated[rows],
            "final_at": final.astype(np.int64),
            "final_obs": self._final_frames[slots[slots >= 0]],
        }

    def merge(self, segment: dict[str, np.ndarray], first: int) -> None:
        """Append a segment whose first transition is number `first`; segments come in order, without gaps."""
        if first < self.inserted or (self.inserted > 0 and first != self.inserted):
            raise ValueError(f"replay segment starts at {first}, expected {self.inserted}")
        if self.inserted == 0 and first > 0:
            self._first = first + self._past  # the rows before it only have its older frames
        length = len(segment["reward"])
        skip = max(0, length - self._rows + 1)
        rows = np.arange(first + skip, first + length) % self._rows
        self._free(rows)
        self._free((first + length) % self._rows)
        self._frames[rows] = segment["obs"][skip:]
        self._action[rows] = segment["action"][skip:]
        self._reward[rows] = segment["reward"][skip:]
        self._terminated[rows] = segment["terminated"][skip:]
        self._truncated[rows] = segment["truncated"][skip:]
        for (offset, task), frame in zip(segment["final_at"], segment["final_obs"], strict=True):
            if offset >= skip:
                self._put_final(int(first + offset) % self._rows, int(task), frame)
        self.inserted = first + length

    @property
    def pending_obs(self) -> np.ndarray:
        """`[T, O]`, the observation that the next transition starts from."""
        return self._observations(np.full(self._num_tasks, self.inserted), np.arange(self._num_tasks))

    def nbytes(self) -> dict[str, Any]:
        """Bytes reserved, by array, for tests and plans."""
        return {name: array.nbytes for name, array in vars(self).items() if isinstance(array, np.ndarray)}
