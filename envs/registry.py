"""Task id -> TaskSpec and environment. Suites are imported only when one of their tasks is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from conf.typed import ConfigError
from envs.spec import TaskSpec

if TYPE_CHECKING:
    import gymnasium

SUITES = {"dmc": "envs.suites.dmc"}


class UnknownTaskError(ConfigError):
    """A task id that no suite has."""


def suite_module(task_id: str) -> ModuleType:
    suite, _, _ = task_id.partition("/")
    if suite not in SUITES:
        raise UnknownTaskError(f"{task_id}: no suite {suite!r}; suites: {', '.join(SUITES)}")
    return importlib.import_module(SUITES[suite])


def spec(task_id: str) -> TaskSpec:
    """The task's specification; builds no environment.

    Raises:
      UnknownTaskError: the id names no registered task.
    """
    tasks: dict[str, TaskSpec] = suite_module(task_id).TASKS
    name = task_id.partition("/")[2]
    if name not in tasks:
        raise UnknownTaskError(f"{task_id}: no such task; tasks of the suite: {', '.join(tasks)}")
    return tasks[name]


def make(task_id: str) -> gymnasium.Env:
    """A fresh environment of the task. `reset(seed=...)` alone determines an episode's start."""
    return suite_module(task_id).make(spec(task_id).name)


def preload(specs: Iterable[TaskSpec]) -> list[str]:
    """Modules worth importing once before worker processes fork."""
    return sorted({name for spec in specs for name in suite_module(spec.id).PRELOAD})


def all_tasks() -> list[TaskSpec]:
    """Every registered task, suite by suite."""
    return [task for module in SUITES.values() for task in importlib.import_module(module).TASKS.values()]
