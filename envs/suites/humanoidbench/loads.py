"""Tasks with things that are thrown, lifted or carried: basketball, powerlift, room and truck."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from envs.suites.humanoidbench.furniture import (
    BLACK,
    BLUE,
    CARDBOARD,
    CHAIR,
    CHAIR_MASS,
    HEADPHONE,
    HEADPHONE_MASS,
    HEADPHONE_QUAT,
    METAL,
    NET,
    ORANGE,
    SNOW_GLOBE,
    SNOW_GLOBE_MASS,
    TARPAULIN,
    TROPHY,
    TROPHY_MASS,
    WHITE,
    fixed,
    free,
    package,
    shelf,
    square_table,
)
from envs.suites.humanoidbench.parts import Parts
from envs.suites.humanoidbench.rewards import (
    HANDS,
    distance,
    small_control,
    stand_reward,
    standing,
    tolerance,
    upright,
)
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

_TURN, _TURN_BACK = (f"{math.cos(22.5)!r} 0 0 {sign * math.sin(22.5)!r}" for sign in (-1, 1))
"""Upstream turns the corners of the ring by 45 radians, where 45 degrees were meant."""

BASKETBALL = (
    fixed("basketball_hoop", "6.0198 0 0")
    + Parts(
        bodies="baskethoop | basketball_hoop | -0.2 0 2.25 | -",
        geoms=f"""
        baskethoop | - | VC | box      | 0.01 0.2 0.2   | 0.25 0 -0.2      | -            | {NET}
        baskethoop | - | VC | box      | 0.15 0.01 0.2  | 0.2 0.2 -0.2     | {_TURN}      | {NET}
        baskethoop | - | VC | box      | 0.15 0.01 0.2  | 0.2 -0.2 -0.2    | {_TURN_BACK} | {NET}
        baskethoop | - | VC | box      | 0.01 0.2 0.2   | -0.3 0 -0.2      | -            | {NET}
        baskethoop | - | VC | box      | 0.15 0.01 0.2  | -0.25 0.2 -0.2   | {_TURN_BACK} | {NET}
        baskethoop | - | VC | box      | 0.15 0.01 0.2  | -0.25 -0.2 -0.2  | {_TURN}      | {NET}
        baskethoop | - | VC | box      | 0.2 0.01 0.2   | -0.05 0.25 -0.2  | -            | {NET}
        baskethoop | - | VC | box      | 0.2 0.01 0.2   | -0.05 -0.25 -0.2 | -            | {NET}
        baskethoop | - | VC | box      | 0.01 0.55 0.35 | 0.27 0 0.3       | -            | {WHITE}
        baskethoop | - | VC | cylinder | 0.05 1         | 0.6 0 -1.25      | -            | {METAL}
        baskethoop | - | VC | box      | 0.35 0.25 0.08 | 0.9 0 -2.17      | -            | {METAL}
        """,
        sites="hoop_center | - | 5.9 0 2.25",
    )
    + free(
        "basketball",
        "0.35 0.9 2",
        f"/ basketball_collision | VC | sphere | 0.1193 | 0 0 0 | - | {ORANGE}",
        "0.248930427337 | 0 0 0 | 0.00141715992711 0.00141715992711 0.00141715992711 | -",
    )
)

_DUMBBELL = f"""
    post         | VC | cylinder | 0.029 0.65 | 0 0 0     | axis 0 1 0 | {METAL}
    left_weight  | VC | cylinder | 0.2 0.2    | 0 0.75 0  | axis 0 1 0 | {BLACK}
    right_weight | VC | cylinder | 0.2 0.2    | 0 -0.75 0 | axis 0 1 0 | {BLACK}
