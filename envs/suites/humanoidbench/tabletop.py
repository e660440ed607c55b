# ruff: noqa: E501 (the lines of a table)
"""Tasks at a table, and with cubes in the hands: spoon, insert, push and cube."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.suites.humanoidbench.furniture import (
    BLUE,
    METAL,
    RED,
    WHITE,
    WOOD,
    fixed,
    free,
    square_table,
)
from envs.suites.humanoidbench.locomotion import GOAL_MARKER, Goal, show_goal
from envs.suites.humanoidbench.parts import Parts
from envs.suites.humanoidbench.rewards import (
    HANDS,
    distance,
    small_control,
    stand_reward,
    standing,
    staying,
    tolerance,
    upright,
)
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities


def _low_table(pos: str, half_width: str, leg_y: str) -> Parts:
    """Return a table 0.9 m high, whose legs end under its top."""
    legs = ("0.4 {}", "0.4 -{}", "-0.4 {}", "-0.4 -{}")
    rows = [f"table_top / table_top_collision | VC | box | 0.5 {half_width} 0.05 | 0 0 0.4 | - | {WOOD}"]
    rows += [
        f"table_leg_{i} / table_leg_{i}_collision | VC | box | 0.05 0.05 0.4 | {leg.format(leg_y)} -0.05 | - | {WOOD}"
        for i, leg in enumerate(legs, 1)
    ]
    return fixed("table", pos, "\n".join(rows))


_NO_TOUCH = "contype 0 | conaffinity 0 | group 2"
"""What makes a geom one that is only seen, but there in training too, as its place is read by name."""

_CUP = f"""
    - | VC | box      | 0.12 0.02 0.1  | 0 0.1 0.1   | - | {WHITE}
    - | VC | box      | 0.12 0.02 0.1  | 0 -0.1 0.1  | - | {WHITE}
    - | V  | box      | 0.02 0.08 0.1  | -0.1 0 0.1  | - | {WHITE}
    - | V  | box      | 0.02 0.08 0.1  | 0.1 0 0.1   | - | {WHITE}
    - | V  | box      | 0.1 0.1 0.02   | 0 0 0.01    | - | {WHITE}
    - | VC | cylinder | 0.01 0.06      | 0 0.19 0.08 | - | {WHITE}
    - | VC | box      | 0.01 0.05 0.01 | 0 0.15 0.14 | - | {WHITE}
    - | VC | box      | 0.01 0.05 0.01 | 0 0.15 0.02 | - | {WHITE}
    - | C  | box      | 0.02 0.12 0.1  | -0.1 0 0.1  | -
    - | C  | box      | 0.02 0.12 0.1  | 0.1 0 0.1   | -
    - | C  | box      | 0.12 0.12 0.02 | 0 0 0.01    | -
"""
_SPOON = f"""
    spoon_handle | M | cylinder | 0.007 0.08 | 0 0 0.0035   | axis 1 0 0 | {_NO_TOUCH} | {METAL}
    spoon_plate  | M | cylinder | 0.03 0.005 | 0.1 0 0.0035 | -          | {_NO_TOUCH} | {METAL}
    -            | C | cylinder | 0.007 0.08 | 0 0 0.0035   | axis 1 0 0
    -            | C | cylinder | 0.03 0.005 | 0.1 0 0.0035 | -
"""
_SPOON_MASS = """
    0.0529044202865 | 0.0534441805226 0 0.0035 | 0.000197202831541 0.000191076725867 7.20078168944e-06 | 0 0.707106781187 0 0.707106781187
"""
SPOON = (
    _low_table("1 0 0.45", "0.5", "0.4")
    + fixed("cup", "0.75 -0.1 0.9", _CUP)
    + free("spoon", "0.75 0.2 0.9", _SPOON, _SPOON_MASS)
    + Parts(
        sites="goal | - | 0.75 0.1 0.9 | size 0.01 | rgba 0.2 0.9 0.3 1\n spoon_plate | spoon | 0.1 0 0.0035",
        sensors="spoon_gyro | gyro | site spoon_plate",  # no reward reads it
    )
)

_SMALL_PEG = f"""
    - | VC | box | 0.02 0.02 0.005 | 0 0 0.005     | - | {RED}
    - | VC | box | 0.02 0.005 0.01 | 0 -0.015 0.02 | - | {RED}
    - | VC | box | 0.02 0.005 0.01 | 0 0.015 0.02  | - | {RED}
    - | VC | box | 0.005 0.02 0.01 | -0.015 0 0.02 | - | {RED}
    - | VC | box | 0.005 0.02 0.01 | 0.015 0 0.02  | - | {RED}
