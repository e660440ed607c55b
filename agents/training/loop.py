"""The training loop, which steps one run or several side by side.

The order of a step is always the same, so that no number changes with the machine's speed:
act with the newest parameters -> start the environments -> U updates on data up to the previous step -> await the
environments -> insert their transitions. Environments and learner thus work at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agents.training.lane import Ending, Lane
from agents.training.progress import Progress


def train(lanes: Sequence[Lane], progress: Progress, moved: Callable[[bool], None] = lambda _: None) -> list[Ending]:
    """Train every lane to its budget, or until it is told to stop, and return how each ended.

    Each lane leaves a complete checkpoint. An error in one lane ends all of them; the same command continues each from
    its own newest checkpoint.

    Args:
      lanes: the runs.
      progress: shows how far the slowest lane is.
      moved: called after each step, and after what comes between two steps; told whether all lanes make updates.
    Raises:
      EnvError: an environment raised or its process died.
      FloatingPointError: a policy's actions or a learner's metrics are not finite.
      RunDirGoneError: somebody took a run's directory away.
      OSError: something cannot be written.
    """
    while going := [lane for lane in lanes if lane.pause(progress) is None]:
        moved(updating(going))
        step(going)
        moved(updating(going))
        progress.step(min(lane.env_steps for lane in going))
    return [lane.outcome for lane in lanes if lane.outcome is not None]


def updating(lanes: Sequence[Lane]) -> bool:
    """Return whether all lanes make updates by now."""
    return all(lane.updating for lane in lanes)


def step(lanes: Sequence[Lane]) -> None:
    """Take one environment step of every task in every lane, and the updates that go with it."""
    pending = [lane.act() for lane in lanes]
    batches = [lane.sample() for lane in lanes]  # while the device computes the actions
    actions = [lane.start(one) for lane, one in zip(lanes, pending, strict=True)]
    for lane, batch in zip(lanes, batches, strict=True):
        lane.update(batch)
    for lane, taken in zip(lanes, actions, strict=True):
        lane.take(taken)
