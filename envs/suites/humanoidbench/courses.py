"""Courses along x: stairs, slides, a tunnel, poles, hurdles and a maze."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.suites.humanoidbench.parts import Parts
from envs.suites.humanoidbench.rewards import (
    INFINITE,
    moving,
    small_control,
    standing,
    tolerance,
    upness,
    upright,
    velocity,
)
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

STONE = "rgba 0.6 0.55 0.5 1"
DARK_STONE = "rgba 0.4 0.36 0.32 1"
GLASS = "rgba 0.6 0.42 0.25 0.3"  # a camera may stand behind it
PAINTED = "rgba 0.85 0.3 0.2 1"
PALE = "rgba 0.5 0.5 0.5 0.3"

# Stairs: four pyramids of five layers each, 18 cm high and 60 cm deep.
PYRAMIDS = {"stairs_50": 3, "stairs_40": 9, "stairs_30": 15, "stairs_20": 21}
STAIRS = Parts(
    bodies="stairs | - | 0.2 0 0 | -\n" + "\n".join(f"{name} | stairs | {x} 0 0 | -" for name, x in PYRAMIDS.items()),
    geoms="\n".join(
        f"{name} | - | VC | box | {2.7 - 0.6 * layer} 5 0.09 | 0 0 {0.09 + 0.18 * layer} | - | {colour}"
        for name in PYRAMIDS
        for layer, colour in enumerate((STONE, DARK_STONE, STONE, DARK_STONE, STONE))
    )
    + """
    - | - | C | box | 15.5 0.1 2 | 13.5 -5.05 2 | -
    - | - | C | box | 15.5 0.1 2 | 13.5 5.05 2  | -
    - | - | C | box | 0.1 7.25 2 | -2.1 0 2     | -
    """,
)

# Slides: nine ridges across, 1.75 m high, one after another.
SLIDES = Parts(
    bodies="slides | - | 0 0 0 | -",
    meshes="slide | 0.3 -5 0 | 0.3 5 0 | 5.3 -5 1.75 | 5.3 5 1.75 | 10.3 -5 0 | 10.3 5 0",
    geoms="\n".join(
        f"slides | - | VC | mesh | slide | {x} 0 0 | - | {(STONE, DARK_STONE)[x // 10 % 2]}" for x in range(0, 90, 10)
    )
    + """
    - | - | C | box | 53 0.15 4   | 48.85 -5.15 4 | -
    - | - | C | box | 53 0.15 4   | 48.85 5.15 4  | -
    - | - | C | box | 0.15 5.15 4 | -4 0 4        | -
    """,
)

TUNNEL = Parts(
    bodies="tunnel | - | 2.2 0 0 | -",
    geoms=f"""
    tunnel | left_wall  | VC | box | 8 0.2 0.775 | 8 -1.35 0.775 | - | {PALE}
    tunnel | right_wall | VC | box | 8 0.2 0.775 | 8 1.35 0.775  | - | {PALE}
    tunnel | ceiling    | VC | box | 8 1.15 0.2  | 8 0 1.35      | - | {PALE}
    """,
)

# Poles: 41 rows a metre apart, four and three poles in turn.
ACROSS = {1: (2.25, 0.75, -0.75, -2.25), 0: (1.5, 0, -1.5)}
POLES = Parts(
    bodies="left_barrier | - | 0 0 0 | -\nright_barrier | - | 0 0 0 | -\nbehind_barrier | - | 0 0 0 | -\n"
    + "pole_rows | - | 0 0 0 | -\n"
    + "\n".join(f"pole_row_{row} | pole_rows | {row} 0 0 | -" for row in range(1, 42)),
    geoms=f"""
    left_barrier   | - | VC | box | 20.75 0.15 1 | 20 -3.15 1 | - | {GLASS}
    right_barrier  | - | VC | box | 20.75 0.15 1 | 20 3.15 1  | - | {GLASS}
    behind_barrier | - | VC | box | 0.15 3 1     | -0.6 0 1   | - | {GLASS}
    """
    + "\n".join(
        f"pole_row_{row} | / pole_r{row}_c{column} | VC | cylinder | 0.05 1 | 0 {y} 1 | - | {PAINTED}"
        for row in range(1, 42)
        for column, y in enumerate(ACROSS[row % 2], 1)
    ),
)

# Hurdles: ten rows, each of which touches as one box across.
HURDLES = Parts(
    bodies="left_barrier | - | 0 0 0 | -\nright_barrier | - | 0 0 0 | -\nbehind_barrier | - | 0 0 0 | -",
    geoms=f"""
    left_barrier   | / left_barrier_collision   | VC | box | 35.5 0.275 1 | 35 -4.725 1  | - | {GLASS}
    right_barrier  | / right_barrier_collision  | VC | box | 35.5 0.275 1 | 35 4.725 1   | - | {GLASS}
    behind_barrier | / behind_barrier_collision | VC | box | 0.05 5 1     | -0.525 0 1   | - | {GLASS}
    """
    + "\n".join(
        f"""
    - | - | C | box | 0.03 5 0.1875 | {x} 0 0.1875 | -
    - | - | V | box | 0.01 4.5 0.03 | {x} 0 0.34   | - | {PAINTED}
    """
        + "\n".join(
            f"""
    - | - | V | box | 0.15 0.01 0.01 | {x - 0.1} {y} 0.01 | - | {PAINTED}
    - | - | V | box | 0.01 0.01 0.2  | {x} {y} 0.2        | - | {PAINTED}
    """
            for middle in range(-4, 5)
            for y in (middle - 0.47, middle + 0.47)
        )
        for x in range(7, 71, 7)
    ),
)

# The maze: blocks of 1.5 m; the robot starts at the fifth row's first gap.
MAP = ["XXXXXXX", "X.....X", "XXX.X.X", "X.....X", "X.X.XXX", "X.....X", "XXXXXXX"]
CHECKPOINTS = ((0, 0), (3, 0), (3, 6), (6, 6), (6, 6))
MAZE = Parts(
    bodies="maze | - | -2.25 -2.25 0 | -",
    geoms="\n".join(
        f"- | intersection_{letter} | V | sphere | 0.05 | {x} {y} 1 | - | rgba 0.9 0.2 0.2 1"
        for letter, (x, y) in zip("abcd", CHECKPOINTS[:4], strict=True)
    )
    + "\n"
    + "\n".join(
        f"maze | / block_collision_{row}{column} | VC | box | 0.75 0.75 0.6 "
        f"| {0.75 + 1.5 * column} {9.75 - 1.5 * row} 0.6 | - | {STONE}"
        for row, cells in enumerate(MAP)
        for column, cell in enumerate(cells)
        if cell == "X"
    ),
    sites="\n".join(
        f"intersection_{letter} | - | {x} {y} 1" for letter, (x, y) in zip("abcd", CHECKPOINTS[:4], strict=True)
    ),
)


def climb(now: Quantities, memory: None) -> Outcome:
    """Walk up and down, with the head well above both feet."""
    head = float(now.site["head"][2])
    above = (head - float(now.site[foot][2]) for foot in ("left_foot", "right_foot"))
    tall = math.prod(tolerance(height, (1.2, INFINITE), 0.45) for height in above)
    straight = upright(now, bound=0.5)
    terms = {
        "stand_reward": tall * straight,
        "small_control": small_control(now),
        "move": moving(now, 1.0),
        "standing": tall,
        "upright": straight,
    }
    reward = terms["stand_reward"] * terms["small_control"] * terms["move"]
    return Outcome(reward, upness(now) < 0.1, terms)


def crawl(now: Quantities, memory: None) -> Outcome:
    """Crawl through the tunnel; the episode never terminates."""
    _, y, z = now.site["imu"].tolist()
    slant = math.dist(now.quat["pelvis"], (0.75, 0.0, 0.65, 0.0))
    terms = {
        "crawling": tolerance(z, (0.6, 1.0), 1.0),
        "crawling_head": tolerance(float(now.site["head"][2]), (0.6, 1.0), 1.0),
        "small_control": small_control(now),
        "move": moving(now, 1.0),
        "in_tunnel": 1.0 if -1.0 <= y <= 1.0 else 0.0,
    }
    low = min(terms["crawling"], terms["crawling_head"])
    reward = 0.1 * terms["small_control"] + 0.25 * low + 0.4 * terms["move"] + 0.25 * tolerance(slant, margin=1.0)
    return Outcome(reward * terms["in_tunnel"], False, terms)


def pass_poles(now: Quantities, memory: None) -> Outcome:
    """Walk between the poles without touching one."""
    tall, straight = standing(now), upright(now)
    terms = {
        "stand_reward": tall * straight,
        "small_control": small_control(now),
        "move": moving(now, 0.5),
        "standing": tall,
        "upright": straight,
        "collision_discount": 0.1 if now.touched("poles") else 1.0,
    }
    reward = 0.5 * terms["small_control"] * terms["stand_reward"] + 0.5 * terms["move"]
    return Outcome(reward * terms["collision_discount"], now.qpos[2] < 0.5, terms)


def hurdle(now: Quantities, memory: None) -> Outcome:
    """Run over the hurdles without touching the barriers at the sides and behind."""
    tall, straight = standing(now), upright(now, bound=0.8)
    terms = {
        "stand_reward": tall * straight,
        "small_control": small_control(now),
        "move": moving(now, 5.0),
        "standing": tall,
        "upright": straight,
        "wall_collision_discount": 0.1 if now.touched("barriers") else 1.0,
    }
    reward = terms["small_control"] * terms["stand_reward"] * terms["move"] * terms["wall_collision_discount"]
    return Outcome(reward, now.qpos[2] < 0.2, terms)


@dataclass(frozen=True)
class Way:
    """How far the way through the maze has been gone.

    Attributes:
      stage: the number of the checkpoint that is next.
      heading: the direction to walk in.
    """

    stage: int = 0
    heading: tuple[int, int] = (1, 0)


HEADINGS = ((1, 0), (0, 1), (1, 0), (0, 1))
"""Where to walk from each checkpoint; there is nowhere to go from the last one."""


def enter(now: Quantities, rng: np.random.RandomState) -> Way:
    """Return the beginning of the way."""
    return Way()


def advanced(way: Way, x: float, y: float) -> Way:
    """Return the way once the pelvis is at a place (m)."""
    if math.dist((x, y), CHECKPOINTS[way.stage]) >= 0.4:
        return way
    return Way(min(way.stage + 1, 4), HEADINGS[way.stage] if way.stage < 4 else way.heading)


def find_way(now: Quantities, memory: Way) -> Outcome:
    """Walk from checkpoint to checkpoint without touching a block."""
    x, y, _ = now.body["pelvis"].tolist()
    way = advanced(memory, x, y)
    along_x, along_y, _ = velocity(now)
    if way.stage == 4:
        heading = 1.0
    else:
        heading = tolerance(along_x - 2.0 * way.heading[0], margin=1.0, kind="linear", at_margin=0.0)
        heading *= tolerance(along_y - 2.0 * way.heading[1], margin=1.0, kind="linear", at_margin=0.0)
    imu_x, imu_y, _ = now.site["imu"].tolist()
    terms = {
        "stand_reward": standing(now) * upright(now),
        "small_control": small_control(now),
        "move": (5.0 * heading + 1.0) / 6.0,
        "wall_collision_discount": 0.1 if now.touched("blocks") else 1.0,
        "stage_convert_reward": 100.0 * way.stage if way.stage > memory.stage else 0.0,
        "checkpoint_proximity_reward": tolerance(math.dist((imu_x, imu_y), CHECKPOINTS[way.stage]), margin=1.0),
        "success_subtasks": way.stage,
    }
    reward = 0.2 * terms["stand_reward"] * terms["small_control"] + 0.4 * terms["move"]
    reward += 0.4 * terms["checkpoint_proximity_reward"]
    reward = reward * terms["wall_collision_discount"] + terms["stage_convert_reward"]
    return Outcome(reward, now.qpos[2] < 0.2, terms, way)


def show_way(model: Any, way: Way) -> None:
    """Colour the markers of the checkpoints that have been reached."""
    for number, letter in enumerate("abcd"):
        reached = number < way.stage
        model.geom(f"intersection_{letter}").rgba = (0.2, 0.8, 0.2, 1) if reached else (0.9, 0.2, 0.2, 1)


TASKS = {
    "stair": Task(climb, STAIRS, camera="cam_course"),
    "slide": Task(climb, SLIDES, camera="cam_course"),
    "crawl": Task(crawl, TUNNEL, camera="cam_course"),
    "pole": Task(pass_poles, POLES, touches={"poles": r"pole_row_\d+/pole_r.*"}),
    "hurdle": Task(hurdle, HURDLES, touches={"barriers": r".*_barrier/.*_barrier_collision"}, camera="cam_hurdle"),
    "maze": Task(
        find_way, MAZE, reset=enter, touches={"blocks": "maze/block_collision_.*"}, show=show_way, camera="cam_above"
    ),
}
