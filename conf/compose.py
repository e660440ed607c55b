"""The only door: command-line overrides -> yaml groups -> `RunConfig`, or one clear error line.

Group files are merged by Hydra's rules and its grammar parses the overrides; values are then set and checked here
against the schema, because Hydra lets `+agent.typo=1` pass and because a sweep of a thousand runs should be planned
in a second.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conf import axes, identity, schema, uris
from conf.agents import ImitationConfig
from conf.benchmarks import with_tasks
from conf.composed import Composed
from conf.datasets import with_dataset
from conf.links import linked
from conf.overrides import MAX_RUNS, field_at, parse
from conf.typed import ConfigError, build, convert, show
from conf.yaml_groups import groups, has_interpolation, interpolates, merged, resolved


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
        if axes.is_each(override):
            raise ConfigError(f"{override.text}: a run for each task is a sweep: add -m")
    values = axes.stacked([parsed, axes.size_of(parsed)]).values
    config = _single({key: found[0] for key, found in values.items()})
    if parts := axes.parts_of(parsed):
        named = parsed["experiment"].text if "experiment" in parsed else "sweep.parts"
        raise ConfigError(f"{named}: has {len(parts)} parts, which are many runs: add -m")
    for key, found in values.items():
        if len(found) > 1:
            raise ConfigError(f"{parsed['size'].text}: {len(found)} values of {key} are a sweep: add -m")
    return config


def compose_many(overrides: Sequence[str]) -> list[Composed]:
    """Every run of a sweep, part by part: the product of all axes, the command line's before those of files.

    Raises:
      ConfigError: as `compose`, for any of the runs, before any is started.
    """
    parsed = parse(overrides)
    file = axes.sweep_layer(parsed["sweep"].values[0]) if "sweep" in parsed else {}
    parts = axes.parts_of(parsed)
    composed: list[Composed] = []
    for part in parts or [axes.Part("", (axes.size_of(parsed),))]:
        product = axes.stacked([parsed, *part.layers, file])
        runs = list(_runs(product, part.name, MAX_RUNS - len(composed), overrides))
        check_distinct(runs)
        composed += runs
    sweep = composed[0].config.sweep
    varies = sweep.params or sweep.search.space or parts or sweep.decide.max_seeds  # the last one varies seeds
    if "sweep" in parsed and not varies:
        raise ConfigError(f"{parsed['sweep'].text}: varies nothing: needs keys in sweep.params or sweep.search.space")
    if parts and sweep.search.space:
        raise ConfigError("sweep.parts: a search chooses values itself and has no parts")
    if not parts and any(one.config.sweep.parts or one.config.sweep.include for one in composed):
        raise ConfigError("sweep.parts: of effect in a sweep's yaml and in that of a single experiment alone")
    return _first_of_each(linked(composed)) if parts else composed


def _runs(product: axes.Axes, part: str, at_most: int, overrides: Sequence[str]) -> Iterator[Composed]:
    """The runs of a product.

    Args:
      product: the axes.
      part: the name of the part that the runs belong to.
      at_most: how many runs there may be.
      overrides: the command line, which is named where there are more.
    """
    swept = [key for key, values in product.values.items() if len(values) > 1]
    total = math.prod(len(product.values[key]) for key in swept)
    for combination in itertools.product(*(product.values[key] for key in swept)) if total <= at_most else ():
        varied = dict(zip(swept, combination, strict=True))
        values = {key: values[0] for key, values in product.values.items()} | varied
        words = {key: show(value) for key, value in varied.items()}
        config = _single(values)
        if not product.each:
            yield Composed(config, words, part)
            continue
        tasks = config.benchmark.task_ids
        if total * len(tasks) > at_most:
            total *= len(tasks)
            break
        for task in tasks:
            yield Composed(_single(values | {axes.TASKS: [task]}), words | {axes.TASKS: show([task])}, part)
    if total > at_most:
        raise ConfigError(f"{' '.join(overrides)}: {total} runs; at most {at_most}")


def _first_of_each(composed: Sequence[Composed]) -> list[Composed]:
    """The runs without those that an earlier part has already.

    Raises:
      ConfigError: two parts have a run with different budgets.
    """
    first: dict[str, Composed] = {}
    kept = []
    for one in composed:
        other = first.setdefault(identity.hash_of(one.config), one)
        if other.part == one.part:
            kept.append(one)
            continue
        budgets = [run.config.train.env_steps for run in (other, one)]
        if budgets[0] != budgets[1]:
            raise ConfigError(
                f"train.env_steps={budgets[0]},{budgets[1]}: parts {other.part} and {one.part} have one and the same "
                "run with these budgets; choose one of them"
            )
    return kept


def check_distinct(composed: Sequence[Composed]) -> None:
    """Refuse values that differ and still mean one and the same run, of which only one could be carried out.

    Raises:
      ConfigError: names the key with both values.
    """
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
    choices = tuple(sorted((key, value) for key, value in values.items() if key in groups()))
    data = dict(merged(choices))
    for key, value in values.items():
        if key not in groups():
            set_key(data, key, value)
    if interpolates(choices) or has_interpolation(list(values.values())):
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


def set_key(data: dict, key: str, value: Any) -> None:
    """Put an override's value into nested values, of which only what changes is copied: the rest may be others', too.

    Raises:
      ConfigError: there is no such key, or the value is not allowed.
    """
    field = field_at(key, value)
    *parents, last = key.split(".")
    for parent in parents:
        data[parent] = dict(data.get(parent, {}))
        data = data[parent]
    data[last] = value if field.type is dict or has_interpolation(value) else convert(key, field, value)


def resolve_paths(config: schema.RunConfig, folder: str | os.PathLike | None = None) -> schema.RunConfig:
    """The configuration with absolute paths and tracking URI, seen from `folder` (default: the current one).

    Raises:
      ConfigError: a dataset that is named there is not one that the run can learn from.
    """
    base = Path(folder or Path.cwd())

    def absolute(path: str) -> str:
        return str(base / Path(path).expanduser())

    def optional(path: str | None) -> str | None:
        return None if path is None else absolute(path)

    uri = uris.absolute(config.tracking.uri or f"{uris.SQLITE}mlflow.db", base)
    search = config.sweep.search
    if search.storage is not None:
        search = dataclasses.replace(search, storage=uris.absolute(search.storage, base))
    agent = config.agent
    if isinstance(agent, ImitationConfig):
        agent = dataclasses.replace(agent, dataset=optional(agent.dataset))
    env = config.env
    shadowhand = dataclasses.replace(env.shadowhand, mesh_dir=optional(env.shadowhand.mesh_dir))
    humanoidbench = dataclasses.replace(env.humanoidbench, asset_dir=optional(env.humanoidbench.asset_dir))
    absolute_paths = dataclasses.replace(
        config,
        init_from=optional(config.init_from),
        source=dataclasses.replace(config.source, run_dir=optional(config.source.run_dir)),
        agent=agent,
        env=dataclasses.replace(env, shadowhand=shadowhand, humanoidbench=humanoidbench),
        tracking=dataclasses.replace(config.tracking, uri=uri),
        sweep=dataclasses.replace(config.sweep, search=search),
        paths=dataclasses.replace(
            config.paths,
            runs=absolute(config.paths.runs),
            compilation_cache=optional(config.paths.compilation_cache),
        ),
    )
    return with_dataset(absolute_paths)