"""
POWERLIFT = free(
    "dumbbell",
    "0.5 0 0.2",
    _DUMBBELL,
    "103.965668163 | 0 0 0 | 59.3788331331 59.3788331331 2.01206359101 | 0.707106781187 0.707106781187 0 0",
)

ROOM = (
    Parts(
        geoms=f"""
        - | - | VC | box | 0.15 4 1.5 | -4.15 0 1.5 | - | {WHITE}
        - | - | VC | box | 0.15 4 1.5 | 4.15 0 1.5  | - | {WHITE}
        - | - | VC | box | 4 0.15 1.5 | 0 3.85 1.5  | - | {WHITE}
        - | - | VC | box | 4 0.15 1.5 | 0 -3.85 1.5 | - | {WHITE}
        """
    )
    + square_table("2.7 -0.5 0.45")
    + shelf("2.7 0.5 0")
    + free("chair", "-0.25 0 0", CHAIR, CHAIR_MASS)
    + free("trophy", "0.95 0.02 0", TROPHY, TROPHY_MASS)
    + free("headphone", "0.85 0 0", quat=HEADPHONE_QUAT)
    + fixed("centering_trick", "0 -0.05 0", HEADPHONE, parent="headphone")
    + Parts(masses=f"centering_trick | {HEADPHONE_MASS.strip()}")
    + package("a", "1.2 0 0.1")
    + package("b", "1 0.8 0.1")
    + free("snow_globe", "0.95 0.2 0", SNOW_GLOBE, SNOW_GLOBE_MASS)
    + Parts(
        sites="""
        reaching_point_1f | trophy          | 0 0 0
        headphone         | centering_trick | 0 0 0
        reaching_point_2d | snow_globe      | 0 0 0
        """
    )
)

_RAMP = f"{math.cos(0.25)!r} 0 {-math.sin(0.25)!r} 0"
_TRUCK = f"""
    truck_base              | V  | box      | 4 1.2 0.2    | 0 0 0.8       | -          | {BLUE}
    truck_wheel_1           | V  | cylinder | 0.5 0.2      | -3.5 0.8 0.5  | axis 0 1 0 | {BLACK}
    truck_wheel_2           | V  | cylinder | 0.5 0.2      | -3.5 -0.8 0.5 | axis 0 1 0 | {BLACK}
    truck_wheel_3           | V  | cylinder | 0.5 0.2      | 3.5 0.8 0.5   | axis 0 1 0 | {BLACK}
    truck_wheel_4           | V  | cylinder | 0.5 0.2      | 3.5 -0.8 0.5  | axis 0 1 0 | {BLACK}
    truck_base_collision    | C  | box      | 4 1.2 0.5    | 0 0 0.5       | -
    truck_left_wall         | M  | box      | 4 0.05 1     | 0 1.15 2      | -          | {TARPAULIN}
    truck_right_wall        | M  | box      | 4 0.05 1     | 0 -1.15 2     | -          | {TARPAULIN}
    truck_behind_wall       | M  | box      | 0.05 1.2 1   | 4 0 2         | -          | {TARPAULIN}
    truck_top               | M  | box      | 4 1.2 0.05   | 0 0 3.05      | -          | {TARPAULIN}
    slide / slide_collision | VC | box      | 0.85 1.2 0.1 | -4.7 0 0.5    | {_RAMP}    | {METAL}
"""
_PACKAGE_WALL = f"""
    package_wall_a         | V | box | 0.2 0.4 0.2  | 0 0.7 0.2     | - | {CARDBOARD}
    package_wall_b         | V | box | 0.2 0.4 0.3  | 0 -0.7 0.3    | - | {CARDBOARD}
    package_wall_c         | V | box | 0.2 0.3 0.35 | 0.16 0 0.35   | - | {CARDBOARD}
    package_wall_d         | V | box | 0.2 0.4 0.4  | 0.1 0.7 0.7   | - | {CARDBOARD}
    package_wall_e         | V | box | 0.2 0.4 0.4  | 0.1 -0.7 0.7  | - | {CARDBOARD}
    package_wall_f         | V | box | 0.2 0.3 0.35 | 0.2 0 0.7     | - | {CARDBOARD}
    package_wall_g         | V | box | 0.2 0.4 0.4  | 0.14 0.7 1.1  | - | {CARDBOARD}
    package_wall_h         | V | box | 0.2 0.4 0.4  | 0.14 -0.7 1.1 | - | {CARDBOARD}
    package_wall_i         | V | box | 0.2 0.3 0.35 | 0.24 0 1.05   | - | {CARDBOARD}
    package_wall_collision | C | box | 0.2 1.1 0.9  | 0 0 0.9       | -
