"""The training loop, which steps one run or several side by side.

The order of a step is always the same, so that no number changes with the machine's speed:
act with the newest parameters -> start the environments -> U updates on data up to the previous step -> await the
environments -> insert their transitions. Environments and learner thus work at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from agents.training.lane import Lane
from agents.training.progress import Progress

T = TypeVar("T")
Over = Callable[[Lane, Exception | None], None]
"""Takes a lane that has ended, with the error that ended it, if one did."""


def raise_error(lane: Lane, error: Exception | None) -> None:
    """Let an error in one lane end all of them."""
    if error is not None:
        raise error


class Going:
    """Holds the lanes that have not ended."""

    def __init__(self, lanes: Sequence[Lane], over: Over):
        self.lanes, self._over = list(lanes), over

    def each(self, call: Callable[[Lane], T]) -> dict[Lane, T]:
        """Return what `call` gives for each lane; a lane for which an error is raised has ended."""
        found = {}
        for lane in list(self.lanes):
            try:
                found[lane] = call(lane)
            except Exception as error:
                self.ended(lane, error)
        return found

    def ended(self, lane: Lane, error: Exception | None = None) -> None:
        """Go on without a lane."""
        self.lanes.remove(lane)
        self._over(lane, error)


def train(
    lanes: Sequence[Lane],
    progress: Progress,
    moved: Callable[[bool], None] = lambda _: None,
    over: Over = raise_error,
) -> None:
    """Train every lane to its budget, or until it is told to stop.

    Each lane leaves a complete checkpoint, but for one that an error ends, which goes on from its newest one.

    Args:
      lanes: the runs, all of one team.
      progress: shows how far the slowest lane is.
      moved: called after each step, and after what comes between two steps; told whether all lanes make updates.
      over: called when a lane has ended. By default an error is raised, and ends all lanes:
    Raises:
      EnvError: an environment raised or its process died.
      FloatingPointError: a policy's actions or a learner's metrics are not finite.
      RunDirGoneError: somebody took a run's directory away.
      OSError: something cannot be written.
    """
    going = Going(lanes, over)
    while True:
        for lane, ending in going.each(lambda lane: lane.pause(progress)).items():
            if ending is not None:
                going.ended(lane)
        if not going.lanes:
            return
        moved(updating(going.lanes))
        step(going)
        moved(updating(going.lanes))
        progress.step(min((lane.env_steps for lane in going.lanes), default=0))


def updating(lanes: Sequence[Lane]) -> bool:
    """Return whether all lanes make updates by now."""
    return all(lane.updating for lane in lanes)


def step(going: Going) -> None:
    """Take one environment step of every task in every lane, and the updates that go with it."""
    pending = going.each(lambda lane: lane.act())
    lessons = going.each(lambda lane: lane.sample())  # while the device computes the actions
    actions = going.each(lambda lane: lane.start(pending[lane]))
    due = {lane: lesson for lane in going.lanes if (lesson := lessons[lane]) is not None}
    if due:
        going.lanes[0].team.learn({lane.seat: lesson for lane, lesson in due.items()})
    for lane, lesson in due.items():
        lane.learnt(lesson)
    going.each(lambda lane: lane.take(actions[lane]))
