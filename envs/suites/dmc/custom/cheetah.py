"""A cheetah that runs backwards, on one foot, or jumps; model, start and observation are the stock cheetah's."""

from __future__ import annotations

from functools import partial

import numpy as np
from dm_control.suite import cheetah
from dm_control.utils import rewards

from envs.suites.dmc.custom.domain import Domain

RUN_BACKWARDS_SPEED = 8.0  # m/s
RUN_ON_ONE_FOOT_SPEED = 6.0
JUMP_SPEED = 0.5  # at most, to either side
HEIGHT = 1.2  # m, of what is to be up


def height(physics: cheetah.Physics, body: str) -> float:
    """The height of the body's frame above the ground, in metres."""
    return physics.named.data.xpos[body, "z"]


def raised(z: float) -> float:
    """1 from `HEIGHT` upwards, 0.1 at half of it."""
    return float(rewards.tolerance(z, bounds=(HEIGHT, np.inf), margin=HEIGHT / 2))


class RunBackwards(cheetah.Cheetah):
    """Reward grows linearly with the speed backwards."""

    def get_reward(self, physics):
        return rewards.tolerance(
            physics.speed(),
            bounds=(-np.inf, -RUN_BACKWARDS_SPEED),
            margin=RUN_BACKWARDS_SPEED,
            value_at_margin=0,
            sigmoid="linear",
        )


class RunOnOneFoot(cheetah.Cheetah):
    """Run forwards with the torso and one foot up."""

    def __init__(self, lifted_foot: str, random=None):
        self._lifted_foot = lifted_foot
        super().__init__(random=random)

    def get_reward(self, physics):
        up = (3 * raised(height(physics, self._lifted_foot)) + 2 * raised(height(physics, "torso"))) / 5
        run = rewards.tolerance(
            physics.speed(),
            bounds=(RUN_ON_ONE_FOOT_SPEED, np.inf),
            margin=RUN_ON_ONE_FOOT_SPEED,
            value_at_margin=0,
            sigmoid="linear",
        )
        return up * (5 * run + 1) / 6


class Jump(cheetah.Cheetah):
    """Torso and both feet up, on the spot."""

    def get_reward(self, physics):
        stay = rewards.tolerance(
            physics.speed(), bounds=(-JUMP_SPEED, JUMP_SPEED), margin=JUMP_SPEED, value_at_margin=0, sigmoid="linear"
        )
        torso = height(physics, "torso")
        back, front = ((5 * raised((torso + height(physics, foot)) / 2) + stay) / 6 for foot in ("bfoot", "ffoot"))
        return (back + front) / 2


DOMAIN = Domain(
    tasks={
        "run_backwards": RunBackwards,
        "run_front": partial(RunOnOneFoot, "bfoot"),
        "run_back": partial(RunOnOneFoot, "ffoot"),
        "jump": Jump,
    },
    physics=lambda: cheetah.Physics.from_xml_string(*cheetah.get_model_and_assets()),
    time_limit=10,
)