"""
_SMALL_PEG_MASS = "0.048 | 0 0 0.015 | 1.6e-05 1.16e-05 1.16e-05 | 0.5 0.5 -0.5 0.5"
_SMALL_BLOCK = f"""
    - | V | box | 0.008 0.005 0.008 | 0 -0.145 0.008 | - | {BLUE}
    - | V | box | 0.008 0.14 0.008  | 0 0 0.008      | - | {WOOD}
    - | V | box | 0.008 0.005 0.008 | 0 0.145 0.008  | - | {BLUE}
    - | C | box | 0.008 0.15 0.008  | 0 0 0.008      | -
"""
_SMALL_BLOCK_MASS = "0.0768 | 0 0 0.008 | 0.0005776384 0.0005776384 3.2768e-06 | 0.707106781187 0.707106781187 0 0"
INSERT_SMALL = (
    square_table("0.9 0 0.45")
    + free("peg_a", "0.8 -0.2 0.95", _SMALL_PEG, _SMALL_PEG_MASS)
    + free("peg_b", "0.8 0.2 0.95", _SMALL_PEG, _SMALL_PEG_MASS)
    + free("block_a", "0.6 0 0.95", _SMALL_BLOCK, _SMALL_BLOCK_MASS)
    + Parts(
        sites="""
        peg_a       | peg_a   | 0 0 0.005
        peg_b       | peg_b   | 0 0 0.01
        block_peg_b | block_a | 0 -0.15 0.008
        block_peg_a | block_a | 0 0.15 0.008
        """
    )
)

_PEG = f"""
    - | VC | box | 0.04 0.04 0.005 | 0 0 0.005    | - | {RED}
    - | VC | box | 0.04 0.01 0.03  | 0 -0.03 0.04 | - | {RED}
    - | VC | box | 0.04 0.01 0.03  | 0 0.03 0.04  | - | {RED}
    - | VC | box | 0.01 0.04 0.03  | -0.03 0 0.04 | - | {RED}
    - | VC | box | 0.01 0.04 0.03  | 0.03 0 0.04  | - | {RED}
"""
_PEG_MASS = "0.448 | 0 0 0.035 | 0.000631466666667 0.000498666666667 0.000498666666667 | 0.5 0.5 -0.5 0.5"
_BLOCK = f"""
    - | V | box | 0.018 0.025 0.018 | 0 -0.125 0.018 | - | {BLUE}
    - | V | box | 0.018 0.1 0.018   | 0 0 0.018      | - | {WOOD}
    - | V | box | 0.018 0.025 0.018 | 0 0.125 0.018  | - | {BLUE}
    - | C | box | 0.018 0.15 0.018  | 0 0 0.018      | -
"""
_BLOCK_MASS = "0.3888 | 0 0 0.018 | 0.0029579904 0.0029579904 8.39808e-05 | 0.707106781187 0.707106781187 0 0"
INSERT_NORMAL = (
    square_table("0.9 0 0.45")
    + free("peg_a", "0.8 -0.2 0.95", _PEG, _PEG_MASS)
    + free("peg_b", "0.8 0.2 0.95", _PEG, _PEG_MASS)
    + free("block_a", "0.6 0 0.95", _BLOCK, _BLOCK_MASS)
    + Parts(
        sites="""
        peg_a       | peg_a   | 0 0 0.01
        peg_b       | peg_b   | 0 0 0.01
        block_peg_b | block_a | 0 -0.15 0.018
        block_peg_a | block_a | 0 0.15 0.018
        """
    )
)

PUSH = (
    Parts(geoms=GOAL_MARKER)
    + _low_table("0.9 0 0.45", "1", "0.85")
    + free(
        "object",
        "0.7 0 1",
        f"object / object_collision | VC | box | 0.1 0.1 0.1 | 0 0 0 | - | {RED}",
        "0.3 | 0 0 0 | 0.001 0.001 0.001 | -",
    )
)

_CUBE = "box | 0.025 0.025 0.025 | 0 0 0 | -"
_CUBE_MASS = "0.0625 | 0 0 0 | 2.60416666667e-05 2.60416666667e-05 2.60416666667e-05 | -"
CUBE = (
    free("left_cube_to_rotate", "0.45 0.21 1.25", f"- | VC | {_CUBE} | {RED}", _CUBE_MASS)
    + free("right_cube_to_rotate", "0.45 -0.21 1.25", f"- | VC | {_CUBE} | {RED}", _CUBE_MASS)
    + fixed("target_cube", "0.5 0 1.5", f"- | V | {_CUBE} | {BLUE}")
)


@dataclass(frozen=True)
class Stirring:
    """How many steps the spoon's target has gone round."""

    steps: int = 0


