"""Steps a group of environments over shared arrays; in a process of its own, or inline in the caller's."""

from __future__ import annotations

import contextlib
import math
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from envs import registry
from envs.divergence import DivergedError, OnDivergence
from envs.spec import SpaceSpec, TaskSpec

IDLE = -1
LARGEST = float(np.finfo(np.float32).max)


class EnvError(RuntimeError):
    """An environment raised; the message names the task."""


class WorkerDiedError(EnvError):
    """A process that owned environments died; the message names the task that it was at, or all of its tasks."""


@dataclass
class StepArrays:
    """What caller and workers exchange, one row an environment (`N`), as numpy views of common memory.

    Attributes:
      action: `[N, A]` (or `[N]`), from the caller.
      next_seed, next_episode: `[N]`, from the caller: reset seed and number of the episode that follows.
      active: `[N]`, from the caller: rows to step.
      next_obs: `[N, *obs_shape]`, the true successor, zero-padded.
      obs: `[N, *obs_shape]`, what to act on next: the first observation of a new episode, else `next_obs`.
      reward: `[N]`, raw.
      terminated, truncated, episode_over, success: `[N]`. A terminated step need not end the episode.
      diverged: `[N]`, whether the episode ended because its simulation diverged.
      busy_s: `[N]`, seconds that the last command took, at the first row of each worker.
      at_work: `[N]`, the row that a worker is just at, or IDLE; at the first row of each worker.
    """

    action: np.ndarray
    next_seed: np.ndarray
    next_episode: np.ndarray
    active: np.ndarray
    next_obs: np.ndarray
    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode_over: np.ndarray
    success: np.ndarray
    diverged: np.ndarray
    busy_s: np.ndarray
    at_work: np.ndarray

    @staticmethod
    def layout(space: SpaceSpec, num_envs: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of every array."""
        obs = ((num_envs, *space.obs_shape), space.obs_dtype)
        flag = ((num_envs,), "bool")
        return {
            "action": ((num_envs, *space.action_shape), space.action_dtype),
            "next_seed": ((num_envs,), "uint32"),
            "next_episode": ((num_envs,), "int64"),
            "active": flag,
            "next_obs": obs,
            "obs": obs,
            "reward": ((num_envs,), "float32"),
            "terminated": flag,
            "truncated": flag,
            "episode_over": flag,
            "success": flag,
            "diverged": flag,
            "busy_s": ((num_envs,), "float64"),
            "at_work": ((num_envs,), "int64"),
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


class Rules(NamedTuple):
    """What holds for the episodes of an environment beside what the environment itself says.

    Attributes:
      max_steps: an episode is truncated after so many.
      on_divergence: what is done where the simulation diverges.
    """

    max_steps: int
    on_divergence: OnDivergence


class EnvGroup:
    """The environments of some rows.

    Padding, success, truncation, what happens to simulations that diverge, and same-step reset are decided here only.

    Args:
      arrays: shared with the caller.
      rows: `[M]`, which rows of the arrays are this group's.
      specs: `[M]`, their tasks.
      rules: `[M]`, of their episodes.

    Raises:
      EnvError: an environment could not be built; the message names the task.
    """

    def __init__(self, arrays: StepArrays, rows: Sequence[int], specs: Sequence[TaskSpec], rules: Sequence[Rules]):
        self.arrays = arrays
        self._slot = rows[0]
        self.members = [Member(arrays, *member) for member in zip(rows, specs, rules, strict=True)]
        self._each(self.members, Member.make)

    def reset(self) -> None:
        """Start an episode in every row with its `next_seed`; fills `obs`."""
        self._each(self.members, Member.reset)

    def step(self) -> None:
        """Step every active row with its `action`; fills all outputs.

        First the physics of all, then what is seen of all: simulator and interpreter each find their code in the
        processor's caches, where turn by turn they drive each other out (measured: 8% of 50 Meta-World tasks' time).
        """
        active = [member for member in self.members if self.arrays.active[member.row]]
        with np.errstate(over="ignore", invalid="ignore"):  # a simulation that diverges is told of in other words
            self._each(active, Member.begin_step)
            self._each(active, Member.end_step)

    def replay(self, actions: dict[int, np.ndarray]) -> None:
        """Reset each row with its `next_seed` and repeat `actions[row]`, `[L, A]`, of an unfinished episode."""
        self._each(self.members, lambda member: member.replay(actions[member.row]))

    def _each(self, members: Sequence[Member], act: Callable[[Member], None]) -> None:
        """Have members act, one after another, saying which is at it.

        Raises:
          EnvError: one of them raised; it names the task.
        """
        at_work, slot = self.arrays.at_work, self._slot
        for member in members:
            at_work[slot] = member.row
            try:
                act(member)
            except Exception as error:
                detail = "".join(traceback.format_exception(error)).strip()
                raise EnvError(f"task {member.spec.id}: {type(error).__name__}: {error}\n{detail}") from error
        at_work[slot] = IDLE

    def close(self) -> None:
        for member in self.members:
            member.env.close()


class Member:
    """One row's environment, and the row's part of the shared arrays.

    Args:
      arrays: shared with the caller.
      row: the member's.
      spec: its task.
      rules: of its episodes.
    """

    def __init__(self, arrays: StepArrays, row: int, spec: TaskSpec, rules: Rules):
        self.row, self.spec, self.rules = row, spec, rules
        self.elapsed = 0
        self._arrays = arrays
        self._frames = len(spec.obs_shape) > 1
        own_obs = row if self._frames else (row, slice(spec.obs_shape[0]))
        self._obs, self._next_obs = arrays.obs[own_obs], arrays.next_obs[own_obs]
        self._continuous = spec.action_kind == "continuous"
        self._action = arrays.action[row, : spec.action_dim] if self._continuous else arrays.action
        self._outcome: tuple | None = None
        self._divergence: DivergedError | None = None

    def make(self) -> None:
        """Build the row's environment."""
        self.env: Any = registry.make(self.spec)
        self._begin_step = getattr(self.env, "begin_step", self.env.step)

    def reset(self) -> None:
        """Begin the episode of the row's `next_seed`."""
        seed, episode = int(self._arrays.next_seed[self.row]), int(self._arrays.next_episode[self.row])
        obs, _ = self.env.reset(seed=seed, options={"episode": episode})
        self._obs[:] = obs
        self.elapsed = 0

    def begin_step(self) -> None:
        """Take the row's `action`, as far as the environment splits its steps."""
        action = self._action if self._continuous else int(self._action[self.row])
        try:
            self._outcome = self._begin_step(action)
        except DivergedError as error:
            self._divergence = error

    def end_step(self) -> None:
        """Fill the row's outputs; a step that ends the episode begins the next one too."""
        outcome = self._seen()
        self.elapsed += 1
        if outcome is None:
            self._cut()
            return
        arrays, row = self._arrays, self.row
        next_obs, reward, terminated, truncated, info = outcome
        over = info.get("episode_over", terminated or truncated)
        if not over and self.elapsed >= self.rules.max_steps:
            truncated = over = True
        self._next_obs[:] = next_obs
        arrays.reward[row] = reward
        arrays.terminated[row] = terminated
        arrays.truncated[row] = truncated
        arrays.episode_over[row] = over
        arrays.success[row] = bool(info.get("success") or info.get("is_success") or info.get("solved"))
        arrays.diverged[row] = False
        if over:
            self.reset()
        else:
            self._obs[:] = self._next_obs

    def _seen(self) -> tuple | None:
        """What the step that has begun leads to; None where the simulation has diverged and the episode is to end.

        Raises:
          DivergedError: it has, and the run is to end.
        """
        error, self._divergence = self._divergence, None
        if error is None:
            try:
                outcome = self._outcome or self.env.end_step()
            except DivergedError as raised:
                error = raised
            else:
                if (self._frames or all_finite(outcome[0])) and abs(outcome[1]) <= LARGEST:
                    return outcome
                error = DivergedError("its observation or reward is not finite")
        if self.rules.on_divergence == "stop":
            raise error
        return None

    def _cut(self) -> None:
        """End the episode as truncated, with the observation that was acted on and no reward; begin the next one.

        The next episode gets a new environment, so that nothing of what has diverged is left in it.
        """
        arrays, row = self._arrays, self.row
        self._next_obs[:] = self._obs
        arrays.reward[row] = 0
        arrays.terminated[row] = arrays.success[row] = False
        arrays.truncated[row] = arrays.episode_over[row] = arrays.diverged[row] = True
        self.env.close()
        self.make()
        self.reset()

    def replay(self, actions: np.ndarray) -> None:
        """Begin the episode and repeat its `actions` `[L, A]`."""
        self.reset()
        for action in actions:
            self._arrays.action[self.row] = action
            self.begin_step()
            self.end_step()


