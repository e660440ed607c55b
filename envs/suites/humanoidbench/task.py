"""What a task of HumanoidBench is: its scenery as tables, and pure functions of named quantities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from envs.suites.humanoidbench.parts import Parts

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities


class Outcome(NamedTuple):
    """What a step has come to.

    Attributes:
      reward: of the step.
      terminated: whether the episode ends by it.
      terms: the reward's terms, and whatever else is told of the step, by name.
      memory: what the task remembers for the next step.
    """

    reward: float
    terminated: bool
    terms: dict[str, Any]
    memory: Any = None


def whole_state(now: Quantities, memory: Any) -> Sequence[np.ndarray]:
    """Return all positions and velocities, the observation of most tasks."""
    return now.qpos, now.qvel


def nothing(now: Quantities, rng: np.random.RandomState) -> None:
    """Draw nothing and remember nothing: the reset of most tasks."""


def no_show(model: Any, memory: Any) -> None:
    """Show nothing of what is remembered."""


@dataclass(frozen=True)
class Task:
    """One task, whichever robot carries it out.

    What a task remembers within an episode (a stage, a goal) is its memory, an immutable value of its own: `reset`
    makes it, `judge` returns the next one.

    Attributes:
      judge: of the quantities and the memory, as a step has left them: reward, termination, terms, the next memory.
      scenery: what there is beside the robot and the floor.
      start: positions by joint that differ from the robot's and the bodies' own.
      noise: half the width of the uniform noise on every position at a reset.
      reset: called after the noise, with a forward pass made: may draw from the task's stream and write positions and
        velocities; returns the first memory. Another forward pass follows.
      observe: the arrays that an observation consists of; sees the memory from before `judge`.
      values: name of each field of the memory that `set_state` takes -> its shape.
      touches: name of a group of geoms -> regular expression that matches `body/geom` of its members, for
        `Quantities.touched`.
      show: writes into a model what the memory looks like, before a frame is drawn.
      camera: the camera of films.
      max_episode_steps: the steps after which an episode is cut.
      multiccd: whether several contacts between two convex geoms are looked for.
    """

    judge: Callable[[Quantities, Any], Outcome]
    scenery: Parts = Parts()  # noqa: RUF009 (immutable)
    start: Mapping[str, Sequence[float]] = field(default_factory=dict)
    noise: float = 0.01
    reset: Callable[[Quantities, np.random.RandomState], Any] = nothing
    observe: Callable[[Quantities, Any], Sequence[np.ndarray]] = whole_state
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    touches: Mapping[str, str] = field(default_factory=dict)
    show: Callable[[Any, Any], None] = no_show
    camera: str = "cam_default"
    max_episode_steps: int = 1000
    multiccd: bool = False