def start_stirring(now: Quantities, rng: np.random.RandomState) -> Stirring:
    """Begin at the start of the circle."""
    return Stirring()


def spoon_target(steps: int) -> tuple[float, float, float]:
    """Return where the plate of the spoon should be: on a circle in the cup that takes 40 steps."""
    angle = 2 * math.pi * steps / 40
    return 0.75 + 0.06 * math.cos(angle), -0.1 + 0.06 * math.sin(angle), 0.95


def see_spoon(now: Quantities, memory: Stirring) -> tuple[np.ndarray, ...]:
    """Return positions, velocities and the target."""
    return now.qpos, now.qvel, np.array(spoon_target(memory.steps))


def stir(now: Quantities, memory: Stirring) -> Outcome:
    """Judge how the robot holds the spoon in the cup and stirs with it."""
    stand, control = stand_reward(now), small_control(now)
    plate = now.geom["spoon_plate"].tolist()
    hand = min(distance(now.site[hand], now.geom["spoon_handle"]) for hand in HANDS)
    near = tolerance(hand, (0, 0.2), 0.5)
    in_cup = float(abs(plate[0] - 0.75) < 0.1 and abs(plate[1] + 0.1) < 0.1 and abs(plate[2] - 1.0) < 0.1)
    spinning = tolerance(distance(plate, spoon_target(memory.steps)), (0, 0), 0.15)
    terms = {
        "stand_reward": stand,
        "small_control": control,
        "hand_tool_proximity_reward": near,
        "reward_spoon_in_cup": in_cup,
        "spoon_spinning_reward": spinning,
    }
    reward = 0.15 * stand * control + 0.25 * near + 0.25 * in_cup + 0.35 * spinning
    return Outcome(reward, now.qpos[2] < 0.58, terms, Stirring(memory.steps + 1))


def show_spoon(model: Any, memory: Stirring) -> None:
    """Show the target."""
    model.site("goal").pos[:] = spoon_target(memory.steps)


def insert(now: Quantities, memory: None) -> Outcome:
    """Judge how near the ends of the block are to the pegs, and how high the pegs are."""
    stand, control = stand_reward(now), small_control(now)
    pegs = {side: now.site[f"peg_{side}"].tolist() for side in "ab"}
    ends = {side: now.site[f"block_peg_{side}"].tolist() for side in "ab"}
    fit = sum(tolerance(distance(ends[side], pegs[side]), (0, 0), 0.5, "linear") for side in "ab") / 2
    height = sum(tolerance(pegs[side][2] - 1.1, (0, 0), 0.15, "linear") for side in "ab") / 2
    hand = min(distance(now.site[hand], pegs[side]) for hand, side in zip(HANDS, "ab", strict=True))
    near = tolerance(hand, (0, 0.2), 0.5)
    terms: dict[str, float] = {
        "small_control": control,
        "stand_reward": stand,
        "cube_target_reward": fit,
        "hand_tool_proximity_reward": near,
        "peg_height_reward": height,
    }
    fallen = now.qpos[2] < 0.5
    dropped = any(place[2] < 0.5 for places in (ends, pegs) for place in places.values())
    if fallen or dropped:
        terms["terminated_reason"] = 0 if fallen else 1
    return Outcome((0.5 * stand * control + 0.5 * fit) * (0.5 * height + 0.5 * near), fallen or dropped, terms)


def draw_push_goal(now: Quantities, rng: np.random.RandomState) -> Goal:
    """Draw a place on the table."""
    return Goal(np.array([rng.uniform(0.7, 1.0), rng.uniform(-0.5, 0.5), 1.0]))


def see_push(now: Quantities, memory: Goal) -> tuple[np.ndarray, ...]:
    """Return the robot's positions and velocities, its left hand, the goal, and the object's position and velocity."""
    robot, thing = now.qpos[:-7], now.joint["free_object"][:3]
    return robot, now.qvel[:-6], now.site["left_hand"], memory.goal, thing, now.dof["free_object"][:3]