def all_finite(vector: np.ndarray) -> bool:
    """Whether an observation `[O]` has no infinite and no undefined number."""
    # A sum of squares takes a quarter of the time; where it is too large, each number is looked at.
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())


def serve(
    connection: Connection,
    buffers: dict,
    space: SpaceSpec,
    num_envs: int,
    rows: Sequence[int],
    specs: Sequence[TaskSpec],
    rules: Sequence[Rules],
    cpu: int | None,
) -> None:
    """A worker process: obeys commands and answers each, as `Channel` has them.

    Ends when the caller's end of the connection closes, however the caller died.

    Args:
      connection: to the caller.
      buffers: memory that caller and workers share, by the names in `StepArrays`.
      space: of all rows.
      num_envs: rows in all.
      rows: this worker's.
      specs: their tasks.
      rules: of their episodes.
      cpu: the core to stay on; None: any.
    """
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    arrays = StepArrays.over(buffers, space, num_envs)
    channel = Channel(connection)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            group = EnvGroup(arrays, rows, specs, rules)
        except EnvError as error:
            channel.send(str(error))
            return
        channel.send(None)
        while True:
            command, argument = channel.receive() or ("step", {})
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
                channel.send(str(error))
                return
            arrays.busy_s[rows[0]] = time.perf_counter() - start
            channel.send(None)


class Channel:
    """Between a caller and a worker. `None`, which tells to step and that all went well, is a byte and no pickle."""

    NOTHING, SOMETHING = b"\0", b"\1"

    def __init__(self, connection: Connection):
        self.connection = connection
        self._fd = connection.fileno()

    def send(self, content: Any) -> None:
        """Raises BrokenPipeError or ConnectionResetError where nobody listens any more."""
        if content is None:
            os.write(self._fd, self.NOTHING)
        else:
            os.write(self._fd, self.SOMETHING)
            self.connection.send(content)

    def receive(self) -> Any:
        """Raises EOFError or ConnectionResetError where nobody speaks any more."""
        match os.read(self._fd, 1):
            case self.NOTHING:
                return None
            case self.SOMETHING:
                return self.connection.recv()
        raise EOFError
