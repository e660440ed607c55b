"""Steps a group of environments over shared arrays; in a process of its own, or inline in the caller's."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from envs import registry
from envs.spec import SpaceSpec, TaskSpec


class EnvError(RuntimeError):
    """An environment raised, or the process that owned it died; the message names the task."""


@dataclass
class StepArrays:
    """What caller and workers exchange, one row an environment (`N`), as numpy views of common memory.

    Attributes:
      action: `[N, A]` (or `[N]`), from the caller.
      next_seed: `[N]`, from the caller: reset seed of the episode that follows.
      active: `[N]`, from the caller: rows to step.
      next_obs: `[N, *obs_shape]`, the true successor, zero-padded.
      obs: `[N, *obs_shape]`, what to act on next: the first observation of a new episode, else `next_obs`.
      reward: `[N]`, raw.
      terminated, truncated, episode_over, success: `[N]`. A terminated step need not end the episode.
    """

    action: np.ndarray
    next_seed: np.ndarray
    active: np.ndarray
    next_obs: np.ndarray
    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode_over: np.ndarray
    success: np.ndarray

    @staticmethod
    def layout(space: SpaceSpec, num_envs: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of every array."""
        obs = ((num_envs, *space.obs_shape), space.obs_dtype)
        flag = ((num_envs,), "bool")
        return {
            "action": ((num_envs, *space.action_shape), space.action_dtype),
            "next_seed": ((num_envs,), "uint32"),
            "active": flag,
            "next_obs": obs,
            "obs": obs,
            "reward": ((num_envs,), "float32"),
            "terminated": flag,
            "truncated": flag,
            "episode_over": flag,
            "success": flag,
        }

    @classmethod
    def over(cls, buffers: dict, space: SpaceSpec, num_envs: int) -> StepArrays:
        """Views of `buffers` (name -> object with the buffer protocol)."""
        layout = cls.layout(space, num_envs)
        return cls(
            **{
                name: np.frombuffer(buffers[name], dtype, int(np.prod(shape))).reshape(shape)
                for name, (shape, dtype) in layout.items()
            }
        )


class EnvGroup:
    """The environments of some rows; padding, success, truncation and same-step reset are decided here only."""

    def __init__(self, arrays: StepArrays, rows: Sequence[int], specs: Sequence[TaskSpec], max_steps: Sequence[int]):
        self.arrays = arrays
        self.rows = rows
        self.specs = specs
        self.max_steps = max_steps
        self.elapsed = [0] * len(rows)
        self.envs = []
        for spec in specs:
            with naming(spec):
                self.envs.append(registry.make(spec))

    def reset(self) -> None:
        """Start an episode in every row with its `next_seed`; fills `obs`."""
        for index, (row, spec) in enumerate(zip(self.rows, self.specs, strict=True)):
            with naming(spec):
                self._reset(index, row)

    def step(self) -> None:
        """Step every active row with its `action`; fills all outputs."""
        for index, (row, spec) in enumerate(zip(self.rows, self.specs, strict=True)):
            if self.arrays.active[row]:
                with naming(spec):
                    self._step(index, row, self.arrays.action[row])

    def replay(self, actions: dict[int, np.ndarray]) -> None:
        """Reset each row with its `next_seed` and repeat `actions[row]`, `[L, A]`, of an unfinished episode."""
        for index, (row, spec) in enumerate(zip(self.rows, self.specs, strict=True)):
            with naming(spec):
                self._reset(index, row)
                for action in actions[row]:
                    self._step(index, row, action)

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _reset(self, index: int, row: int) -> None:
        obs, _ = self.envs[index].reset(seed=int(self.arrays.next_seed[row]))
        self._put(self.arrays.obs, index, row, obs)
        self.elapsed[index] = 0

    def _step(self, index: int, row: int, action: np.ndarray) -> None:
        arrays, spec = self.arrays, self.specs[index]
        own = action[: spec.action_dim] if spec.action_kind == "continuous" else int(action)
        next_obs, reward, terminated, truncated, info = self.envs[index].step(own)
        self.elapsed[index] += 1
        over = info.get("episode_over", terminated or truncated)
        if not over and self.elapsed[index] >= self.max_steps[index]:
            truncated = over = True
        self._put(arrays.next_obs, index, row, next_obs)
        arrays.reward[row] = reward
        arrays.terminated[row] = terminated
        arrays.truncated[row] = truncated
        arrays.episode_over[row] = over
        arrays.success[row] = any(bool(info.get(key)) for key in ("success", "is_success", "solved"))
        if over:
            self._reset(index, row)
        else:
            arrays.obs[row] = arrays.next_obs[row]

    def _put(self, target: np.ndarray, index: int, row: int, obs: np.ndarray) -> None:
        spec = self.specs[index]
        if len(spec.obs_shape) == 1:
            target[row, : spec.obs_shape[0]] = obs
        else:
            target[row] = obs


@contextlib.contextmanager
def naming(spec: TaskSpec):
    """Turns any error inside into an `EnvError` that names the task."""
    try:
        yield
    except Exception as error:
        detail = "".join(traceback.format_exception(error)).strip()
        raise EnvError(f"task {spec.id}: {type(error).__name__}: {error}\n{detail}") from error


def serve(
    connection: Connection,
    buffers: dict,
    space: SpaceSpec,
    num_envs: int,
    rows: Sequence[int],
    specs: Sequence[TaskSpec],
    max_steps: Sequence[int],
) -> None:
    """A worker process: obeys ("reset" | "step" | "replay" | "close", argument), answers (error or None, busy seconds).

    Ends when the caller's end of the connection closes, however the caller died.
    """
    group: EnvGroup | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            group = EnvGroup(StepArrays.over(buffers, space, num_envs), rows, specs, max_steps)
        except EnvError as error:
            connection.send((str(error), 0.0))
            return
        connection.send((None, 0.0))
        while True:
            command, argument = connection.recv()
            start = time.perf_counter()
            try:
                match command:
                    case "step":
                        group.step()
                    case "reset":
                        group.reset()
                    case "replay":
                        group.replay(argument)
                    case "close":
                        group.close()
                        return
            except EnvError as error:
                connection.send((str(error), 0.0))
                return
            connection.send((None, time.perf_counter() - start))
