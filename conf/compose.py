"""The only door: command-line overrides -> yaml groups -> `RunConfig`, or one clear error line.

Hydra finds and merges the group files and its grammar parses the overrides; values are then set and checked here
against the schema, because Hydra lets `+agent.typo=1` pass and because a sweep of a thousand runs should be planned
in a second.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from conf import identity, schema, uris
from conf.typed import ConfigError, Field, build, convert, describe, did_you_mean, fields_of, show, unknown_key

CONF_DIR = Path(__file__).parent
OPTIONAL_GROUPS = ("sweep", "experiment")
MAX_RUNS = 100_000


@dataclass(frozen=True)
class Composed:
    """One run: its configuration and the swept values that tell it from its siblings."""

    config: schema.RunConfig
    varied: dict[str, str]


@dataclass(frozen=True)
class _Override:
    """`key=values`; several values only in a sweep. A group's value names a yaml, any other is parsed already."""

    text: str
    key: str
    values: tuple[Any, ...]


def compose(overrides: Sequence[str]) -> schema.RunConfig:
    """One run's configuration.

    Raises:
      ConfigError: one line with the key, its value and what is allowed.
    """
    parsed = _parse(overrides)
    if "sweep" in parsed:
        raise ConfigError(f"{parsed['sweep'].text}: a sweep is many runs: add -m")
    for override in parsed.values():
        if len(override.values) > 1:
            raise ConfigError(f"{override.text}: {len(override.values)} values are a sweep: add -m")
    return _single({key: override.values[0] for key, override in parsed.items()})


def compose_many(overrides: Sequence[str]) -> list[Composed]:
    """Every run of a sweep: the product of all axes, the command line's before the sweep file's.

    Raises:
      ConfigError: as `compose`, for any of the runs, before any is started.
    """
    parsed = _parse(overrides)
    axes = {key: override.values for key, override in parsed.items()}
    if "sweep" in parsed:
        axes |= {
            key: override.values for key, override in _parse(_sweep_params(axes["sweep"][0])).items() if key not in axes
        }
    swept = [key for key, values in axes.items() if len(values) > 1]
    total = math.prod(len(axes[key]) for key in swept)
    if total > MAX_RUNS:
        raise ConfigError(f"{' '.join(overrides)}: {total} runs; at most {MAX_RUNS}")
    composed = []
    for combination in itertools.product(*(axes[key] for key in swept)):
        varied = dict(zip(swept, combination, strict=True))
        values = {key: values[0] for key, values in axes.items()} | varied
        composed.append(Composed(_single(values), {key: show(value) for key, value in varied.items()}))
    sweep = composed[0].config.sweep
    if "sweep" in parsed and not sweep.params and not sweep.search.space:
        raise ConfigError(f"{parsed['sweep'].text}: varies nothing: needs keys in sweep.params or sweep.search.space")
    _check_distinct(composed)
    return composed


def _check_distinct(composed: Sequence[Composed]) -> None:
    """Refuses values that differ and still mean one and the same run, of which only one could be carried out."""
    first: dict[str, Composed] = {}
    for one in composed:
        other = first.setdefault(identity.hash_of(one.config), one)
        if other.config != one.config and other.varied != one.varied:
            key = next(key for key, value in one.varied.items() if other.varied[key] != value)
            raise ConfigError(
                f"{key}={other.varied[key]},{one.varied[key]}: both give one and the same run; choose one of them"
            )


