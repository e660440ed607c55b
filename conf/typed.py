"""Plain values -> frozen dataclasses, with one clear line for whatever does not fit."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from conf.passwords import mask

T = TypeVar("T")


class ConfigError(ValueError):
    """One line: the key, its value, what is allowed. A password in the value is masked."""

    def __init__(self, message: str):
        super().__init__(mask(" ".join(message.split())))  # values may hold line breaks


@dataclass(frozen=True)
class Range:
    """Allowed values of a number."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __str__(self) -> str:
        bounds = ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))
        return " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)

    def allows(self, value: float) -> bool:
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )


@dataclass(frozen=True)
class NotIdentity:
    """Marks a field that does not change a run's results."""


@dataclass(frozen=True)
class Shapes:
    """Marks a field that decides what the networks' parameters are, so that only networks with one value share them."""


@dataclass(frozen=True)
class Since:
    """Marks a field younger than some run records: the value that those runs had, and that they are read with."""

    value: Any


@dataclass(frozen=True)
class Variants:
    """Marks a field that is one of several dataclasses, chosen by the value of a key that all of them have.

    Attributes:
      key: the name of that key.
      classes: value of the key -> dataclass.
    """

    key: str
    classes: dict[str, type]

    __hash__ = object.__hash__

    def fields(self) -> dict[str, Field]:
        """The fields of all the classes by name; of one that several have, the first class's."""
        found: dict[str, Field] = {}
        for cls in self.classes.values():
            found = found | {name: field for name, field in fields_of(cls).items() if name not in found}
        return found

    def chosen(self, values: Any, prefix: str) -> type:
        """The class that nested values are of.

        Raises:
          ConfigError: the key is missing or names no class, or a value is of a key that only other classes have.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{prefix.rstrip('.')}={show(values)}: must be a group of keys")
        choice = values.get(self.key)
        if not isinstance(choice, str) or choice not in self.classes:
            raise ConfigError(f"{prefix}{self.key}={show(choice)}: must be one of {', '.join(self.classes)}")
        for name, value in values.items():
            if name not in fields_of(self.classes[choice]):
                others = [one for one, cls in self.classes.items() if name in fields_of(cls)]
                if others:
                    raise ConfigError(
                        f"{prefix}{name}={show(value)}: {prefix}{self.key}={choice} has no such key; "
                        f"it is a key of {prefix}{self.key}={', '.join(others)}"
                    )
        return self.classes[choice]


@dataclass(frozen=True)
class Field:
    """One field of the schema: its plain type and its marks.

    Attributes:
      group: whether the field is a dataclass, and so has fields below it.
      shapes: whether the field decides what the networks' parameters are.
    """

    type: Any
    group: bool
    shapes: bool
    range: Range | None
    identity: bool
    since: Since | None
    variants: Variants | None

    def nested(self) -> dict[str, Field] | None:
        """The fields below this one; None where the field holds a value."""
        if self.variants is not None:
            return self.variants.fields()
        return fields_of(self.type) if self.group else None


@cache
def fields_of(cls: type) -> dict[str, Field]:
    """The fields of a schema dataclass by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _field(hints[field.name]) for field in dataclasses.fields(cls)}


def _field(hint: Any) -> Field:
    marks: tuple = ()
    if typing.get_origin(hint) is Annotated:
        hint, *marks_list = typing.get_args(hint)
        marks = tuple(marks_list)
    of = lambda kind: next((mark for mark in marks if isinstance(mark, kind)), None)  # noqa: E731
    return Field(
        hint,
        dataclasses.is_dataclass(hint),
        of(Shapes) is not None,
        of(Range),
        of(NotIdentity) is None,
        of(Since),
        of(Variants),
    )


def build(cls: type[T], values: Any, prefix: str = "") -> T:
    """A `cls` from nested dicts; a missing field that is marked `Since` gets that value.

    Raises:
      ConfigError: unknown or missing key, wrong type, or a value out of range.
    """
    fields = fields_of(cls)
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.')}={show(values)}: must be a group of keys: {', '.join(fields)}")
    for key, value in values.items():
        if key not in fields:
            raise unknown_key(f"{prefix}{key}", value, [f"{prefix}{name}" for name in fields])
    built = {}
    for name, field in fields.items():
        key = f"{prefix}{name}"
        if field.variants is not None:
            below = values.get(name, {})
            built[name] = build(field.variants.chosen(below, f"{key}."), below, f"{key}.")
        elif field.group:
            built[name] = build(field.type, values.get(name, {}), f"{key}.")  # type: ignore[arg-type]
        elif name not in values:
            if field.since is None:
                raise ConfigError(f"{key}: missing; must be {describe(field)}")
            built[name] = field.since.value
        else:
            built[name] = convert(key, field, values[name])
    return cls(**built)


