"""Tasks on the bare floor: stand, walk, run, and reach a place with a hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.suites.humanoidbench.parts import Parts
from envs.suites.humanoidbench.rewards import distance, moving, small_control, standing, staying, upright
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

FALLEN = 0.2  # m: the height of the pelvis below which the robot has fallen


def stand(now: Quantities, memory: None) -> Outcome:
    """Stand, and stay where you are."""
    tall, straight = standing(now), upright(now)
    terms = {
        "small_control": small_control(now),
        "stand_reward": tall * straight,
        "dont_move": staying(now),
        "standing": tall,
        "upright": straight,
    }
    reward = terms["small_control"] * terms["stand_reward"] * terms["dont_move"]
    return Outcome(reward, now.qpos[2] < FALLEN, terms)


def walk(now: Quantities, memory: None, speed: float) -> Outcome:
    """Move along x at a speed (m/s) or faster."""
    tall, straight = standing(now), upright(now)
    terms = {
        "stand_reward": tall * straight,
        "small_control": small_control(now),
        "move": moving(now, speed),
        "standing": tall,
        "upright": straight,
    }
    reward = terms["small_control"] * terms["stand_reward"] * terms["move"]
    return Outcome(reward, now.qpos[2] < FALLEN, terms)


GOAL_MARKER = "- | goal | V | sphere | 0.05 | - | - | rgba 0.8 0.28 0.28 1"
"""The row of a table of geoms that shows a goal."""


@dataclass(frozen=True)
class Goal:
    """The place `[3]` that a hand or an object is to reach."""

    goal: np.ndarray


def draw_goal(now: Quantities, rng: np.random.RandomState) -> Goal:
    """Draw the place to reach."""
    return Goal(rng.uniform([-2.0, -2.0, 0.2], [2.0, 2.0, 2.0]))


def observe_goal(now: Quantities, memory: Goal) -> tuple[np.ndarray, ...]:
    """Return positions, velocities, the place of the left hand and the goal."""
    return now.qpos, now.qvel, now.site["left_hand"], memory.goal


def reach(now: Quantities, memory: Goal) -> Outcome:
    """Bring the left hand to the goal, with little motion otherwise."""
    away = distance(now.site["left_hand"], memory.goal)
    terms = {
        "hand_dist": away,
        "healthy_reward": 5.0 * float(now.mat["pelvis"][8]),
        "motion_penalty": float(now.qvel @ now.qvel),
        "reward_close": 5.0 if away < 1.0 else 0.0,
        "reward_success": 10.0 if away < 0.05 else 0.0,
    }
    reward = terms["healthy_reward"] - 0.0001 * terms["motion_penalty"]
    return Outcome(reward + terms["reward_close"] + terms["reward_success"], False, terms, memory)


def show_goal(model: Any, memory: Goal) -> None:
    """Put the marker where the goal is."""
    model.geom("goal").pos = memory.goal


TASKS = {
    "stand": Task(stand),
    "walk": Task(partial(walk, speed=1.0)),
    "run": Task(partial(walk, speed=5.0)),
    "reach": Task(
        reach,
        Parts(geoms=GOAL_MARKER),
        reset=draw_goal,
        observe=observe_goal,
        values={"goal": (3,)},
        show=show_goal,
    ),
}
