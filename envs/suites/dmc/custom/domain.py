"""What a domain of the suite adds to dm_control's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dm_control import mujoco
from dm_control.suite import base


@dataclass(frozen=True)
class Domain:
    """Tasks on one model.

    Attributes:
      tasks: name -> task from keyword arguments, among them `random`, as in dm_control's suite.
      physics: builds the simulation.
      time_limit: seconds of an episode.
      control_timestep: seconds of a step; None: the model's own timestep.
    """

    tasks: Mapping[str, Callable[..., base.Task]]
    physics: Callable[[], mujoco.Physics]
    time_limit: float
    control_timestep: float | None = None
