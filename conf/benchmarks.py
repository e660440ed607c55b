"""The tasks of a benchmark: its own, those of the benchmarks that it includes, and which of them are chosen."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from conf.schema import BenchmarkConfig
from conf.typed import ConfigError, build, did_you_mean, show
from conf.yaml_groups import groups, merged, plain, resolved, shown


@cache
def with_tasks(benchmark: BenchmarkConfig) -> BenchmarkConfig:
    """The benchmark with the tasks of those it includes, and with `tasks` as full ids in the benchmark's order.

    Raises:
      ConfigError: a task is no id, stands twice or is unknown, or an included benchmark cannot be.
    """
    benchmark = _with_included(benchmark, ())
    if not benchmark.available:
        raise ConfigError("benchmark.available=[]: must name at least one task")
    if benchmark.tasks is None:
        return dataclasses.replace(benchmark, tasks=benchmark.available[: benchmark.max_tasks])
    if not benchmark.tasks:
        raise ConfigError("benchmark.tasks=[]: must name at least one task")
    ids = [_task_id(benchmark, name) for name in benchmark.tasks]
    _check_once("benchmark.tasks", benchmark.tasks, ids)
    chosen = [task for task in benchmark.available if task in ids]
    return dataclasses.replace(benchmark, tasks=tuple(chosen[: benchmark.max_tasks]))


def _with_included(benchmark: BenchmarkConfig, above: tuple[str, ...]) -> BenchmarkConfig:
    """The benchmark with its own tasks first, then those of the benchmarks that it includes, each task once.

    Args:
      benchmark: as composed or read.
      above: the included benchmarks that led to this one.
    """
    for task in benchmark.available:
        if not all(task.partition("/")):
            raise ConfigError(f"benchmark.available={show(benchmark.available)}: {task} is not of the form suite/name")
    _check_once("benchmark.available", benchmark.available, benchmark.available)
    tasks, suffixes = list(benchmark.available), list(benchmark.published_suffixes)
    for name in benchmark.include:
        if name not in groups()["benchmark"]:
            nearest = did_you_mean(name, groups()["benchmark"])
            raise ConfigError(
                f"benchmark.include={show(benchmark.include)}: no benchmark {name}; "
                f"{nearest}allowed: {', '.join(groups()['benchmark'])}"
            )
        if name in above:
            raise ConfigError(f"benchmark.include={show(benchmark.include)}: a circle: {' > '.join([*above, name])}")
        included = _with_included(_read(name), (*above, name))
        if included.actions != benchmark.actions:
            raise ConfigError(
                f"benchmark.include={show(benchmark.include)}: the tasks of {name} take {included.actions} actions, "
                f"those of {benchmark.name} {benchmark.actions} ones"
            )
        tasks += included.available
        suffixes += included.published_suffixes
    return dataclasses.replace(
        benchmark, available=tuple(dict.fromkeys(tasks)), published_suffixes=tuple(dict.fromkeys(suffixes))
    )


def _check_once(key: str, names: Sequence[str], ids: Sequence[str]) -> None:
    twice = [task for task, count in Counter(ids).items() if count > 1]
    if twice:
        raise ConfigError(f"{key}={show(names)}: {twice[0]} stands more than once")


@cache
def wholes() -> dict[str, dict[str, tuple[str, ...]]]:
    """The benchmarks that have no tasks but those of others, and the tasks of each of these others, by name.

    As the files have them, without Hydra, which takes a second: what is not in order there counts as absent.
    """
    listed = {name: (_listed(name, "include"), _listed(name, "available")) for name in groups()["benchmark"]}
    return {
        name: {part: _tasks_listed(part, (name,)) for part in included}
        for name, (included, own) in listed.items()
        if included and not own
    }


@cache
def listed_tasks() -> dict[str, tuple[str, ...]]:
    """The ids of each benchmark's tasks, by the benchmark's name; without Hydra, as `wholes`."""
    return {name: _tasks_listed(name, ()) for name in groups()["benchmark"]}


def _tasks_listed(name: str, above: tuple[str, ...]) -> tuple[str, ...]:
    """A benchmark's own tasks in its file, then those of the benchmarks that it includes, but for ones above it."""
    below = [part for part in _listed(name, "include") if part not in (*above, name)]
    return (*_listed(name, "available"), *(task for part in below for task in _tasks_listed(part, (*above, name))))


def _listed(name: str, key: str) -> tuple[str, ...]:
    """The names that a benchmark's file lists below a key."""
    values = plain("benchmark", name).get("benchmark")
    names = values.get(key) if isinstance(values, dict) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


@cache
def _read(name: str) -> BenchmarkConfig:
    """The benchmark as its yaml file says, whatever the command is about.

    Raises:
      ConfigError: names the file and what is wrong with it.
    """
    try:
        return build(BenchmarkConfig, resolved(merged((("benchmark", name),)))["benchmark"], "benchmark.")
    except ConfigError as error:
        raise ConfigError(f"{shown('benchmark', name)}: {error}") from None


def _task_id(benchmark: BenchmarkConfig, name: str) -> str:
    matches = [task for task in benchmark.available if name in _names(task, benchmark.published_suffixes)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(f"benchmark.tasks={name}: several suites have it; write one of {', '.join(matches)}")
    others = [other for other in groups()["benchmark"] if name in _names_in(other)]
    short = [task.split("/", 1)[1] for task in benchmark.available]
    nearest = f"it is in benchmark={', '.join(others)}; " if others else did_you_mean(name, short)
    raise ConfigError(f"benchmark.tasks={name}: not in {benchmark.name}; {nearest}allowed: {', '.join(short)}")


def _names(task: str, published_suffixes: Iterable[str]) -> set[str]:
    """The task's full, short and published names."""
    short = task.split("/", 1)[1]
    return {task, short, *(f"{short}{suffix}" for suffix in published_suffixes)}


@cache
def _names_in(name: str) -> set[str]:
    """All names of a benchmark's tasks; none, with a warning, where the benchmark's file is not in order."""
    try:
        benchmark = _with_included(_read(name), (name,))
    except ConfigError as error:
        print(f"warning: benchmark={name} is left out: {error}", file=sys.stderr)
        return set()
    return set().union(*(_names(task, benchmark.published_suffixes) for task in benchmark.available))
