"""Which runs are of which side of a claim, and what they have another value of than the recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from analysis.claims.listed import Side
from analysis.variants import AGENT, BENCHMARK, SEED, SINGLE, SOURCE, TASKS, WIDTH
from conf import axes, identity
from conf.compose import compose
from conf.overrides import parse

AGENT_PREFIX = "agent."
BATCH_SIZE = "agent.batch_size"
"""A setting of the agent that is one of size."""


class Recipe(NamedTuple):
    """What a side's runs of one benchmark should be.

    Attributes:
      settings: the flattened identity values.
      env_steps: the budget.
    """

    settings: Mapping[str, Any]
    env_steps: int


@cache
def recipe_of(side: Side, benchmark: str) -> Recipe:
    """Compose what a side's runs of a benchmark should be.

    Args:
      side: of a claim.
      benchmark: the name of a benchmark that there is.
    Raises:
      ConfigError: the side's recipe does not exist.
      KeyError: the recipe has no such part.
    """
    alone = ["benchmark.max_tasks=1"] if side.mode == SINGLE else []
    own = parts_of(side.recipe)[side.part] if side.recipe else ()
    config = compose([*own, *side.overrides, f"benchmark={benchmark}", *alone])
    settings = identity.flat(json.loads(json.dumps(identity.values_of(config))))  # as a run's record has them
    return Recipe(settings, config.train.env_steps)


@cache
def parts_of(recipe: str) -> dict[str, tuple[str, ...]]:
    """Return what each part of a recipe sets for all of its runs, but for the benchmark."""
    return {
        part.name: tuple(one.text for key, one in part.layers[-1].items() if key != "benchmark")
        for part in axes.parts_of(parse([f"+experiment={recipe}"]))
    }


def differences(side: Side, settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a run has another value of than the recipe wants; None where the run is of another agent.

    Args:
      side: of a claim.
      settings: the run's flattened identity values.
      wanted: those that `recipe_of` returns for the run's benchmark.
    Returns:
      setting -> the run's value, None where the run has none; a list of tasks as their number.
    """
    ignored = {SEED, BENCHMARK, *([TASKS] if side.mode == SINGLE else [])}
    keys = [key for key in {**wanted, **settings} if key not in ignored and settings.get(key) != wanted.get(key)]
    own = {key for key in keys if key.startswith((AGENT_PREFIX, f"{SOURCE}.", "init.")) or key == SOURCE}
    own -= {BATCH_SIZE}
    if side.by_name:
        own &= {AGENT, SOURCE}
    if own:
        return None
    free = AGENT_PREFIX if side.by_name else ()
    found = {key: settings.get(key) for key in keys if not key.startswith(free)}
    return found | ({TASKS: f"{len(settings[TASKS])} of {len(wanted[TASKS])}"} if TASKS in found else {})


def in_words(found: Mapping[str, Any]) -> list[str]:
    """Return differences in words, the width first."""
    words = []
    for key, value in sorted(found.items(), key=lambda one: one[0] != WIDTH):
        if key == WIDTH:
            words.append(f"width {value}")
        elif key == TASKS:
            words.append(f"{value} tasks")
        else:
            words.append(f"{key}={'unset' if value is None else value}")
    return words
