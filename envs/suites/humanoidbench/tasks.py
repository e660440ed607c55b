"""All tasks of HumanoidBench by their names without the robot."""

from __future__ import annotations

from envs.suites.humanoidbench import balance, courses, locomotion

TASKS = {**locomotion.TASKS, **courses.TASKS, **balance.TASKS}
