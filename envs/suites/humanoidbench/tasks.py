"""All tasks of HumanoidBench by their names without the robot."""

from __future__ import annotations

from envs.suites.humanoidbench import balance, courses, fittings, loads, locomotion, shelves, tabletop

TASKS = {
    **locomotion.TASKS,
    **courses.TASKS,
    **balance.TASKS,
    **tabletop.TASKS,
    **shelves.TASKS,
    **fittings.TASKS,
    **loads.TASKS,
}
