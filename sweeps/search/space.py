"""The space of a search: `sweep.search.space` of the configuration, typed and checked before anything is started."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from conf import identity
from conf.compose import compose_many
from conf.overrides import field_at
from conf.schema import RunConfig
from conf.typed import ConfigError, alternatives, describe, did_you_mean, is_finite, show
from conf.yaml_groups import groups

WHERE = "sweep.search.space"
INTERVAL = ("low", "high", "log", "step")
MAX_GRID = 10**5
"""The largest number of combinations of a grid: as many as `sweep.search.trials` allows."""


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included; integers where the key's type is one."""

    low: float
    high: float
    log: bool
    step: float | None
    integer: bool

    def samples(self) -> tuple[Any, ...]:
        """Values that stand for all when the space is checked."""
        return self.low, self.high

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    def samples(self) -> tuple[Any, ...]:
        return self.values

    def __str__(self) -> str:
        return ", ".join(map(show, self.values))


Axis = Interval | Choices
Space = dict[str, Axis]


def read(values: dict, fixed: Iterable[str]) -> Space:
    """The axes by override key, without those that the command line fixes or null drops.

    Raises:
      ConfigError: unknown key, or an axis that is neither an interval nor choices.
    """
    entries = {key: value for key, value in leaves(values).items() if value is not None and key not in set(fixed)}
    if not entries:
        raise ConfigError(
            f"{WHERE}={{}}: nothing is left to choose; give a key {{low: .., high: ..}} or {{choices: [..]}}"
        )
    return {key: axis(key, value) for key, value in entries.items()}


