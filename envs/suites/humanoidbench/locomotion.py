"""Walking, standing and running on the floor, and what comes in the way of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envs.suites.humanoidbench.rewards import small_control, standing, staying, upright
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities


def stand(now: Quantities, memory: Any) -> Outcome:
    """Stand, and stay where one stands."""
    terms = {
        "small_control": small_control(now),
        "stand_reward": standing(now) * upright(now),
        "dont_move": staying(now),
        "standing": standing(now),
        "upright": upright(now),
    }
    reward = terms["small_control"] * terms["stand_reward"] * terms["dont_move"]
    return Outcome(reward, bool(now.qpos[2] < 0.2), terms)


TASKS = {"stand": Task(stand)}
