"""Trains the learners of runs that differ in the seed alone.

On an accelerator, which small networks leave idle between calls, one compiled call updates all of them: their states
lie in one pytree whose leaves have a leading axis, the seats `[N, ...]`. A run's numbers then depend on how many seats
there are, because a stacked product is not bit-equal to a single one, but neither on which seat a run has nor on what
is in the others: a seat may be empty, or its run may begin later and end earlier than another. A processor is busy with
one run already and is no faster with stacked ones (`perf/seeds.py`), so there each seat has a call of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.learner.types import Batch, Demonstrations, Learner, Metrics


class Lesson(NamedTuple):
    """What the `U` updates of a step learn from: batches `[U, B, ...]`, and magnitudes of returns `[T]`."""

    batch: Batch | Demonstrations
    return_scale: np.ndarray


class Team:
    """Holds the learner's states of the runs that sit in it.

    Args:
      learner: what learns.
      settings: what the learner's functions take first; the same for all runs.
      seats: how many runs there can be.
      stacks: whether one call updates all of them; None: of several, where JAX computes on an accelerator.
    """

    def __init__(self, learner: Learner[Any, Any, Any], settings: Any, seats: int = 1, stacks: bool | None = None):
        self.learner, self.settings, self.seats = learner, settings, seats
        self._stacks = seats > 1 and jax.default_backend() != "cpu" if stacks is None else stacks
        self.stacked: Any = None
        self._taken = 0

    def join(self, state: Any) -> Seat:
        """Give a run, with its learner's state, the next seat."""
        assert self._taken < self.seats, "more runs than seats"
        self._taken += 1
        return Seat(self, self._taken - 1, state)

    def learn(self, lessons: Mapping[Seat, Lesson]) -> None:
        """Do the updates of a step in each seat that has a lesson, without waiting for the device.

        A run that has once had a lesson has one at every call until it ends: what its seat holds after a call without
        is of no use.
        """
        if not self._stacks:
            for seat, lesson in lessons.items():
                seat.learn_alone(lesson)
        elif lessons:
            for seat in lessons:
                seat.sit_down()
            any_lesson = next(iter(lessons.values()))  # what is learnt in an empty seat is of no use
            given = [any_lesson] * self.seats
            for seat, lesson in lessons.items():
                given[seat.number] = lesson
            self.stacked, outcomes = _update(self.learner, self.settings, self.stacked, tuple(given))
            for seat in lessons:
                seat.acting, seat.metrics = outcomes[seat.number]


class Seat:
    """One run's place in a team.

    Attributes:
      number: the place on the leading axis, where states are stacked.
      acting: the part of the newest state that acting reads.
      metrics: of the newest update, on the device; empty before the first.
    """

    def __init__(self, team: Team, number: int, state: Any):
        self.number = number
        self.acting: Any = team.learner.acting_params(state)
        self.metrics: Metrics = {}
        self._team = team
        self._own: Any = state  # until the run sits down

    @property
    def state(self) -> Any:
        """The learner's state of the run."""
        return _taken_out(self._team.stacked, self.number) if self._own is None else self._own

    def learn_alone(self, lesson: Lesson) -> None:
        """Do the updates of a step in this seat, by the learner's own compiled call."""
        learner = self._team.learner
        self._own, self.metrics = learner.update(self._team.settings, self._own, *lesson)
        self.acting = learner.acting_params(self._own)

    def sit_down(self) -> None:
        """Move the run's state to its place among the others', where it is not there yet."""
        if self._own is not None:
            team = self._team
            if team.stacked is None:
                team.stacked = _repeated(self._own, team.seats)
            else:
                team.stacked = _put_in(team.stacked, self._own, self.number)
            self._own = None


@partial(jax.jit, static_argnames=("learner", "settings"), donate_argnames=("stacked",))
def _update(
    learner: Learner[Any, Any, Any], settings: Any, stacked: Any, lessons: tuple[Lesson, ...]
) -> tuple[Any, tuple[tuple[Any, Metrics], ...]]:
    """The new states `[N, ...]`, and for each seat what acting reads of its state, and the metrics."""
    each = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lessons)
    once = lambda state, lesson: learner.update(settings, state, *lesson)  # noqa: E731
    stacked, metrics = jax.vmap(once)(stacked, each)
    shown = learner.acting_params(stacked), metrics
    return stacked, tuple(jax.tree.map(itemgetter(seat), shown) for seat in range(len(lessons)))


@partial(jax.jit, static_argnames=("seats",))
def _repeated(state: Any, seats: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (seats, *jnp.shape(leaf))), state)


@partial(jax.jit, donate_argnames=("stacked",))
def _put_in(stacked: Any, state: Any, number: int) -> Any:
    return jax.tree.map(lambda leaves, leaf: leaves.at[number].set(leaf), stacked, state)


@jax.jit
def _taken_out(stacked: Any, number: int) -> Any:
    return jax.tree.map(lambda leaves: leaves[number], stacked)