def leaves(values: dict, prefix: str = "") -> dict[str, Any]:
    """Axes by dotted key: the command line nests what a yaml writes with dots; the later one wins."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        is_axis = not isinstance(value, dict) or not value or {*INTERVAL, "choices"} & value.keys()
        nested = not is_axis and all(isinstance(one, dict | None) for one in value.values())
        found |= leaves(value, f"{key}.") if nested else {key: value}
    return found


def axis(key: str, value: Any) -> Axis:
    """The axis that a space gives to a key.

    Raises:
      ConfigError: the value describes no axis, or none that the key could have.
    """
    where = f"{WHERE}.{key}={show(value)}"
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{where}: must be {{low: .., high: ..}} with log or step, or {{choices: [..]}}")
    for name in value:
        if name not in (*INTERVAL, "choices"):
            nearest = did_you_mean(str(name), (*INTERVAL, "choices"))
            raise ConfigError(f"{where}: no {name} here; {nearest}allowed: {', '.join(INTERVAL)}, or choices")
    field = None if key in groups() else field_at(key, "..")
    if "choices" in value:
        return choices(where, value)
    if field is None:
        raise ConfigError(f"{where}: a group has no low and high; write {{choices: [{', '.join(groups()[key][:2])}]}}")
    kinds = [kind for kind in alternatives(field.type) if kind in (int, float)]
    if not kinds:
        raise ConfigError(
            f"{where}: low and high are for numbers, {key} must be {describe(field)}; write {{choices: [..]}}"
        )
    return interval(where, value, integer=float not in kinds)


def choices(where: str, value: dict) -> Choices:
    """The axis of listed values; `where` begins the error line.

    Raises:
      ConfigError: fewer than two values are listed, one of them twice, or something besides.
    """
    values = value["choices"]
    if len(value) > 1:
        raise ConfigError(
            f"{where}: choices stand alone, without {', '.join(key for key in value if key != 'choices')}"
        )
    if not isinstance(values, list) or len(values) < 2:
        raise ConfigError(f"{where}: choices must be a list of at least two values; one is key=value")
    # Optuna takes plain values: a list is chosen by its text.
    plain = tuple(show(one) if isinstance(one, list) else one for one in values)
    if len({show(one) for one in plain}) < len(plain):
        raise ConfigError(f"{where}: a choice appears twice")
    return Choices(plain)


def interval(where: str, value: dict, integer: bool) -> Interval:
    """The axis of a range of numbers; `where` begins the error line.

    Raises:
      ConfigError: an end is missing or no number, or the ends, the step and the scale do not go together.
    """
    for name in ("low", "high"):
        if name not in value:
            raise ConfigError(f"{where}: {name} is missing")
    numbers = {name: value[name] for name in ("low", "high", "step") if value.get(name) is not None}
    for name, number in numbers.items():
        whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
        if isinstance(number, bool) or not isinstance(number, int | float) or not is_finite(number):
            raise ConfigError(f"{where}: {name}={show(number)} is no finite number")
        if integer and not whole:
            raise ConfigError(f"{where}: {name}={show(number)} is no integer, which this key needs")
    low, high, step, log = value["low"], value["high"], value.get("step"), value.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log={show(log)}: must be true or false")
    if low >= high:
        raise ConfigError(f"{where}: low={show(low)} must be less than high={show(high)}")
    if log and low <= 0:
        raise ConfigError(f"{where}: low={show(low)} must be > 0 with log: true")
    if step is not None and (log or step <= 0 or step > high - low):
        raise ConfigError(f"{where}: step={show(step)}: must be > 0, at most high - low, and without log")
    kind = int if integer else float
    return Interval(kind(low), kind(high), log, None if step is None else kind(step), integer)


def grid_values(key: str, one: Axis) -> Sequence[Any]:
    """Every value of an axis.

    Raises:
      ConfigError: the axis is continuous.
    """
    if isinstance(one, Choices):
        return one.values
    if one.integer:
        return range(int(one.low), int(one.high) + 1, int(one.step or 1))
    if one.step is None:
        raise ConfigError(
            f"{WHERE}.{key}={one}: has no end of values between, so sweep.search.sampler=grid cannot try each: "
            "give the key a step or choices"
        )
    steps = math.floor((one.high - one.low) / one.step + 1e-9)
    return [float(f"{one.low + one.step * index:.12g}") for index in range(steps + 1)]


def grid_size(space: Space) -> int:
    """How many combinations of values the space has.

    Raises:
      ConfigError: an axis is continuous, or there are too many.
    """
    size = math.prod(len(grid_values(key, one)) for key, one in space.items())
    if size > MAX_GRID:
        raise ConfigError(
            f"{WHERE}: has {size:,} combinations; sweep.search.sampler=grid takes at most {MAX_GRID:,}: give larger "
            "steps or fewer choices"
        )
    return size


def combination(space: Space, number: int, seed: int) -> dict[str, Any]:
    """One combination of values of the space, of an order drawn by a seed.

    Args:
      space: the axes, none of them continuous.
      number: which combination, from 0.
      seed: of the order.
    Raises:
      ConfigError: as `grid_size`.
    """
    import numpy as np

    size = grid_size(space)
    order = np.random.default_rng(seed).permutation(size)
    index, found = int(order[number % size]), {}
    for key, one in space.items():
        values = grid_values(key, one)
        index, position = divmod(index, len(values))
        found[key] = values[position]
    return found


def overrides_of(params: dict[str, Any]) -> list[str]:
    """The command-line form of a trial's values."""
    return [f"{key}={show(value)}" for key, value in params.items()]


def compose_one(overrides: Sequence[str]) -> RunConfig:
    """The configuration of a search or of one of its trials.

    Raises:
      ConfigError: a key has several values.
    """
    composed = compose_many(overrides)
    if len(composed) > 1:
        keys = ", ".join(composed[0].varied)
        raise ConfigError(f"{keys}: has several values; a search chooses them itself: put the key into {WHERE}")
    return composed[0].config


def check(space: Space, overrides: Sequence[str]) -> list[RunConfig]:
    """Composes a run at every end of every axis; these runs.

    Raises:
      ConfigError: a value is refused, or an axis changes no result.
    """
    runs = []
    for key, one in space.items():
        try:
            configs = [compose_one([*overrides, *overrides_of({key: value})]) for value in one.samples()]
        except ConfigError as error:
            raise ConfigError(f"{WHERE}: {error}") from None
        if len({identity.hash_of(config) for config in configs}) < len(configs):
            raise ConfigError(f"{WHERE}.{key}={one}: two of its values give one and the same run; choose another key")
        if len({(config.benchmark.task_ids, config.train.env_steps) for config in configs}) > 1:
            raise ConfigError(
                f"{WHERE}.{key}={one}: changes the tasks or train.env_steps: scores could not be compared"
            )
        runs += configs
    return runs
