"""Which runs are seeds of one another, and what to call the others."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from conf.agents import AGENTS
from conf.typed import fields_of, show

AGENT, WIDTH, BENCHMARK, TASKS, SEED = "agent.name", "model.width", "benchmark.name", "benchmark.tasks", "seed"
SOURCE, SOURCE_SETTING = "source", "source.setting"
"""How and where a run was started from another's checkpoint, as in fork@5000; what seeds of the other one share."""
INIT = "init."
"""What the keys begin with that say what becomes of another run's networks, which runs from scratch have not."""
CRITIC_SIZE = frozenset({WIDTH, "model.depth"})
"""What a scaling curve varies along its x axis."""
FOLLOWS_MODE = frozenset({"agent.batch_size", "agent.conditioning"})
"""Keys whose default depends on whether there are several tasks."""
MULTI, SINGLE = "multi-task", "single-task"


def mode_of(tasks: Sequence[str]) -> str:
    """Whether a run learns several tasks or one."""
    return SINGLE if len(tasks) == 1 else MULTI


def labels(runs: Sequence[Mapping[str, Any]], ignored: frozenset[str] = frozenset()) -> list[str]:
    """A short name for each run, equal for two runs of a benchmark exactly where all but the seed and `ignored` is.

    Single-task runs of different tasks are one variant, which ends in "single-task": together they are what one
    multi-task run is compared with.

    Args:
      runs: flattened identity values; of one or more benchmarks.
      ignored: further keys that make no difference.
    Returns:
      Agent and width, then `key=value` for the keys whose values differ among the runs of a benchmark, without those
      at the value that most settings have (so that an ablation is named by what it changes). Where names would give
      different runs one name, a hash is added.
    """
    kept = [
        {
            key: value
            for key, value in _whole(run).items()
            if key != SEED and key not in ignored and not (key == TASKS and mode_of(value) == SINGLE)
        }
        for run in runs
    ]
    modes = [mode_of(run[TASKS]) for run in runs]
    differing = _differing(kept, modes)
    usual = {mode: _usual(kept, modes, mode, keys) for mode, keys in differing.items()}
    short = [_short(run, differing[mode], usual[mode]) for run, mode in zip(kept, modes, strict=True)]
    owners: dict[tuple[str, str, str], set[str]] = {}
    for name, mode, run in zip(short, modes, kept, strict=True):
        owners.setdefault((run[BENCHMARK], mode, name), set()).add(_canonical(run))
    names = []
    for name, mode, run in zip(short, modes, kept, strict=True):
        if len(owners[run[BENCHMARK], mode, name]) > 1:
            name = f"{name} #{hashlib.sha256(_canonical(run).encode()).hexdigest()[:6]}"
        names.append(f"{name} {SINGLE}" if mode == SINGLE else name)
    return names


def _whole(run: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the settings of the agent that an identity leaves out, as all runs without the key had them."""
    learner = AGENTS.get(str(run.get("agent.learner")))  # a damaged record may hold anything
    fields = fields_of(learner) if learner else {}
    left_out = {f"agent.{name}": field.since.value for name, field in fields.items() if field.identity and field.since}
    return left_out | dict(run)


def setting(variant: str) -> str:
    """What a variant's multi-task and single-task runs have in common."""
    return variant.removesuffix(f" {SINGLE}")


def by_parts(variant: str) -> str:
    """What a variant is called whose runs are those of a benchmark's parts."""
    single = f" {SINGLE}" if variant.endswith(f" {SINGLE}") else ""
    return f"{setting(variant)} by parts{single}"


def _differing(runs: Sequence[Mapping[str, Any]], modes: Sequence[str]) -> dict[str, list[str]]:
    """For each mode, the keys that take several values among the runs of some benchmark and mode, in order."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run, mode in zip(runs, modes, strict=True):
        groups.setdefault((run[BENCHMARK], mode), []).append(run)
    found: dict[str, dict[str, None]] = {MULTI: {}, SINGLE: {}}
    for (_, mode), members in groups.items():
        for key in dict.fromkeys(key for run in members for key in run if key not in (AGENT, WIDTH)):
            if len({_value(run, key) for run in members}) > 1:
                for one in [mode] if key in FOLLOWS_MODE else found:
                    found[one].setdefault(key)
    return {mode: [key for key in keys if key != SOURCE_SETTING] for mode, keys in found.items()}  # nobody reads a hash


def _usual(runs: Sequence[Mapping[str, Any]], modes: Sequence[str], mode: str, keys: Sequence[str]) -> dict[str, str]:
    """Of each key, the value that more settings have than any other; none where two are equally common.

    Of both modes, so that a setting is called the same in both; of one for keys that follow from it.
    """
    settings = {_canonical(run): (run, its_mode) for run, its_mode in zip(runs, modes, strict=True)}.values()
    found = {}
    for key in keys:
        if key == SOURCE:  # to have none is usual
            continue
        values = [
            run[key] for run, its_mode in settings if key in run and (its_mode == mode or key not in FOLLOWS_MODE)
        ]
        counts = Counter(map(_canonical, values)).most_common(2)
        if len(counts) == 1 or (counts and counts[0][1] > counts[1][1]):
            found[key] = counts[0][0]
    return found


def _value(run: Mapping[str, Any], key: str) -> str:
    """A setting as text that is equal where it is; empty where the run has none."""
    return _canonical(run[key]) if key in run else ""


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(run: Mapping[str, Any], differing: Sequence[str], usual: Mapping[str, str]) -> str:
    size = [f"w{run[WIDTH]}"] if WIDTH in run else []
    ends = [key.rsplit(".", 1)[-1] for key in differing]
    names = {key: end if ends.count(end) == 1 else key for key, end in zip(differing, ends, strict=True)}
    rest = []
    for key in differing:
        if _value(run, key) == usual.get(key, "") or (key not in run and key.startswith((TASKS, INIT))):
            continue
        if key == TASKS:
            rest.append(f"{len(run[key])} tasks")
        else:
            rest.append(f"{names[key]}={show(run[key]) if key in run else 'unset'}")
    return " ".join([str(run[AGENT]), *size, *rest])


def short_task(task: str) -> str:
    """A task's name without its suite."""
    return task.split("/", 1)[-1]
