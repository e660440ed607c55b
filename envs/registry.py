"""Finds a task's specification and makes its environments, by the task's id.

A suite is imported only when one of its tasks is asked for. `envs.suites` says what a suite consists of.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from conf.typed import ConfigError
from envs.spec import TaskSpec

if TYPE_CHECKING:
    import gymnasium

    from conf.schema import EnvConfig

SUITES = {
    "dmc": "envs.suites.dmc",
    "metaworld": "envs.suites.metaworld",
    "atari": "envs.suites.atari",
    "pixels": "envs.suites.pixels",
    "shadowhand": "envs.suites.shadowhand",
    "humanoidbench": "envs.suites.humanoidbench",
}


class UnknownTaskError(ConfigError):
    """A task id names no task of any suite."""


def suite_module(task_id: str) -> ModuleType:
    """The module of the suite that a task id names.

    Raises:
      UnknownTaskError: there is no such suite.
    """
    suite, _, _ = task_id.partition("/")
    if suite not in SUITES:
        raise UnknownTaskError(f"{task_id}: no suite {suite!r}; suites: {', '.join(SUITES)}")
    return importlib.import_module(SUITES[suite])


def spec(task_id: str, env: EnvConfig | None = None) -> TaskSpec:
    """The task's specification, with its suite's options from `env` (the suite's defaults without); builds nothing.

    Raises:
      UnknownTaskError: the id names no registered task.
    """
    module = suite_module(task_id)
    tasks: dict[str, TaskSpec] = module.TASKS
    suite, _, name = task_id.partition("/")
    if name not in tasks:
        raise UnknownTaskError(f"{task_id}: no such task; tasks of the suite: {', '.join(tasks)}")
    options = getattr(env, suite, None)
    return tasks[name] if options is None else module.configured(tasks[name], options)


def specs(task_ids: Iterable[str], env: EnvConfig | None = None) -> list[TaskSpec]:
    """The specification of each task, as `spec` gives it; together they are checked for what their suites need.

    Raises:
      ConfigError: an id names no registered task, or what a suite's tasks need is not here.
    """
    found = [spec(task_id, env) for task_id in task_ids]
    by_suite: dict[str, list[TaskSpec]] = {}
    for one in found:
        by_suite.setdefault(one.suite, []).append(one)
    for tasks in by_suite.values():
        module = suite_module(tasks[0].id)
        if hasattr(module, "check"):
            module.check(tasks)
    return found


def make(task: TaskSpec, *, render: bool = False) -> gymnasium.Env:
    """A fresh environment of the task. `reset(seed=...)` alone determines an episode's start; where EnvPool steps it,
    the seed is a stream's, and `reset(seed=..., options={"episode": n})` begins its episode `n`.

    One that has `begin_step(action)` and `end_step()` splits its step: into what moves the physics, and what sees it.
    With `render`, its `render()` gives a frame `[H, W, 3]`, uint8; that may be slower and need OpenGL.
    """
    if not render:
        _render_nothing()
    return _stepper(task).make(task, render=render)


def _stepper(task: TaskSpec) -> ModuleType:
    """The module that makes the task's environments."""
    return importlib.import_module("envs.envpool") if task.family == "envpool" else suite_module(task.id)


def plain(task: TaskSpec) -> gymnasium.Env:
    """The task as its library's users step it, to compare with; `make` where the suite has no other way."""
    _render_nothing()
    module = suite_module(task.id)
    return getattr(module, "plain", module.make)(task)


def _render_nothing() -> None:
    """Have simulators that this process, or one that it starts, has yet to import look for no OpenGL.

    They do so when they are imported, and fail where MUJOCO_GL names one that is missing or a word that is none.
    """
    os.environ["MUJOCO_GL"] = "disabled"


def assets(specs: Iterable[TaskSpec]) -> dict[str, str]:
    """The SHA-256 of each file that shapes the physics of tasks, by `suite/file`; most suites have no such files.

    Raises:
      ConfigError: a file is missing or cannot be used.
    """
    found: dict[str, str] = {}
    for spec in specs:
        of_suite = getattr(_stepper(spec), "assets", None)
        if of_suite is not None:
            found |= {f"{spec.suite}/{name}": digest for name, digest in of_suite(spec).items()}
    return found


def preload(specs: Iterable[TaskSpec]) -> list[str]:
    """Modules worth importing once before worker processes fork, which render nothing."""
    _render_nothing()
    return sorted({name for spec in specs for name in _stepper(spec).PRELOAD})


def all_tasks() -> list[TaskSpec]:
    """Every registered task, suite by suite."""
    return [task for module in SUITES.values() for task in importlib.import_module(module).TASKS.values()]
