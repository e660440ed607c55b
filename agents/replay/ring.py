"""Replay of all tasks' transitions; every observation is stored once and the next one is found by index.

Only the newest frame of a stack of frames is stored, and the stack is put together again when it is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.learner.types import Batch
from agents.replay.finals import Finals
from agents.replay.gather import Columns, Indices, Layout, Store, gather
from agents.replay.storage import empty
from envs.spec import SpaceSpec, TaskSpec
from envs.vector import Step


class Replay:
    """A ring over time: row `n % rows` holds transition `n` of every task, and the newest frame of its observation.

    A transition's successor is the observation of the next row, except at an episode's end, where it is kept in a pool
    of its own. Memory is reserved but touched only as it fills, so it grows lazily.

    Args:
      specs: `[T]`, the tasks.
      capacity: transitions per task after which the oldest is overwritten.
      budget: transitions per task that will ever be inserted; memory beyond it is not reserved.
      discount: of the returns that are sampled.
      n_step: rewards in such a return; fewer where an episode ends.
      surplus_actions: keep what the policy says beyond a task's own action components. The environment ignores those
        numbers, but BRC's critic learns from them. Without, batches have zeros there, which takes no memory.
      folder: where observations and actions are kept in files instead of memory.
    """

    def __init__(
        self,
        specs: Sequence[TaskSpec],
        capacity: int,
        budget: int,
        *,
        discount: float,
        n_step: int = 1,
        surplus_actions: bool = True,
        folder: Path | None = None,
    ):
        space = SpaceSpec.of(specs)
        frames = Columns([spec.frame_width for spec in specs])
        own = [spec.action_width for spec in specs]
        actions = Columns([max(own)] * len(specs) if surplus_actions else own)
        self.capacity = capacity
        self.inserted = 0
        self._first = 0  # number of the first transition that can be sampled
        self._num_tasks = len(specs)
        self._past = space.stack - 1  # rows before an observation's own that hold its older frames
        self._layout = Layout(frames, actions, space.obs_shape, space.action_shape, space.stack)
        self._powers = np.power(discount, np.arange(n_step + 1)).astype(np.float32)
        # One row more for the observation that awaits its transition.
        self._rows = min(capacity, budget) + 1 + self._past
        shape = (self._rows, self._num_tasks)
        self._frames = empty((self._rows, frames.total), space.obs_dtype, folder)
        self._actions = empty((self._rows, actions.total), space.action_dtype, folder)
        self._reward = np.zeros(shape, np.float32)
        self._terminated = np.zeros(shape, bool)
        self._truncated = np.zeros(shape, bool)
        self._final_slot = np.full(shape, -1, np.int32)  # of a transition that ends its episode
        self._finals = Finals(frames, space.obs_dtype)

    def __len__(self) -> int:
        """Transitions per task that can be sampled."""
        return min(self.inserted - self._first, self.capacity)

    @property
    def oldest_row(self) -> int:
        """Number of the oldest row that sampling still reads."""
        return max(0, self.inserted - len(self) - self._past)

    @property
    def store(self) -> Store:
        """The large arrays, which `gather` reads."""
        return Store(self._layout, self._frames, self._actions, self._finals.pool)

    def start(self, obs: np.ndarray) -> None:
        """Take the observation `[T, O]` that the next transition starts from."""
        self._layout.frames.pack(self._newest(obs), self._frames[self.inserted % self._rows])

    def insert(self, action: np.ndarray, step: Step) -> None:
        """Append one transition of every task, from the observation last given.

        Args:
          action: `[T, A]`, or `[T]` discrete ones.
          step: what followed.
        """
        row, following = self.inserted % self._rows, (self.inserted + 1) % self._rows
        self._release(following)
        self._layout.actions.pack(action, self._actions[row])
        self._reward[row] = step.reward
        self._terminated[row] = step.terminated
        self._truncated[row] = step.truncated
        self._layout.frames.pack(self._newest(step.obs), self._frames[following])
        for task in step.episode_over.nonzero()[0].tolist():
            frame = self._newest(step.next_obs)[task].reshape(-1)
            self._put_final(row, task, frame[: self._layout.frames.widths[task]])
        self.inserted += 1

    def _newest(self, obs: np.ndarray) -> np.ndarray:
        """What is stored of observations `[T, O]`."""
        return obs[:, -1:] if self._past else obs

    def sample(self, rng: np.random.Generator, updates: int, batch_size: int) -> Batch:
        """`[U, B]` transitions, uniform over (task, time), with replacement."""
        return gather(np, self.store, self.draw(rng, updates, batch_size))

    def sample_by_task(self, rng: np.random.Generator, count: int) -> Batch:
        """`[T, count]` transitions, as many of each task, uniform over time, with replacement."""
        age = rng.integers(1, len(self) + 1, (self._num_tasks, count))
        task_ids = np.repeat(np.arange(self._num_tasks, dtype=np.int32)[:, None], count, axis=1)
        return gather(np, self.store, self.locate(self.inserted - age, task_ids))

    def draw(self, rng: np.random.Generator, updates: int, batch_size: int) -> Indices:
        """Which transitions `[U, B]` to gather: uniform over (task, time), with replacement."""
        age = rng.integers(1, len(self) + 1, (updates, batch_size))
        task_ids = rng.integers(0, self._num_tasks, (updates, batch_size), np.int32)
        return self.locate(self.inserted - age, task_ids)

    def locate(self, numbers: np.ndarray, task_ids: np.ndarray) -> Indices:
        """Where the transitions of these numbers and tasks `[...]` are, with the returns of the steps that follow."""
        last, cells = numbers, numbers % self._rows * self._num_tasks + task_ids
        reward = self._reward.reshape(-1).take(cells)
        if len(self._powers) > 2:
            last, cells, reward = self._returns(last, cells, task_ids, reward)
        slots = self._final_slot.reshape(-1).take(cells)
        terminated = self._terminated.reshape(-1).take(cells) & ~self._truncated.reshape(-1).take(cells)
        final_at = np.full(numbers.shape, -1)
        ended = slots >= 0
        final_at[ended] = self._finals.starts[slots[ended]]
        obs_rows, obs_unseen = self._stack(numbers, task_ids)
        next_rows, next_unseen = (obs_rows, obs_unseen) if last is numbers else self._stack(last, task_ids)
        newest = (last + 1) % self._rows
        return Indices(
            task_ids=task_ids,
            rows=obs_rows[..., -1],
            obs_rows=obs_rows,
            obs_unseen=obs_unseen[..., :-1],
            next_rows=np.concatenate([next_rows[..., 1:], newest[..., None]], axis=-1),
            next_unseen=next_unseen[..., 1:],
            final_at=final_at,
            reward=reward,
            discount=np.where(terminated, np.float32(0), self._powers[last - numbers + 1]),
        )

    def _returns(
        self, last: np.ndarray, cells: np.ndarray, task_ids: np.ndarray, reward: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Follow transitions while their episodes go on: number and cell of each return's last one, and the returns.

        Args:
          last: `[...]`, numbers of the first transitions.
          cells: their places in arrays `[R * T]`.
          task_ids: their tasks.
          reward: their rewards.
        """
        going = np.ones(last.shape, bool)
        for power in self._powers[1:-1]:
            going = going & ~self._terminated.reshape(-1).take(cells) & (self._final_slot.reshape(-1).take(cells) < 0)
            going &= last + 1 < self.inserted
            last = last + going
            cells = last % self._rows * self._num_tasks + task_ids
            reward = reward + going * power * self._reward.reshape(-1).take(cells)
        return last, cells, reward

    def _stack(self, numbers: np.ndarray, task_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows `[..., stack]` of the frames seen at these transitions, and which are of another episode.

        A frame is of the same episode if no transition from its row on ended one. Rows before the run's first are
        zeros: they are not written while it can be sampled.
        """
        rows = (numbers[..., None] + np.arange(-self._past, 1)) % self._rows
        unseen = np.zeros(rows.shape, bool)
        if self._past:
            ended = self._final_slot[rows[..., :-1], task_ids[..., None]] >= 0
            unseen[..., :-1] = np.logical_or.accumulate(ended[..., ::-1], axis=-1)[..., ::-1]
        return rows, unseen

    def _release(self, rows: np.ndarray | int) -> None:
        """Let the final frames of these rows go."""
        slots = self._final_slot[rows]
        if slots.max(initial=-1) >= 0:
            for at in np.argwhere(slots >= 0):
                self._finals.release(int(slots[tuple(at)]), int(at[-1]))
            self._final_slot[rows] = -1

    def _put_final(self, row: int, task: int, frame: np.ndarray) -> None:
        self._final_slot[row, task] = self._finals.put(task, frame)

    def export(self, first: int) -> dict[str, np.ndarray]:
        """Rows from number `first` on, for a checkpoint's segment; `merge` takes them back.

        The last frames of episodes are one after another, each in its task's own width.
        """
        rows = np.arange(max(first, self.oldest_row), self.inserted) % self._rows
        slots = self._final_slot[rows]
        final = np.argwhere(slots >= 0)
        frames = [self._finals.take(int(slots[row, task]), int(task)) for row, task in final]
        return {
            "obs": self._frames[rows],
            "action": self._actions[rows],
            "reward": self._reward[rows],
            "terminated": self._terminated[rows],
            "truncated": self._truncated[rows],
            "final_at": final.astype(np.int64),
            "final_obs": np.concatenate([self._finals.pool[:0], *frames]),
        }

    def merge(self, segment: dict[str, np.ndarray], first: int) -> None:
        """Append a segment whose first transition is number `first`; segments come in order, without gaps.

        Raises:
          ValueError: there is a gap, or the segment was there already.
        """
        if first < self.inserted or (self.inserted > 0 and first != self.inserted):
            raise ValueError(f"replay segment starts at {first}, expected {self.inserted}")
        if self.inserted == 0 and first > 0:
            self._first = first + self._past  # the rows before it only have its older frames
        length = len(segment["reward"])
        skip = max(0, length - self._rows + 1)
        rows = np.arange(first + skip, first + length) % self._rows
        self._release(rows)
        self._release((first + length) % self._rows)
        self._frames[rows] = segment["obs"][skip:]
        self._actions[rows] = segment["action"][skip:]
        self._reward[rows] = segment["reward"][skip:]
        self._terminated[rows] = segment["terminated"][skip:]
        self._truncated[rows] = segment["truncated"][skip:]
        final_at = segment["final_at"]
        ends = np.cumsum(self._layout.frames.widths[final_at[:, 1]])[:-1] if len(final_at) else []
        for (offset, task), frame in zip(final_at, np.split(segment["final_obs"], ends), strict=False):
            if offset >= skip:
                self._put_final(int(first + offset) % self._rows, int(task), frame)
        self.inserted = first + length

    def nbytes(self) -> dict[str, int]:
        """Bytes reserved, by array, for tests and plans."""
        arrays = vars(self) | vars(self._finals)
        return {name.strip("_"): array.nbytes for name, array in arrays.items() if isinstance(array, np.ndarray)}