def push(now: Quantities, memory: Goal) -> Outcome:
    """Judge how far the object is from the goal, and the left hand from the object."""
    thing = now.joint["free_object"][:3].tolist()
    left, hand = distance(thing, memory.goal), distance(now.site["left_hand"], thing)
    success = left < 0.05
    bonus = 1000.0 if success else 0.0
    terms = {"target_dist": left, "hand_dist": hand, "reward_success": bonus, "success": success}
    return Outcome(-0.1 * hand - left + bonus, success, terms, memory)


@dataclass(frozen=True)
class CubeTarget:
    """How the cubes have to be turned."""

    target_quat: np.ndarray


def quaternion(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Return the quaternion of a turn about x, then y, then z."""
    cr, cp, cy = (math.cos(angle / 2) for angle in (roll, pitch, yaw))
    sr, sp, sy = (math.sin(angle / 2) for angle in (roll, pitch, yaw))
    return np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )


def turn_cubes(now: Quantities, rng: np.random.RandomState) -> CubeTarget:
    """Turn both cubes and the target at random."""
    left, right, target = (quaternion(*rng.uniform(-3.14, 3.14, 3)) for _ in range(3))
    now.joint["free_left_cube_to_rotate"][3:] = left
    now.joint["free_right_cube_to_rotate"][3:] = right
    return CubeTarget(target)


def see_cubes(now: Quantities, memory: CubeTarget) -> tuple[np.ndarray, ...]:
    """Return positions, velocities and the target."""
    return now.qpos, now.qvel, memory.target_quat / np.linalg.norm(memory.target_quat)


def rotate(now: Quantities, memory: CubeTarget) -> Outcome:
    """Judge how the cubes are turned, and how near they are to the hands; a quaternion and its negative differ."""
    target = memory.target_quat / np.linalg.norm(memory.target_quat)
    cubes = ("left_cube_to_rotate", "right_cube_to_rotate")
    aligned = sum(tolerance(distance(now.quat[cube], target), (0, 0), 0.3) for cube in cubes) / 2
    near = (
        sum(
            tolerance(distance(now.site[hand], now.body[cube]), (0, 0.1), 0.5)
            for hand, cube in zip(HANDS, cubes, strict=True)
        )
        / 2
    )
    up, high = upright(now), standing(now)
    control, still = small_control(now), staying(now)
    terms = {
        "small_control": control,
        "stand_reward": high * up,
        "dont_move": still,
        "standing": high,
        "upright": up,
        "orientation_alignment_reward": aligned,
        "cube_closeness_reward": near,
    }
    fallen = now.qpos[2] < 0.58
    dropped = any(now.body[cube][2] < 0.6 for cube in cubes)
    if fallen or dropped:
        terms["terminated_reason"] = 0 if fallen else 1
    return Outcome(0.2 * high * up * control * still + 0.5 * aligned + 0.3 * near, fallen or dropped, terms, memory)


def show_cubes(model: Any, memory: CubeTarget) -> None:
    """Turn the cube that shows the target."""
    model.body("target_cube").quat[:] = memory.target_quat


TASKS = {
    "spoon": Task(stir, SPOON, reset=start_stirring, observe=see_spoon, show=show_spoon, camera="cam_tabletop"),
    "insert_small": Task(insert, INSERT_SMALL, camera="cam_inhand", max_episode_steps=500),
    "insert_normal": Task(insert, INSERT_NORMAL, camera="cam_inhand", max_episode_steps=500),
    "push": Task(
        push,
        PUSH,
        start={"left_wrist_yaw": (1.57,), "right_shoulder_pitch": (1.57,)},  # the right wrist was meant
        reset=draw_push_goal,
        observe=see_push,
        values={"goal": (3,)},
        show=show_goal,
        camera="cam_tabletop",
        max_episode_steps=500,
    ),
    "cube": Task(
        rotate,
        CUBE,
        start={
            "free_left_cube_to_rotate": (0.45, 0.21, 1.125, 1, 0, 0, 0),
            "free_right_cube_to_rotate": (0.45, -0.21, 1.125, 1, 0, 0, 0),
        },
        noise=0.0,
        reset=turn_cubes,
        observe=see_cubes,
        values={"target_quat": (4,)},
        show=show_cubes,
        camera="cam_inhand",
        max_episode_steps=500,
    ),
}