"""
TRUCK = (
    fixed("truck", "8 0 0", _TRUCK)
    + square_table("2 -1.7 0.45")
    + fixed("package_wall", "7 0 1", _PACKAGE_WALL)
    + package("a", "5 0 1.1")
    + package("b", "5.1 0 1.3")
    + package("c", "5 0.35 1.3")
    + package("d", "5 -0.5 1.1")
    + package("e", "5.1 -0.6 1.4")
)


@dataclass(frozen=True)
class Throw:
    """Whether the ball has touched anything yet, so that it has to be thrown rather than caught."""

    thrown: bool = False


def pass_ball(now: Quantities, rng: np.random.RandomState) -> Throw:
    """Throw the ball at the robot, from 1.5 m away."""
    angle = 1.45 * rng.random_sample() * rng.choice([1, -1])
    x, y = math.cos(angle), math.sin(angle)
    now.joint["free_basketball"][:3] = 1.5 * x, 1.5 * y, 0.3924 + now.site["left_hand"][2]
    now.dof["free_basketball"][:] = -7.5 * x, -7.5 * y, 0, 0, 0, 0
    return Throw()


def throw(now: Quantities, memory: Throw) -> Outcome:
    """Judge how the ball is caught, and once it has been touched how near it is to the hoop."""
    stand, control = stand_reward(now), small_control(now)
    ball = now.body["basketball"].tolist()
    left = distance(ball, now.site["hoop_center"])
    near = tolerance(max(distance(now.site[hand], ball) for hand in HANDS), (0, 0.2), 1)
    at_hoop = tolerance(left, (0, 0), 7, "linear")
    thrown, success = memory.thrown or now.touched("ball"), left < 0.05
    catching, throwing = 0.5 * stand * control + 0.5 * near, 0.15 * stand * control + 0.05 * near + 0.8 * at_hoop
    terms = {
        "reward_hand_proximity": near,
        "reward_ball_success": at_hoop,
        "stand_reward": stand,
        "small_control": control,
        "success_subtasks": int(thrown),
        "success": success,
    }
    dropped = now.joint["free_basketball"][2] < 0.5
    ended = bool(dropped or now.qpos[2] < 0.5 or success)
    reward = (throwing if thrown else catching) + (1000 if success else 0)
    return Outcome(reward, ended, terms, Throw(thrown))


def lift(now: Quantities, memory: None) -> Outcome:
    """Judge how high the dumbbell is."""
    high, up = standing(now, margin=1.65 / 3), upright(now, bound=0.8)
    control = small_control(now)
    lifted = tolerance(float(now.body["dumbbell"][2]), (1.9, 2.1), 2)
    terms = {
        "stand_reward": high * up,
        "small_control": control,
        "reward_dumbbell_lifted": lifted,
        "standing": high,
        "upright": up,
    }
    return Outcome(0.2 * high * up * control + 0.8 * lifted, now.qpos[2] < 0.2, terms)


_FLOOR, _IDENTITY = (0, 0, 0), (1, 0, 0, 0)
_HEADPHONE_QUAT = (0.0733422, 0.0519076, -0.240058, -0.966591)
_IN_ROOM = ("chair", "trophy", "headphone", "package_a", "package_b", "snow_globe")


def scatter(now: Quantities, rng: np.random.RandomState) -> None:
    """Scatter the things over the room; upstream's indices reach two joints of a little finger too."""
    for place in range(-7, 0):
        x, y = rng.uniform(place + 3.5, place + 4.5), rng.uniform(1.2, 3.5) * rng.choice([1, -1])
        now.qpos[7 * place : 7 * place + 2] = x, y
    now.joint["free_headphone"][3:] = _HEADPHONE_QUAT


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)


def tidy(now: Quantities, memory: None) -> Outcome:
    """Judge how near together the things are."""
    high, up = standing(now), upright(now)
    control = small_control(now)
    spread = max(_variance([float(now.body[thing][axis]) for thing in _IN_ROOM]) for axis in (0, 1))
    organised = tolerance(spread, (0, 0), 3)
    terms = {
        "stand_reward": high * up,
        "small_control": control,
        "standing": high,
        "upright": up,
        "room_object_organized": organised,
    }
    return Outcome(0.2 * high * up * control + 0.8 * organised, now.qpos[2] < 0.3, terms)


@dataclass(frozen=True)
class Unloading:
    """Where the packages are taken to be, in the order of their moves, and how high each was at first."""

    on_truck: tuple[str, ...] = tuple("abcde")
    picked_up: tuple[str, ...] = ()
    on_table: tuple[str, ...] = ()
    heights: tuple[float, ...] | None = None


