"""A walker that walks or runs backwards; all but the direction and its speed is the stock walker's."""

from __future__ import annotations

from functools import partial

import numpy as np
from dm_control.suite import walker
from dm_control.utils import rewards

from envs.suites.dmc.custom.domain import Domain

WALK_SPEED = 1.0  # m/s
RUN_SPEED = 8.0


class MoveBackwards(walker.PlanarWalker):
    """Upright, as in the stock tasks, and moving backwards."""

    def __init__(self, speed: float, random=None):
        self._speed = speed
        super().__init__(move_speed=0, random=random)

    def get_reward(self, physics):
        stand = super().get_reward(physics)  # of move speed 0
        move = rewards.tolerance(
            physics.horizontal_velocity(),
            bounds=(-np.inf, -self._speed),
            margin=self._speed / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return stand * (5 * move + 1) / 6


DOMAIN = Domain(
    tasks={
        "walk_backwards": partial(MoveBackwards, WALK_SPEED),
        "run_backwards": partial(MoveBackwards, RUN_SPEED),
    },
    physics=lambda: walker.Physics.from_xml_string(*walker.get_model_and_assets()),
    time_limit=25,
    control_timestep=0.025,
)
