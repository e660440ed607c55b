"""T tasks as one vector environment: rows, streams and episodes of a group of environments, inline or in processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from envs import registry
from envs.divergence import OnDivergence
from envs.spec import SpaceSpec, TaskSpec
from envs.worker import IDLE, Channel, EnvError, EnvGroup, Rules, StepArrays, WorkerDiedError, serve

CLOSE_TIMEOUT_S = 5.0

ResetSeed = Callable[[int, int], int]
"""(row, episode) -> reset seed."""


class Step(NamedTuple):
    """One vector step, copies of the arrays of `StepArrays` with the same meaning; first axis `N`."""

    next_obs: np.ndarray
    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode_over: np.ndarray
    success: np.ndarray
    diverged: np.ndarray


@dataclass
class Episodes:
    """Where each row's episode stands: all that is needed to bring the environments back.

    Attributes:
      number: `[N]`, episodes finished before this one.
      length: `[N]`, steps taken in it.
      actions: one `[length, A]` array a row, the actions since its reset.
    """

    number: np.ndarray
    length: np.ndarray
    actions: list[np.ndarray]


class VectorEnv:
    """Steps one environment a row; rows are independent of each other and of the number of workers.

    A step is started and awaited apart, so that the caller can work in between:

        env.start_step(actions); ...; step = env.wait_step()

    Args:
      specs: `[N]`, the task of each row.
      reset_seed: the seed of a row's episode, a pure function.
      backend: "process" for worker processes, "inline" for the caller's own.
      workers: number of processes; at most one a row.
      max_episode_steps: cap below the tasks' own limits.
      on_divergence: end the episode of a simulation that diverges, or raise.

    Raises:
      EnvError: an environment raised or its process died (WorkerDiedError), at any call.
    """

    def __init__(
        self,
        specs: Sequence[TaskSpec],
        reset_seed: ResetSeed,
        *,
        backend: Literal["process", "inline"] = "process",
        workers: int | None = None,
        max_episode_steps: int | None = None,
        on_divergence: OnDivergence = "truncate",
    ):
        self.specs = list(specs)
        self.space = SpaceSpec.of(specs)
        self.num_envs = len(specs)
        self.episode = np.zeros(self.num_envs, np.int64)
        self.length = np.zeros(self.num_envs, np.int64)
        self.busy_s = 0.0
        self._reset_seed = reset_seed
        limit = max_episode_steps or max(spec.max_episode_steps for spec in specs)
        max_steps = [min(spec.max_episode_steps, limit) for spec in specs]
        self._actions = np.zeros((max(max_steps), self.num_envs, *self.space.action_shape), self.space.action_dtype)
        backend_class = InlineBackend if backend == "inline" else ProcessBackend
        rules = [Rules(steps, on_divergence) for steps in max_steps]
        self._backend = backend_class(self.specs, self.space, rules, workers or default_workers(self.num_envs))
        self._arrays = self._backend.arrays

    def reset(self, reset_seed: ResetSeed | None = None) -> np.ndarray:
        """Begin episode 0 of every row, from now on with the seeds of `reset_seed`; observations `[N, O]`."""
        self._reset_seed = reset_seed or self._reset_seed
        return self.restore(Episodes(np.zeros_like(self.episode), np.zeros_like(self.length), []))

    def start_step(self, actions: np.ndarray, active: np.ndarray | None = None) -> None:
        """Send actions `[N, A]`; only `active` `[N]` rows are stepped (all by default)."""
        self._arrays.active[:] = True if active is None else active
        self._arrays.action[:] = actions
        self._backend.start("step")
        rows = np.flatnonzero(self._arrays.active)
        self._actions[self.length[rows], rows] = actions[rows]

    def wait_step(self) -> Step:
        """The step's outcome; rows that were not active repeat their last one."""
        self.busy_s += self._backend.wait()
        arrays = self._arrays
        step = Step(*(getattr(arrays, name).copy() for name in Step._fields))
        self.length[arrays.active] += 1
        for row in np.flatnonzero(step.episode_over & arrays.active):
            self.episode[row] += 1
            self.length[row] = 0
            self._announce(int(row), int(self.episode[row]) + 1)
        return step

    def _announce(self, row: int, episode: int) -> None:
        """Tell which episode the row's next reset begins; EnvPool's are resets of one stream, that of episode 0."""
        stream = self.specs[row].family == "envpool"
        self._arrays.next_seed[row] = self._reset_seed(row, 0 if stream else episode)
        self._arrays.next_episode[row] = episode

    def snapshot(self) -> Episodes:
        """The state of all episodes between two steps."""
        actions = [self._actions[: self.length[row], row].copy() for row in range(self.num_envs)]
        return Episodes(self.episode.copy(), self.length.copy(), actions)

    def restore(self, episodes: Episodes) -> np.ndarray:
        """Bring every row to where `snapshot` was taken, by repeating its episode; observations `[N, O]`."""
        self.episode[:], self.length[:] = episodes.number, episodes.length
        for row in range(self.num_envs):
            self._announce(row, int(self.episode[row]))
        if self.length.any():
            for row, actions in enumerate(episodes.actions):
                self._actions[: len(actions), row] = actions
            self._backend.start("replay", dict(enumerate(episodes.actions)))
        else:
            self._backend.start("reset")
        self._backend.wait()
        for row in range(self.num_envs):
            self._announce(row, int(self.episode[row]) + 1)
        return self._arrays.obs.copy()

    def check(self) -> None:
        """Raises WorkerDiedError if a worker is no more, though nobody waits for it; takes microseconds."""
        self._backend.check()

    def close(self) -> None:
        """End the environments and workers; may be called twice."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NoEnvironments:
    """Stands where a `VectorEnv` does in a run that steps no environments: nothing is ever begun, so nothing is ended.

    Args:
      specs: `[N]`, the task of each row.
    """

    def __init__(self, specs: Sequence[TaskSpec]):
        self.space = SpaceSpec.of(specs)
        self.busy_s = 0.0
        self.episode = np.zeros(len(specs), np.int64)

    def restore(self, episodes: Episodes) -> np.ndarray:
        """Return observations `[N, O]` of zeros."""
        return np.zeros((len(episodes.number), *self.space.obs_shape), self.space.obs_dtype)

    def snapshot(self) -> Episodes:
        """Return episodes of which none has begun."""
        none = np.zeros_like(self.episode)
        actions = np.zeros((0, *self.space.action_shape), self.space.action_dtype)
        return Episodes(none, none, [actions] * len(none))

    def start_step(self, actions: np.ndarray) -> None:
        """Refuse to step."""
        raise RuntimeError("a run without environments has nothing to step")

    def wait_step(self) -> Step:
        """Refuse to step."""
        raise RuntimeError("a run without environments has nothing to wait for")

    def check(self) -> None:
        """Find nothing wrong."""

    def close(self) -> None:
        """End nothing."""


def default_workers(num_envs: int, groups: int = 1) -> int:
    """One process a core that this process may use, at most one an environment; fewer for each of several groups."""
    return max(1, min(len(os.sched_getaffinity(0)) // groups, num_envs))


class InlineBackend:
    """All environments in the caller's process, for debugging."""

    def __init__(self, specs: list[TaskSpec], space: SpaceSpec, rules: list[Rules], workers: int):
        layout = StepArrays.layout(space, len(specs))
        self.arrays = StepArrays(**{name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()})
        self._group = EnvGroup(self.arrays, range(len(specs)), specs, rules)
        self._pending: tuple[str, Any] = ("", None)

    def start(self, command: str, argument: Any = None) -> None:
        self._pending = (command, argument)

    def wait(self) -> float:
        start = time.perf_counter()
        command, argument = self._pending
        if command == "replay":
            self._group.replay(argument)
        else:
            getattr(self._group, command)()
        return time.perf_counter() - start

    def check(self) -> None:
        pass

    def close(self) -> None:
        self._group.close()


