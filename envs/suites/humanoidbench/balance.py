"""Tasks of keeping still with something below: sit on a chair, stand on a board on a ball."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from envs.suites.humanoidbench.parts import Parts
from envs.suites.humanoidbench.rewards import small_control, standing, staying, tolerance, upright
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

WOOD = "rgba 0.6 0.42 0.25 1"

FIXED_CHAIR = Parts(
    bodies="chair | - | -0.25 0 0 | -",
    geoms=f"""
    chair | - | C | box | 0.02 0.21 0.2     | -0.23 0 0.65      | -
    chair | - | C | box | 0.21 0.21 0.2375  | 0 0 0.2375        | -
    chair | - | V | box | 0.02 0.02 0.225   | 0.19 0.19 0.225   | - | {WOOD}
    chair | - | V | box | 0.02 0.02 0.225   | 0.19 -0.19 0.225  | - | {WOOD}
    chair | - | V | box | 0.02 0.02 0.225   | -0.19 0.19 0.225  | - | {WOOD}
    chair | - | V | box | 0.02 0.02 0.225   | -0.19 -0.19 0.225 | - | {WOOD}
    chair | - | V | box | 0.21 0.21 0.025   | 0 0 0.45          | - | {WOOD}
    chair | - | V | box | 0.02 0.02 0.2125  | -0.23 0.19 0.6375 | - | {WOOD}
    chair | - | V | box | 0.02 0.02 0.2125  | -0.23 -0.19 0.6375 | - | {WOOD}
    chair | - | V | box | 0.02 0.21 0.08    | -0.23 0 0.77      | - | {WOOD}
    """,
)
CHAIR = FIXED_CHAIR + Parts(
    joints="free_chair | chair | free",
    masses="chair | 15.748 | -0.0591211582423 0 0.479664719329 | 1.02448531298789 0.925289033214800 0.546397586893577 "
    "| 0.949395449840527 0 -0.314083237091864 0",
)
BOARD = Parts(
    bodies="stand_board | - | 0 0 0.37 | -\nrolling_pivot | - | 0 0 0.17 | -",
    joints="free_stand_board | stand_board | free",
    masses="stand_board | 19.8 | 0 0 0 | 2.145 2.00244 0.15444 | 0.5 0.5 -0.5 0.5",
    geoms=f"""
    stand_board   | / stand_board_collision  | VC | box    | 0.15 0.55 0.03 | - | - | {WOOD}
    rolling_pivot | / pivot_sphere_collision | VC | sphere | 0.17           | - | - | rgba 0.2 0.4 0.8 1
    """,
)
ROLLING_PIVOT = Parts(
    joints="free_rolling_pivot | rolling_pivot | free",
    masses="rolling_pivot | 20.5795262761155 | 0 0 0 | 0.237899323751896 0.237899323751896 0.237899323751896 | -",
)
ON_BOARD = {"free_base": (-0.1, 0, 1.38, 1, 0, 0, 0)}


def sit(now: Quantities, memory: None) -> Outcome:
    """Sit on the chair, and stay there."""
    x, y, z = now.qpos[:3].tolist()
    chair_x, chair_y, _ = now.body["chair"].tolist()
    sitting = tolerance(z, (0.68, 0.72), 0.2)
    on_chair = tolerance(x - chair_x, (-0.19, 0.19), 0.2) * tolerance(y - chair_y, margin=0.1)
    posture = tolerance(float(now.site["head"][2]) - float(now.site["imu"][2]), (0.35, 0.45), 0.3)
    straight = upright(now, bound=0.95, margin=0.9)
    terms = {
        "small_control": small_control(now),
        "sit_reward": (0.5 * sitting + 0.5 * on_chair) * straight * posture,
        "dont_move": staying(now),
        "sitting": sitting,
        "upright": straight,
        "sitting_posture": posture,
    }
    return Outcome(terms["small_control"] * terms["sit_reward"] * terms["dont_move"], z < 0.5, terms)


def stand_before_chair(now: Quantities, rng: np.random.RandomState) -> None:
    """Draw where the robot stands before the chair, and which way it looks."""
    base = now.joint["free_base"]
    base[0] = rng.uniform(0.2, 0.4)
    base[1] = rng.uniform(-0.15, 0.15)
    yaw = rng.uniform(-1.8, 1.8)
    base[3:] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)


def balance(now: Quantities, memory: None) -> Outcome:
    """Stand on the board, which nothing but the ball may carry, and stay there."""
    tall, straight = standing(now, height=2.02), upright(now)
    terms = {
        "small_control": small_control(now),
        "stand_reward": tall * straight,
        "dont_move": staying(now),
        "standing": tall,
        "upright": straight,
    }
    terminated = now.qpos[2] < 0.8 or now.touched("ball", but=("floor", "board")) or now.touched("floor", but=("ball",))
    return Outcome(terms["small_control"] * terms["stand_reward"] * terms["dont_move"], terminated, terms)


BALANCE = Task(
    balance,
    BOARD,
    start=ON_BOARD,
    touches={"floor": "world/floor", "board": ".*/stand_board_collision", "ball": ".*/pivot_sphere_collision"},
)
TASKS = {
    "sit_simple": Task(sit, FIXED_CHAIR),
    "sit_hard": Task(sit, CHAIR, reset=stand_before_chair),
    "balance_simple": BALANCE,
    "balance_hard": dataclasses.replace(BALANCE, scenery=BOARD + ROLLING_PIVOT),
}
