"""Overrides as text (`key=value`, `+sweep=name`, `seed=0,1`) become keys and values, checked against the schema."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from typing import Any

from conf import schema, uris
from conf.typed import ConfigError, Field, describe, did_you_mean, fields_of, show, unknown_key
from conf.yaml_groups import NO_HYDRA, OPTIONAL_GROUPS, groups

MAX_RUNS = 100_000


@dataclass(frozen=True)
class Override:
    """One override.

    Attributes:
      text: the override as it was written.
      key: the group, or the key of the schema.
      values: one value, or several in a sweep. A group's value is the name of a yaml file.
    """

    text: str
    key: str
    values: tuple[Any, ...]


def parse(overrides: Iterable[str]) -> dict[str, Override]:
    """The overrides by key; the last one of a key wins, as in Hydra.

    Raises:
      ConfigError: an override cannot be read, or its key or group does not exist. Values of keys are checked later.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed: dict[str, Override] = {}
    for text in overrides:
        uris.check_no_password(text)
        try:
            override = parser.parse_override(text)
            values = _values(override, text)
        except ConfigError:
            raise
        except (HydraException, ValueError, ArithmeticError, RecursionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{text}: not an override of the form key=value ({reason})") from None
        if override.is_delete():
            raise ConfigError(f"{text}: keys cannot be removed; set key=null where null is allowed")
        if override.package is not None or override.is_force_add():
            raise ConfigError(f"{text}: only key=value, +sweep=name and +experiment=name are understood")
        parsed[override.key_or_group] = _checked(override, text, values)
    return parsed


def _values(override: Any, text: str) -> tuple[Any, ...]:
    """The override's values as Hydra's grammar reads them; a glob stands for itself."""
    from hydra.core.override_parser.types import Glob, RangeSweep

    value = override._value
    if isinstance(value, Glob):  # Hydra would look for its choices in a config loader of its own
        return (value,)
    if override.is_interval_sweep():
        raise ConfigError(f"{text}: an interval lists no values: range(..) does; +sweep=search draws from intervals")
    if not override.is_sweep_override():
        return (override.value(),)
    # Counted first: a range may be longer than memory or patience.
    if isinstance(value, RangeSweep) and next(itertools.islice(value.range(), MAX_RUNS, None), None) is not None:
        raise ConfigError(f"{text}: more than {MAX_RUNS} values")
    return tuple(override.sweep_iterator())


def _checked(override: Any, text: str, values: tuple[Any, ...]) -> Override:
    from hydra.core.override_parser.types import Glob

    key = override.key_or_group
    if not values:
        raise ConfigError(f"{text}: no value")
    if key in groups():
        values = tuple(itertools.chain.from_iterable(_group_names(key, value, text) for value in values))
        if override.is_add() and key not in OPTIONAL_GROUPS:
            raise ConfigError(f"{text}: write {key}={show(values[0])} without +")
        if key == "sweep" and len(values) > 1:
            raise ConfigError(f"{text}: one sweep at a time; allowed: {', '.join(groups()['sweep'])}")
        return Override(text, key, values)
    if key.split(".")[0] == "hydra":
        raise ConfigError(f"{text}: {NO_HYDRA}")
    if key.split(".")[0] == "sweep" and key.split(".")[1:2] in (["params"], ["parts"]):
        raise ConfigError(f"{text}: for a yaml only; on the command line each key is an override of its own: seed=0,1")
    if key.split(".")[0] == "source":
        raise ConfigError(f"{text}: commands write this: agents.fork, and agents.run with init_from=RUN_DIR")
    field = field_at(key, values[0])
    if isinstance(values[0], Glob):
        raise ConfigError(f"{text}: glob is for groups; {key} must be {describe(field)}")
    if override.is_add() and field.type is not dict:
        raise ConfigError(f"{text}: write {key}={show(values[0])} without +")
    return Override(text, key, tuple(_plain(value) for value in values))


def _plain(value: Any) -> Any:
    """Hydra's parsed value without its quoting wrappers."""
    from hydra.core.override_parser.types import QuotedString

    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return value


def _group_names(group: str, value: Any, text: str) -> list[str]:
    from hydra.core.override_parser.types import Glob

    names = groups()[group]
    if isinstance(value, Glob):
        matches = [name for name in names if _matches(name, value.include) and not _matches(name, value.exclude)]
        if not matches:
            raise ConfigError(f"{text}: no such {group}; allowed: {', '.join(names)}")
        return matches
    if str(value) not in names:
        nearest = did_you_mean(str(value), names)
        raise ConfigError(f"{text}: no such {group}; {nearest}allowed: {', '.join(names)}")
    return [str(value)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def field_at(key: str, value: Any) -> Field:
    """The schema's field at a dotted key; keys below a free-form field belong to it."""
    fields = fields_of(schema.RunConfig)
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if part not in fields:
            prefix = "".join(f"{name}." for name in parts[:depth])
            names = [f"{prefix}{name}" for name in fields]
            raise unknown_key(key, value, names, _all_keys())
        field = fields[part]
        if field.type is dict:
            return field
        below = field.nested()
        if below is None:
            if depth < len(parts) - 1:
                raise ConfigError(f"{key}={show(value)}: {'.'.join(parts[: depth + 1])} holds a value, not keys")
            return field
        fields = below
    raise ConfigError(f"{key}={show(value)}: a group of keys: {', '.join(f'{key}.{name}' for name in fields)}")


@cache
def _all_keys() -> tuple[str, ...]:
    return (*groups(), *_keys_below(fields_of(schema.RunConfig), ""))


def _keys_below(fields: dict[str, Field], prefix: str) -> Iterator[str]:
    for name, field in fields.items():
        below = field.nested()
        if below is None:
            yield f"{prefix}{name}"
        else:
            yield from _keys_below(below, f"{prefix}{name}.")