class ProcessBackend:
    """Workers that each own several rows and share the arrays through anonymous memory.

    They build their environments while the caller goes on; the first command waits for them.
    Workers fork from a server process that has imported nothing of JAX and is started fresh, so neither
    threads nor locks of the caller are inherited. They end when the caller does, even if it is killed, and the
    memory has no name that could stay behind.
    """

    def __init__(self, specs: list[TaskSpec], space: SpaceSpec, rules: list[Rules], workers: int):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["envs.ignore_signals", "envs.worker", *registry.preload(specs)])
        layout = StepArrays.layout(space, len(specs))
        buffers = {
            name: context.RawArray("B", int(np.prod(shape)) * np.dtype(dtype).itemsize)
            for name, (shape, dtype) in layout.items()
        }
        self.arrays = StepArrays.over(buffers, space, len(specs))
        self.arrays.at_work[:] = IDLE
        self._processes: list[Any] = []
        self._channels: list[Channel] = []
        self._specs = specs
        self._rows_of_worker = assign_rows(specs, min(workers, len(specs)))
        # A process that ends without close() would wait for its workers, which wait for their pipes to be closed.
        multiprocessing.util.Finalize(self, close_pipes, (self._channels,), exitpriority=100)
        for rows, cpu in zip(self._rows_of_worker, pinned_cores(len(self._rows_of_worker)), strict=True):
            ours, theirs = context.Pipe()
            own = [specs[row] for row in rows]
            process = context.Process(
                target=serve,
                args=(theirs, buffers, space, len(specs), rows, own, [rules[row] for row in rows], cpu),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._channels.append(Channel(ours))
        self._ready = False

    def start(self, command: str, argument: Any = None) -> None:
        if not self._ready:
            self.wait()
            self._ready = True
        self._send(command, argument)

    def _send(self, command: str, argument: Any = None) -> None:
        content = None if command == "step" else (command, argument)
        for channel in self._channels:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # reported by wait
                channel.send(content)

    def wait(self) -> float:
        """Seconds that the busiest worker took."""
        for index, channel in enumerate(self._channels):
            try:
                error = channel.receive()
            except (EOFError, OSError):
                raise self._died(index) from None
            if error:
                raise EnvError(error)
        return float(self.arrays.busy_s.max())

    def check(self) -> None:
        for index, process in enumerate(self._processes):
            if process.exitcode is not None:
                raise self._died(index)

    def _died(self, index: int) -> WorkerDiedError:
        process, rows = self._processes[index], self._rows_of_worker[index]
        process.join(CLOSE_TIMEOUT_S)
        how = describe_exit(process.exitcode)
        at_work = self.arrays.at_work[rows[0]]
        if at_work != IDLE:
            return WorkerDiedError(f"task {self._specs[at_work].id}: its worker died at it ({how})")
        tasks = ", ".join(dict.fromkeys(self._specs[row].id for row in rows))
        return WorkerDiedError(f"the worker of {tasks} died ({how})")

    def close(self) -> None:
        self._send("close")
        for process in self._processes:
            process.join(CLOSE_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()
        close_pipes(self._channels)
        self._processes = []


def close_pipes(channels: list[Channel]) -> None:
    """Close the caller's ends, at which workers end; empties the list."""
    while channels:
        channels.pop().connection.close()


def pinned_cores(workers: int) -> list[int | None]:
    """The core that each worker stays on, where there is one for each; None lets the kernel choose.

    Linux wakes a process that is sent a message on the sender's core. Two workers would share it and step one after
    the other while another core is idle (measured: no gain at all from the second of two workers).
    """
    cores = sorted(os.sched_getaffinity(0))
    return list(cores) if workers == len(cores) > 1 else [None] * workers


def assign_rows(specs: Sequence[TaskSpec], workers: int) -> list[list[int]]:
    """Rows of each worker: the costliest first, each to the worker that has least to do."""
    rows_of_worker: list[list[int]] = [[] for _ in range(workers)]
    cost = [0.0] * workers
    for row in sorted(range(len(specs)), key=lambda row: -specs[row].step_ms):
        least = cost.index(min(cost))
        rows_of_worker[least].append(row)
        cost[least] += specs[row].step_ms
    return [sorted(rows) for rows in rows_of_worker]


def describe_exit(exitcode: int | None) -> str:
    """How a process ended, in words: by which signal, or with which exit status."""
    if exitcode is not None and exitcode < 0:
        return f"killed by {signal.Signals(-exitcode).name}"
    return f"exit status {exitcode}"