def moved(source: Sequence[str], goes: Callable[[str], bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split packages into those that stay and those that go; as upstream, pass over the one after each that goes."""
    stay, go = list(source), []
    i = 0
    while i < len(stay):
        if goes(stay[i]):
            go.append(stay.pop(i))
        i += 1
    return tuple(stay), tuple(go)


def unloaded(memory: Unloading, places: Mapping[str, Sequence[float]]) -> tuple[Unloading, float]:
    """Return where the packages are now, and the bonus for those that were picked up, put down and lost.

    Args:
      memory: where they were.
      places: the position of each package.
    """
    heights = memory.heights or tuple(places[letter][2] for letter in "abcde")
    first = dict(zip("abcde", heights, strict=True))
    truck, up = moved(memory.on_truck, lambda letter: places[letter][2] > first[letter] + 0.1)
    held, down = moved((*memory.picked_up, *up), lambda letter: _on_table(*places[letter]))
    table, lost = moved((*memory.on_table, *down), lambda letter: not _on_table(*places[letter]))
    return Unloading(truck, (*held, *lost), table, heights), 100.0 * (len(up) + len(down) - len(lost))


def _on_table(x: float, y: float, z: float) -> bool:
    return 1.65 < x < 2.35 and -2.05 < y < -1.35 and z > 0.5


def loaded(now: Quantities, rng: np.random.RandomState) -> Unloading:
    """Begin with all packages on the truck."""
    return Unloading()


def unload(now: Quantities, memory: Unloading) -> Outcome:
    """Judge how near the robot is to the packages, and those that it has picked up to the table."""
    places = {letter: now.body[f"package_{letter}"].tolist() for letter in "abcde"}
    after, bonus = unloaded(memory, places)
    up = upright(now)
    at_truck = _nearest(after.on_truck, places, now.qpos[:3])
    at_held = _nearest(after.picked_up, places, now.qpos[:3])
    at_table = _nearest(after.picked_up, places, now.body["table"])
    reward = bonus + up * (1 + at_truck + at_held + at_table)
    success = len(after.on_table) == 5
    terms = {
        "upright": up,
        "reward_robot_package_truck": at_truck,
        "reward_robot_package_picked_up": at_held,
        "reward_package_table": at_table,
        "packages_on_truck": len(after.on_truck),
        "packages_picked_up": len(after.picked_up),
        "packages_on_table": len(after.on_table),
        "success": success,
        "success_subtasks": len(after.on_table),
    }
    return Outcome(reward + (1000 if success else 0), success, terms, after)


def _nearest(letters: Sequence[str], places: Mapping[str, Sequence[float]], goal: np.ndarray) -> float:
    """Return how near the nearest of these packages is to a place, from 0 to 1; 0 where there is none."""
    if not letters:
        return 0.0
    return tolerance(min(distance(places[letter], goal) for letter in letters), (0, 0.2), 4, "linear", 0)


TASKS = {
    "basketball": Task(
        throw,
        BASKETBALL,
        reset=pass_ball,
        touches={"ball": r"basketball/basketball_collision"},
        camera="cam_basketball",
        max_episode_steps=500,
    ),
    "powerlift": Task(lift, POWERLIFT),
    "room": Task(
        tidy,
        ROOM,
        start={
            "free_chair": (*_FLOOR, *_IDENTITY),
            "free_trophy": (*_FLOOR, *_IDENTITY),
            "free_headphone": (*_FLOOR, *_HEADPHONE_QUAT),
            "free_package_a": (0, 0, 0.1, *_IDENTITY),
            "free_package_b": (0, 0, 0.1, *_IDENTITY),
            "free_snow_globe": (*_FLOOR, *_IDENTITY),
        },
        reset=scatter,
        camera="cam_hurdle",
    ),
    "truck": Task(
        unload,
        TRUCK,
        start={
            "free_base": (2, 0, 0.98, *_IDENTITY),
            # turned by a millionth less or more than in the model
            "free_package_a": (5, 0, 1.1, 0.707105, -0.707108, 0, 0),
            "free_package_b": (5.1, 0, 1.3, 0.706752, 0, 0, 0.707462),
            "free_package_c": (5, 0.35, 1.3, 0.707105, 0.707108, 0, 0),
        },
        reset=loaded,
        camera="cam_hurdle",
    ),
}
