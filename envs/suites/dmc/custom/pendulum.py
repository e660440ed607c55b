"""A pendulum that is to spin fast, either way."""

from __future__ import annotations

import numpy as np
from dm_control.suite import pendulum
from dm_control.utils import rewards

from envs.suites.dmc.custom.domain import Domain

SPEED = 9.0  # rad/s


class Spin(pendulum.SwingUp):
    """The pendulum is rewarded for its speed, in either direction."""

    def get_reward(self, physics):
        return rewards.tolerance(
            abs(physics.angular_velocity().item()),
            bounds=(SPEED, np.inf),
            margin=SPEED / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )


DOMAIN = Domain(
    tasks={"spin": Spin},
    physics=lambda: pendulum.Physics.from_xml_string(*pendulum.get_model_and_assets()),
    time_limit=20,
)
