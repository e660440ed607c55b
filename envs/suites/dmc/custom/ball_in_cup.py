"""A ball on a string that is to be swung around the cup instead of into it."""

from __future__ import annotations

import numpy as np
from dm_control.suite import ball_in_cup, base
from dm_control.utils import rewards

from envs.suites.dmc.custom.domain import Domain

DISTANCE = 0.5  # m, of the ball from the target
SPEED = 6.0  # m/s, of the ball
START_ANYWHERE = 0.1  # probability; else the ball starts in the cup


class Spin(ball_in_cup.BallInCup):
    """The ball fast and far from the cup; nothing while it is inside."""

    def initialize_episode(self, physics):
        anywhere = self.random.uniform() < START_ANYWHERE
        placed = False
        while not placed:
            physics.named.data.qpos["ball_x"] = self.random.uniform(-0.2, 0.2)
            physics.named.data.qpos["ball_z"] = self.random.uniform(0.2, 0.5)
            physics.after_reset()
            placed = physics.data.ncon == 0 and (anywhere or physics.in_target() > 0)
        base.Task.initialize_episode(self, physics)  # not the stock task's draw

    def get_reward(self, physics):
        far = rewards.tolerance(
            np.linalg.norm(physics.ball_to_target()),
            bounds=(DISTANCE, np.inf),
            margin=DISTANCE / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        fast = rewards.tolerance(
            np.linalg.norm(physics.named.data.qvel[["ball_x", "ball_z"]]),
            bounds=(SPEED, np.inf),
            margin=SPEED / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return (1 - physics.in_target()) * (far + 2 * fast) / 3


DOMAIN = Domain(
    tasks={"spin": Spin},
    physics=lambda: ball_in_cup.Physics.from_xml_string(*ball_in_cup.get_model_and_assets()),
    time_limit=20,
    control_timestep=0.02,
)
