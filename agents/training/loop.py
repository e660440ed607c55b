"""The training loop. Several runs may share it; each is a lane of its own.

Its order overlaps environments and learner and is always the same, so no number changes with the machine's speed:
act with the newest parameters -> start the step -> U updates on data up to the previous step -> await the step.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.training.lane import Ending, Lane
from agents.training.progress import Progress


def train(lanes: Sequence[Lane], progress: Progress) -> list[Ending]:
    """Train every lane to its budget, or until it is told to stop; how each ended, with a complete checkpoint.

    An error in one lane ends all; each goes on from its own newest checkpoint.

    Raises:
      EnvError: an environment raised or its process died.
      FloatingPointError: a policy's actions or a learner's metrics are not finite.
      RunDirGoneError: somebody took a run's directory away.
      OSError: something cannot be written.
    """
    while going := [lane for lane in lanes if lane.pause(progress) is None]:
        step(going)
        progress.step(min(lane.env_steps for lane in going))
    return [lane.outcome for lane in lanes if lane.outcome is not None]


def step(lanes: Sequence[Lane]) -> None:
    """One environment step of every task in every lane, and the updates that go with it."""
    pending = [lane.act() for lane in lanes]
    batches = [lane.sample() for lane in lanes]  # while the device computes the actions
    actions = [lane.start(one) for lane, one in zip(lanes, pending, strict=True)]
    for lane, batch in zip(lanes, batches, strict=True):
        lane.update(batch)
    for lane, taken in zip(lanes, actions, strict=True):
        lane.take(taken)
