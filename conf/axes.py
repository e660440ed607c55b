"""The axes of a sweep in layers (the command line, a part, a sweep's file), and the parts that an experiment lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from conf.overrides import Override, parse
from conf.typed import ConfigError, Since, build, show
from conf.yaml_groups import merged, resolved, shown

TASKS = "benchmark.tasks"
EACH = "each"
"""The value of `benchmark.tasks` that stands for as many runs as there are tasks, each of one task alone."""
COMMON_GROUPS = ("launcher", "tracking", "sweep", "experiment")
COMMON_KEYS = ("paths", "tracking", "sweep", "resume", "rerun", "wait", "plan", "launcher.name", "launcher.dry_run")
"""Groups and keys that one command has one value of."""

Layer = Mapping[str, Override]


@dataclass(frozen=True)
class PartConfig:
    """One entry of `sweep.parts`, as a yaml has it."""

    name: str
    set: Annotated[tuple[str, ...], Since(())]
    vary: Annotated[dict, Since({})]


@dataclass(frozen=True)
class Part:
    """A part of a sweep, which is a product of axes of its own.

    Attributes:
      name: what plans, the sweep's record and MLflow call the part; empty where a sweep has no parts.
      layers: the axes that the part varies, and the overrides that all its runs have.
    """

    name: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Axes:
    """A product of axes.

    Attributes:
      values: override key -> its values, of which there may be one only.
      each: whether each task of each combination is a run alone.
    """

    values: dict[str, tuple[Any, ...]]
    each: bool


def stacked(layers: Sequence[Layer]) -> Axes:
    """The axes of all layers; of a key that several layers have, the first layer's values."""
    values: dict[str, tuple[Any, ...]] = {}
    each = False
    for layer in layers:
        for key, override in layer.items():
            if is_each(override):
                each = True
            elif key not in values:
                values[key] = override.values
    return Axes(values, each)


def is_each(override: Override) -> bool:
    """Whether the override asks for each task alone."""
    return override.key == TASKS and override.values == (EACH,)


def parts_of(command_line: Layer) -> list[Part]:
    """The parts that the command line's experiment or sweep lists; none where several are named, or none lists any.

    Raises:
      ConfigError: a part is not as it should be.
    """
    chosen = tuple((group, command_line[group].values[0]) for group in ("experiment", "sweep") if group in command_line)
    if not chosen or any(len(command_line[group].values) > 1 for group, _ in chosen):
        return []
    sweep = resolved(merged(tuple(sorted(chosen)))).get("sweep")
    listed = sweep.get("parts") if isinstance(sweep, dict) else None
    if not listed:
        return []
    if not isinstance(listed, list):
        raise ConfigError(f"sweep.parts={show(listed)}: must be a list of parts, each with name, set and vary")
    parts = [_part(values, f"sweep.parts[{index}]") for index, values in enumerate(listed)]
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"sweep.parts: two parts are called {name}")
    return parts


def _part(values: Any, where: str) -> Part:
    """A part as a yaml lists it."""
    read = build(PartConfig, values, f"{where}.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", read.name):
        raise ConfigError(
            f"{where}.name={read.name}: at most 64 letters, digits, dots, dashes and underscores, the first a letter "
            "or digit"
        )
    try:
        layers = parse(as_overrides(read.vary, f"{where}.vary")), parse(read.set)
    except ConfigError as error:
        raise ConfigError(f"part {read.name}: {error}") from None
    for layer in layers:
        for key, override in layer.items():
            if key in COMMON_GROUPS or any(key == one or key.startswith(f"{one}.") for one in COMMON_KEYS):
                raise ConfigError(f"part {read.name}: {override.text}: is the same for all parts of a sweep")
    for override in layers[1].values():
        if len(override.values) > 1 or is_each(override):
            raise ConfigError(f"part {read.name}: {override.text}: has several values; write it below vary")
    return Part(read.name, layers)


def sweep_layer(name: str) -> Layer:
    """The axes in the file of a sweep.

    Raises:
      ConfigError: names the file, or the key and its value.
    """
    params = resolved(merged((("sweep", name),))).get("sweep", {}).get("params", {})
    where = shown("sweep", name)
    if not isinstance(params, dict):
        raise ConfigError(f"{where}: sweep.params={show(params)}: must be override key -> values")
    for key, values in params.items():
        if str(key).lstrip("+") == "sweep":
            raise ConfigError(f"{where}: {key}={show(values)}: a sweep cannot name another sweep")
    return parse(as_overrides(params, where))


def as_overrides(axes: Mapping[Any, Any], where: str) -> list[str]:
    """A yaml's axes as the overrides that one would type.

    Raises:
      ConfigError: values are no text; the line begins with `where`.
    """
    for key, values in axes.items():
        if isinstance(values, list | dict) or values is None:
            raise ConfigError(
                f"{where}: {key}={show(values)}: write the values as one text, such as 1,2,3 or range(0,3)"
            )
    return [f"{key}={show(values)}" for key, values in axes.items()]