@cache
def groups() -> dict[str, list[str]]:
    """The choices of every group, from the folder."""
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(CONF_DIR.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def _single(values: dict[str, Any]) -> schema.RunConfig:
    choices = tuple((key, value) for key, value in values.items() if key in groups())
    data = copy.deepcopy(_merged(tuple(sorted(choices))))
    for key, value in values.items():
        if key not in groups():
            _set(data, key, value)
    schema.check_actions(data)
    config = _narrow(build(schema.RunConfig, data))
    if config.sweep.params and "sweep" not in values:
        raise ConfigError(
            f"sweep.params={show(config.sweep.params)}: is of no effect in a yaml that is no sweep's; "
            "write it to conf/sweep/NAME.yaml and add +sweep=NAME"
        )
    schema.check(config)
    return config


def _parse(overrides: Iterable[str]) -> dict[str, _Override]:
    """Overrides by key; the last one of a key wins, as in Hydra."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed: dict[str, _Override] = {}
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
        parsed[override.key_or_group] = _check_override(override, text, values)
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


def _check_override(override: Any, text: str, values: tuple[Any, ...]) -> _Override:
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
        return _Override(text, key, values)
    if key.split(".")[0] == "hydra":
        raise ConfigError(f"{text}: no hydra.* settings here; folders: paths.*, execution: launcher.*")
    if key.split(".")[:2] == ["sweep", "params"]:
        raise ConfigError(f"{text}: for a sweep's yaml only; here, each key is an override of its own: seed=0,1")
    field = field_at(key, values[0])
    if isinstance(values[0], Glob):
        raise ConfigError(f"{text}: glob is for groups; {key} must be {describe(field)}")
    if override.is_add() and field.type is not dict:
        raise ConfigError(f"{text}: write {key}={show(values[0])} without +")
    return _Override(text, key, tuple(_plain(value) for value in values))


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


def _set(data: dict, key: str, value: Any) -> None:
    field = field_at(key, value)
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
    data[last] = value if field.type is dict else convert(key, field, value)


@cache
def _merged(choices: tuple[tuple[str, str], ...]) -> dict:
    """The group files merged by Hydra, as plain values."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    unreadable = (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError)
    overrides = [f"{'+' if group in OPTIONAL_GROUPS else ''}{group}={name}" for group, name in choices]
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            merged = OmegaConf.to_container(hydra_compose("config", overrides), resolve=True)
    except unreadable as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{' '.join(overrides) or 'conf/config.yaml'}: cannot be read: {reason}") from None
    assert isinstance(merged, dict)
    uris.check_values(merged)
    return merged


def _sweep_params(name: str) -> list[str]:
    params = _merged((("sweep", name),)).get("sweep", {}).get("params", {})
    where = f"conf/sweep/{name}.yaml"
    if not isinstance(params, dict):
        raise ConfigError(f"{where}: sweep.params={show(params)}: must be override key -> values")
    for key, values in params.items():
        if str(key).lstrip("+") == "sweep":
            raise ConfigError(f"{where}: {key}={show(values)}: a sweep cannot name another sweep")
        if isinstance(values, list | dict) or values is None:
            raise ConfigError(
                f"{where}: {key}={show(values)}: write the values as one text, such as 1,2,3 or range(0,3)"
            )
    return [f"{key}={values}" for key, values in params.items()]


def _narrow(config: schema.RunConfig) -> schema.RunConfig:
    """Resolves `benchmark.tasks` to full ids in the benchmark's order."""
    benchmark = config.benchmark
    if not benchmark.available:
        raise ConfigError("benchmark.available=[]: at least one task")
    for task in benchmark.available:
        if not all(task.partition("/")):
            raise ConfigError(f"benchmark.available={show(benchmark.available)}: {task} is not of the form suite/name")
    if benchmark.tasks is None:
        return dataclasses.replace(config, benchmark=dataclasses.replace(benchmark, tasks=benchmark.available))
    if not benchmark.tasks:
        raise ConfigError("benchmark.tasks=[]: at least one task")
    chosen = {_task_id(benchmark, name) for name in benchmark.tasks}
    tasks = tuple(task for task in benchmark.available if task in chosen)
    return dataclasses.replace(config, benchmark=dataclasses.replace(benchmark, tasks=tasks))


def _task_id(benchmark: schema.BenchmarkConfig, name: str) -> str:
    matches = [task for task in benchmark.available if name in _names(task, benchmark.published_suffixes)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(f"benchmark.tasks={name}: several suites have it; write one of {', '.join(matches)}")
    others = [other for other in groups()["benchmark"] if name in _task_names(_merged((("benchmark", other),)))]
    short = [task.split("/", 1)[1] for task in benchmark.available]
    nearest = f"it is in benchmark={', '.join(others)}; " if others else did_you_mean(name, short)
    raise ConfigError(f"benchmark.tasks={name}: not in {benchmark.name}; {nearest}allowed: {', '.join(short)}")


def _names(task: str, published_suffixes: Iterable[str]) -> set[str]:
    """The task's full, short and published names."""
    short = task.split("/", 1)[1]
    return {task, short, *(f"{short}{suffix}" for suffix in published_suffixes)}


def _task_names(merged: dict) -> set[str]:
    """All names of the benchmark's tasks."""
    benchmark = merged["benchmark"]
    return set().union(*(_names(task, benchmark["published_suffixes"]) for task in benchmark["available"]))


def resolve_paths(config: schema.RunConfig, folder: str | os.PathLike | None = None) -> schema.RunConfig:
    """The configuration with absolute paths and tracking URI, seen from `folder` (default: the current one)."""
    base = Path(folder or Path.cwd())

    def absolute(path: str) -> str:
        return str(base / Path(path).expanduser())

    uri = uris.absolute(config.tracking.uri or f"{uris.SQLITE}mlflow.db", base)
    search = config.sweep.search
    if search.storage is not None:
        search = dataclasses.replace(search, storage=uris.absolute(search.storage, base))
    cache_path = config.paths.compilation_cache
    return dataclasses.replace(
        config,
        tracking=dataclasses.replace(config.tracking, uri=uri),
        sweep=dataclasses.replace(config.sweep, search=search),
        paths=dataclasses.replace(
            config.paths,
            runs=absolute(config.paths.runs),
            compilation_cache=None if cache_path is None else absolute(cache_path),
        ),
    )
