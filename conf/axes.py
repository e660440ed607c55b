"""The axes of a sweep in layers (the command line, a part, a sweep's file), and the parts that an experiment lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from conf.overrides import Override, parse
from conf.typed import ConfigError, Since, build, did_you_mean, show
from conf.yaml_groups import groups, merged, plain, resolved, shown

TASKS = "benchmark.tasks"
FULL = "full"
"""The size at which everything is as the files say."""
EACH = "each"
"""The value of `benchmark.tasks` that stands for as many runs as there are tasks, each of one task alone."""
COMMON_GROUPS = ("launcher", "tracking", "sweep", "experiment")
COMMON_KEYS = (
    *("size", "paths", "tracking", "sweep", "resume", "rerun", "report", "wait", "plan"),
    *("launcher.name", "launcher.dry_run", "launcher.max_gpu_hours", "launcher.after", "launcher.notify"),
)
"""Groups and keys that one command has one value of."""

Layer = Mapping[str, Override]


@dataclass(frozen=True)
class PartConfig:
    """One entry of `sweep.parts`, as a yaml has it."""

    name: str
    set: Annotated[tuple[str, ...], Since(())]
    vary: Annotated[dict, Since({})]
    skip: Annotated[tuple[str, ...], Since(())]
    """The sizes at which the part is left out."""


@dataclass(frozen=True)
class Part:
    """A part of a sweep, which is a product of axes of its own.

    Attributes:
      name: what plans, the sweep's record and MLflow call the part; empty where a sweep has no parts.
      layers: what the size changes, the axes that the part varies, and the overrides that all its runs have.
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
    """The parts that the command line's experiment or sweep lists, then those of the experiments that it includes.

    Returns:
      The parts, at the command's size; none where no experiment or sweep lists any.
    Raises:
      ConfigError: a part is not as it should be, or an included experiment cannot be.
    """
    sweep = _sweep_of(command_line)
    parts = [*_parts(sweep, command_line, size_of(command_line)), *_included(sweep, command_line, ())]
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"sweep.parts: two parts are called {name}")
    return parts


def _sweep_of(command_line: Layer) -> dict[str, Any]:
    """What the files of the command line's experiment and sweep, where each is one, say below `sweep`."""
    chosen = [(group, command_line[group].values) for group in ("experiment", "sweep") if group in command_line]
    choices = tuple(sorted((group, names[0]) for group, names in chosen if len(names) == 1))
    sweep = resolved(merged(choices)).get("sweep")
    return sweep if isinstance(sweep, dict) else {}


def _parts(sweep: Mapping[str, Any], command_line: Layer, size: Layer) -> list[Part]:
    """The parts that a sweep lists itself and that the command's size does not skip."""
    listed = sweep.get("parts") or []
    if not isinstance(listed, list):
        raise ConfigError(f"sweep.parts={show(listed)}: must be a list of parts, each with name, set and vary")
    named = command_line["size"].values[0] if "size" in command_line else FULL
    read = [build(PartConfig, values, f"sweep.parts[{index}].") for index, values in enumerate(listed)]
    return [_part(one, f"sweep.parts[{index}]", size) for index, one in enumerate(read) if named not in one.skip]


def _included(sweep: Mapping[str, Any], command_line: Layer, above: tuple[str, ...]) -> list[Part]:
    """The parts of the experiments that a sweep includes, with these experiments' names before their own.

    Args:
      sweep: what a yaml says below `sweep`.
      command_line: the overrides by key.
      above: the included experiments that led here.
    """
    names, known = sweep.get("include") or [], groups()["experiment"]
    where = f"sweep.include={show(names)}"
    if not isinstance(names, list):
        raise ConfigError(f"{where}: must be a list of names of experiments")
    parts = []
    for name in names:
        if name not in known:
            nearest = did_you_mean(str(name), known)
            raise ConfigError(f"{where}: no experiment {name}; {nearest}allowed: {', '.join(known)}")
        if name in above:
            raise ConfigError(f"{where}: a circle: {' > '.join([*above, name])}")
        values = resolved(plain("experiment", name))
        below = values.get("sweep")
        if not isinstance(below, dict) or len(values) > 1:
            raise ConfigError(
                f"{where}: {shown('experiment', name)} must have nothing but sweep, with its parts; "
                f"found: {', '.join(map(str, values)) or 'nothing'}"
            )
        try:
            found = [
                *_parts(below, command_line, size_of(command_line, below)),
                *_included(below, command_line, (*above, name)),
            ]
        except ConfigError as error:
            raise ConfigError(f"{shown('experiment', name)}: {error}") from None
        parts += [replace(part, name=f"{name}.{part.name}") for part in found]
    return parts


def size_of(command_line: Layer, included: Mapping[str, Any] | None = None) -> Layer:
    """What the command's size changes; nothing where the size is full.

    Args:
      command_line: the overrides by key.
      included: what an included experiment says below `sweep`, which wins over what the including one says.
    Raises:
      ConfigError: there is no such size, or what a yaml says of it cannot be.
    """
    override = command_line.get("size")
    if override is None:
        return {}
    size, *others = override.values
    if others:
        raise ConfigError(f"{override.text}: one size at a time")
    if size == FULL:
        return {}
    values, known = {}, [FULL]
    for sweep in (_sweep_of(command_line), included or {}):
        sizes = sweep.get("sizes") or {}
        if not isinstance(sizes, dict) or not all(isinstance(changes, dict) for changes in sizes.values()):
            raise ConfigError(f"sweep.sizes={show(sizes)}: must be size -> override key -> values")
        known += [str(one) for one in sizes if one not in known]
        values |= sizes.get(size, {})
    if size not in known:
        raise ConfigError(f"{override.text}: no such size; {did_you_mean(str(size), known)}allowed: {', '.join(known)}")
    layer = parse(as_overrides(values, f"sweep.sizes.{size}"))
    _check_own(layer, f"sweep.sizes.{size}")
    return layer


def _check_own(layer: Layer, where: str) -> None:
    """Refuses overrides of what a command has one value of; the line begins with `where`."""
    for key, override in layer.items():
        if key in COMMON_GROUPS or any(key == one or key.startswith(f"{one}.") for one in COMMON_KEYS):
            raise ConfigError(f"{where}: {override.text}: is the same for all parts of a sweep")


def _part(read: PartConfig, where: str, size: Layer) -> Part:
    """A part as a yaml lists it, at a size."""
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
        _check_own(layer, f"part {read.name}")
    for override in layers[1].values():
        if len(override.values) > 1 or is_each(override):
            raise ConfigError(f"part {read.name}: {override.text}: has several values; write it below vary")
    return Part(read.name, (size, *layers))


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