def convert(key: str, field: Field, value: Any) -> Any:
    """The value as the field's type; integers pass as floats, whole floats as integers, nothing else is guessed."""
    for kind in alternatives(field.type):
        converted = _convert(kind, value)
        if converted is not _NO:
            if field.range is not None and converted is not None and not field.range.allows(converted):
                break
            return converted
    nearest = did_you_mean(str(value), choices(field)) if isinstance(value, str) else ""
    raise ConfigError(f"{key}={show(value)}: {nearest}must be {describe(field)}")


_NO = object()


def _convert(kind: Any, value: Any) -> Any:
    if kind is types.NoneType:
        return None if value is None else _NO
    origin = _origin(kind)
    if origin is Literal:
        if isinstance(value, bool) and str(value).lower() in ("true", "false") and "off" in typing.get_args(kind):
            value = "on" if value else "off"  # yaml 1.1 reads a bare off as false
        return value if value in typing.get_args(kind) else _NO
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return _NO
        item = typing.get_args(kind)[0]
        converted = tuple(_convert(item, one) for one in value)
        return _NO if _NO in converted else converted
    if origin is dict:
        if not isinstance(value, dict):
            return _NO
        key_kind, item = typing.get_args(kind)
        pairs = {_convert(key_kind, key): _convert(item, one) for key, one in value.items()}
        return _NO if _NO in pairs or _NO in pairs.values() else pairs
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value) if isinstance(value, str) and value in set(kind) else _NO
    if kind is Any:
        return value
    if kind is bool:
        return value if isinstance(value, bool) else _NO
    if isinstance(value, bool):
        return _NO
    if dataclasses.is_dataclass(kind):
        try:
            return build(kind, value)  # type: ignore[arg-type]
        except ConfigError:
            return _NO
    if kind is float:
        return float(value) if isinstance(value, int | float) and is_finite(value) else _NO
    if kind is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return value if isinstance(value, int) else _NO
    return value if isinstance(value, kind) else _NO


def is_finite(value: float) -> bool:
    """Whether the number is one that a float can hold."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


_origin = cache(typing.get_origin)


@cache
def alternatives(hint: Any) -> tuple:
    """The members of a union, or the type alone."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def choices(field: Field) -> list[str]:
    """The names that a Literal field allows."""
    return [
        name
        for kind in alternatives(field.type)
        if typing.get_origin(kind) is Literal
        for name in typing.get_args(kind)
    ]


def describe(field: Field) -> str:
    """What a field allows, in words."""
    names = {int: "an integer", float: "a finite number", bool: "true or false", str: "text", dict: "a group of keys"}
    parts = []
    for kind in alternatives(field.type):
        if kind is types.NoneType:
            parts.append("null")
        elif typing.get_origin(kind) is Literal:
            parts.append("one of " + ", ".join(map(str, typing.get_args(kind))))
        elif typing.get_origin(kind) is tuple:
            parts.append("a list")
        elif typing.get_origin(kind) is dict:
            parts.append("a group of keys")
        elif isinstance(kind, type) and issubclass(kind, enum.Enum):
            parts.append("one of " + ", ".join(map(str, kind)))
        else:
            range_ = f" {field.range}" if field.range is not None and kind in (int, float) else ""
            parts.append(names.get(kind, getattr(kind, "__name__", str(kind))) + range_)
    return " or ".join(parts)


def show(value: Any) -> str:
    """A value as one writes it in an override."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(show, value)) + "]"
    if isinstance(value, int) and value.bit_length() > 4000:  # Python refuses to write the digits of a longer one
        return f"{hex(value)[:20]}..."
    return str(value)


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """The nearest of `names` as a question that goes before what is allowed; empty where none is near."""
    match = difflib.get_close_matches(name, list(names), 1, cutoff)
    return f"did you mean {match[0]}? " if match else ""


def unknown_key(key: str, value: Any, names: list[str], everywhere: Iterable[str] = ()) -> ConfigError:
    """Return the error for a key that does not exist.

    Args:
      key: the key as it was written, with dots.
      value: the value that it was given.
      names: the keys that could stand in its place, which the line lists.
      everywhere: further keys, of which the nearest may be proposed.
    """
    nearest = did_you_mean(key, [*names, *everywhere], 0.6)
    return ConfigError(f"{key}={show(value)}: no such key; {nearest}allowed: {', '.join(names)}")


def identity_values(config: Any) -> dict[str, Any]:
    """The nested values that determine results: identity fields, without those still at their `Since` value."""
    values = {}
    for name, field in fields_of(type(config)).items():
        value = getattr(config, name)
        if field.group:
            nested = identity_values(value)
            if nested:
                values[name] = nested
        elif field.identity and not (field.since is not None and field.since.value == value):
            values[name] = value
    return values
