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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf import identity, schema, uris
from conf.benchmarks import with_tasks
from conf.overrides import MAX_RUNS, field_at, parse
from conf.typed import ConfigError, build, convert, show
from conf.yaml_groups import groups, has_interpolation, merged, resolved, shown


@dataclass(frozen=True)
class Composed:
    """One run: its configuration and the swept values that tell it from its siblings."""

    config: schema.RunConfig
    varied: dict[str, str]


def compose(overrides: Sequence[str]) -> schema.RunConfig:
    """One run's configuration.

    Raises:
      ConfigError: one line with the key, its value and what is allowed.
    """
    parsed = parse(overrides)
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
    parsed = parse(overrides)
    axes = {key: override.values for key, override in parsed.items()}
    if "sweep" in parsed:
        axes |= {
            key: override.values for key, override in parse(_sweep_params(axes["sweep"][0])).items() if key not in axes
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


def _single(values: dict[str, Any]) -> schema.RunConfig:
    """The run that one value for each override gives."""
    choices = tuple((key, value) for key, value in values.items() if key in groups())
    data = copy.deepcopy(merged(tuple(sorted(choices))))
    for key, value in values.items():
        if key not in groups():
            _set(data, key, value)
    data = resolved(data)
    schema.check_actions(data)
    config = build(schema.RunConfig, data)
    config = dataclasses.replace(config, benchmark=with_tasks(config.benchmark))
    if config.sweep.params and "sweep" not in values:
        raise ConfigError(
            f"sweep.params={show(config.sweep.params)}: is of no effect in a yaml that is no sweep's; "
            "write it to conf/sweep/NAME.yaml and add +sweep=NAME"
        )
    schema.check(config)
    return config


def _set(data: dict, key: str, value: Any) -> None:
    field = field_at(key, value)
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
    data[last] = value if field.type is dict or has_interpolation(value) else convert(key, field, value)


def _sweep_params(name: str) -> list[str]:
    params = resolved(merged((("sweep", name),))).get("sweep", {}).get("params", {})
    where = shown("sweep", name)
    if not isinstance(params, dict):
        raise ConfigError(f"{where}: sweep.params={show(params)}: must be override key -> values")
    for key, values in params.items():
        if str(key).lstrip("+") == "sweep":
            raise ConfigError(f"{where}: {key}={show(values)}: a sweep cannot name another sweep")
        if isinstance(values, list | dict) or values is None:
            raise ConfigError(
                f"{where}: {key}={show(values)}: write the values as one text, such as 1,2,3 or range(0,3)"
            )
    return [f"{key}={show(values)}" for key, values in params.items()]


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
