"""A hopper that hops backwards, at half the stock speed."""

from __future__ import annotations

import numpy as np
from dm_control.suite import hopper
from dm_control.utils import rewards

from envs.suites.dmc.custom.domain import Domain

STAND_HEIGHT = 0.6  # m, of the torso above the foot
HOP_SPEED = 1.0  # m/s


class HopBackwards(hopper.Hopper):
    """The hopper is rewarded for hopping backwards while it stands."""

    def __init__(self, random=None):
        super().__init__(hopping=True, random=random)

    def get_reward(self, physics):
        standing = rewards.tolerance(physics.height(), (STAND_HEIGHT, 2))
        hopping = rewards.tolerance(
            physics.speed(),
            bounds=(-np.inf, -HOP_SPEED),
            margin=HOP_SPEED / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return standing * hopping


DOMAIN = Domain(
    tasks={"hop_backwards": HopBackwards},
    physics=lambda: hopper.Physics.from_xml_string(*hopper.get_model_and_assets()),
    time_limit=20,
    control_timestep=0.02,
)
