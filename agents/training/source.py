"""Finds the run that `init_from` names, and works out what a run takes over from that run's networks. Loads no JAX."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from agents.training.checkpoint import CheckpointStore, DamagedError
from conf import identity
from conf.compose import resolve_paths
from conf.identity import flat
from conf.links import PART, following, transfer_from
from conf.schema import RunConfig
from conf.typed import ConfigError, fields_of, show
from envs.spec import SpaceSpec, TaskSpec
from records import layout
from records.decode import DamagedRecordError, read_object
from records.find import find_point
from records.run_dir import RunDir


@dataclass(frozen=True)
class Source:
    """A checkpoint of a run whose networks begin another run.

    Attributes:
      run_dir: the run's directory.
      env_steps: when the checkpoint was taken.
      config: the run's configuration.
      tasks: the ids of the run's tasks, in order.
      obs_shape: the common shape of their observations.
      action_dim: the common width of their continuous actions, or the number of their discrete ones.
    """

    run_dir: Path
    env_steps: int
    config: RunConfig
    tasks: tuple[str, ...]
    obs_shape: tuple[int, ...]
    action_dim: int

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return the checkpoint's arrays, by path.

        Raises:
          DamagedError: the checkpoint is gone, or not whole.
        """
        return CheckpointStore(self.run_dir / layout.CHECKPOINTS).peek(self.env_steps).arrays


@dataclass(frozen=True)
class Transfer:
    """What a run takes over from a source.

    Attributes:
      source: the checkpoint.
      obs, action: widths at the source and here; the parts that both have are taken over.
      rows: for each task of this run the number of the source's task whose embedding (or head) the task begins with;
        None where the source has no such task and the beginning is random, or the mean.
      kept: for each task of this run whether the source has trained on the task.
    """

    source: Source
    obs: tuple[int, int]
    action: tuple[int, int]
    rows: tuple[int | None, ...]
    kept: tuple[bool, ...]

    def to_json(self, config: RunConfig) -> dict[str, Any]:
        """Return what the manifest of the run says of the transfer."""
        begins = {
            task: self.source.tasks[row] if row is not None else config.init.new_rows
            for task, row in zip(config.benchmark.task_ids, self.rows, strict=True)
        }
        return {
            "observation_widths": list(self.obs),
            "action_widths": list(self.action),
            "tasks_begin_as": begins,
            "kept_tasks": [task for task, kept in zip(config.benchmark.task_ids, self.kept, strict=True) if kept],
            "frozen": list(config.init.frozen),
        }

    def lines(self, config: RunConfig) -> list[str]:
        """Return what a person is told at the start."""
        kept = [task for task, kept in zip(config.benchmark.task_ids, self.kept, strict=True) if kept]
        new = [task for task in config.benchmark.task_ids if task not in kept]
        widths = "; ".join(
            f"{what} of width {here}, {there} at the source: {min(here, there)} taken over"
            + (f", {here - there} new" if here > there else f", {there - here} dropped" if there > here else "")
            for what, (there, here) in (("observations", self.obs), ("actions", self.action))
        )
        lines = [
            f"starts from the networks of {config.source.name} at {self.source.env_steps:,} steps "
            f"({self.source.run_dir}); optimisers and replay begin anew",
            widths,
            f"{len(kept)} of {len(self.rows)} tasks are the source's, {len(new)} are new"
            + (f" and begin as: {_begins(self, config)}" if new and config.conditioning != "none" else ""),
        ]
        return lines + ([f"frozen: {', '.join(config.init.frozen)}"] if config.init.frozen else [])


def _begins(transfer: Transfer, config: RunConfig) -> str:
    if config.init.new_rows != "nearest":
        return config.init.new_rows
    return ", ".join(
        f"{task} as {transfer.source.tasks[row]}"
        for task, row, kept in zip(config.benchmark.task_ids, transfer.rows, transfer.kept, strict=True)
        if row is not None and not kept
    )


def resolved(config: RunConfig, folder: Path | None = None) -> RunConfig:
    """Return the configuration with absolute paths, and with the identity and step of the run that `init_from` names.

    Args:
      config: as composed.
      folder: what relative paths start at; None: the current one.
    Raises:
      ConfigError: `init_from` names no run, or a run whose networks cannot begin this one.
    """
    named = config.init_from
    config = resolve_paths(config, folder)
    if named is None or config.source.kind is not None:  # no networks, or those that a record names
        return config
    if named.startswith(PART):
        raise ConfigError(f"init_from={named}: parts are those of a sweep; allowed here: a run's directory or name")
    try:
        source = find(*_place(config, named))
        config = following(config, source.config)
        check(config, source.config)
    except ConfigError as error:
        raise ConfigError(f"init_from={named}: {error}") from None
    check_parts(config)
    return dataclasses.replace(
        config,
        init_from=f"{source.run_dir}@{source.env_steps}",
        source=transfer_from(source.config, source.env_steps, str(source.run_dir)),
    )


def _place(config: RunConfig, named: str) -> tuple[Path, int | None]:
    """The directory and the step that `init_from` names: by path from the folder of launch, or by a part of a name."""
    assert config.init_from is not None
    with contextlib.suppress(ConfigError):
        return find_point(Path(config.paths.runs), config.init_from)
    return find_point(Path(config.paths.runs), named)


def find(run_dir: Path, asked: int | None) -> Source:
    """Return a checkpoint of a run, the newest of a finished run where none is asked for.

    Raises:
      ConfigError: there is no such run or checkpoint, it is damaged, or the run is not finished.
    """
    record = RunDir(run_dir)
    try:
        config, manifest, done = record.require_config(), record.require_manifest(), record.require_done()
    except DamagedRecordError as error:
        raise ConfigError(f"is damaged: {error.path.name} {error.reason}") from None
    if config is None or manifest is None:
        raise ConfigError(f"no run there ({layout.CONFIG if config is None else layout.MANIFEST} is missing)")
    if manifest.identity != identity.hash_of(config):
        raise ConfigError(f"is damaged: {layout.CONFIG} is not that of the run in {layout.MANIFEST}")
    kept = CheckpointStore(run_dir / layout.CHECKPOINTS).steps()
    choices = ", ".join(str(one) for one in kept) or "none"
    if asked is None and (done is None or done.env_steps < config.train.env_steps):
        raise ConfigError(f"is not finished; name one of its checkpoints as RUN_DIR@STEPS: {choices}")
    if not kept or (asked is not None and asked not in kept):
        raise ConfigError(f"has no checkpoint{'' if asked is None else f' at {asked} steps'}; there are: {choices}")
    env_steps = kept[-1] if asked is None else asked
    try:
        meta = _meta_of(run_dir / layout.CHECKPOINTS, env_steps, _changes(run_dir / layout.CHECKPOINTS))
        tasks, obs_shape, action_dim = meta["tasks"], meta["obs_shape"], meta["action_dim"]
    except (DamagedError, OSError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"its checkpoint at {env_steps} steps is damaged: {reason}") from None
    return Source(run_dir, env_steps, config, tuple(tasks), tuple(obs_shape), int(action_dim))


@lru_cache(maxsize=256)
def _meta_of(folder: Path, env_steps: int, changes: tuple[int, ...]) -> dict[str, Any]:
    """The JSON part of a checkpoint, whose digest is taken once for all runs of a sweep."""
    return CheckpointStore(folder).peek(env_steps).meta


def _changes(folder: Path) -> tuple[int, ...]:
    """When the files of arrays were written last, which is never again unless somebody damages one."""
    return tuple(path.stat().st_mtime_ns for path in sorted(folder.glob(f"step-*/{layout.STATE}")))


def check(config: RunConfig, source: RunConfig) -> None:
    """Refuse a source whose networks are not of this run's form, or that has nothing to be transferred to.

    Args:
      config: of the run that begins with the source's networks.
      source: of the source.
    Raises:
      ConfigError: says what differs; without the name of the key.
    """
    if source.agent.learner != config.agent.learner:
        raise ConfigError(f"is a run of agent.learner={source.agent.learner}, this one is of {config.agent.learner}")
    if not config.agent.parts:
        raise ConfigError(f"agent.learner={config.agent.learner} cannot begin with the networks of another run")
    there, here = (flat(identity.values_of(one)) for one in (source, config))
    differing = [key for key in architecture_keys(config) if there.get(key) != here.get(key)]
    if differing:
        differences = ", ".join(f"{key}={show(there.get(key))}, here {show(here.get(key))}" for key in differing)
        raise ConfigError(f"its networks have another architecture: {differences}")
    tasks = config.benchmark.task_ids
    if config.init.known_tasks == "refuse" and set(tasks) <= set(source.benchmark.task_ids):
        what = "this task" if len(tasks) == 1 else f"all {len(tasks)} tasks"
        raise ConfigError(
            f"the source has trained on {what}; a larger train.env_steps continues the source, "
            "and init.known_tasks=allow begins anew from its networks"
        )
    if config.init.old_tasks_every_steps is not None and config.conditioning not in ("embedding", "none"):
        raise ConfigError(
            f"agent.conditioning={config.conditioning}: the source's other tasks have no place in these networks, "
            "so init.old_tasks_every_steps must be null"
        )


def architecture_keys(config: RunConfig) -> list[str]:
    """Return the keys that decide what the networks' parameters are."""
    groups = {"agent": type(config.agent), "model": type(config.model)}
    return [f"{group}.{name}" for group, cls in groups.items() for name, one in fields_of(cls).items() if one.shapes]


def check_parts(config: RunConfig) -> None:
    """Refuse to freeze a part that the networks do not have.

    Raises:
      ConfigError: lists the parts that there are.
    """
    parts = [part for part in config.agent.parts if part != "embedding" or config.conditioning == "embedding"]
    for part in config.init.frozen:
        if part not in parts:
            raise ConfigError(
                f"init.frozen={show(config.init.frozen)}: the networks have no part {part}; allowed: {', '.join(parts)}"
            )


def transfer_of(config: RunConfig, specs: Sequence[TaskSpec]) -> Transfer:
    """Work out what a run takes over from the source that its configuration names.

    Args:
      config: resolved.
      specs: the run's tasks.
    Raises:
      ConfigError: the source is gone, has become another run, or sees or does something of another kind.
    """
    try:
        source = find(*find_point(Path(config.paths.runs), config.init_from or ""))
        if identity.hash_of(source.config) != config.source.identity:
            raise ConfigError(f"is another run than when this one was planned ({config.source.identity})")
        space = SpaceSpec.of(specs)
        images = len(space.obs_shape) > 1
        if len(source.obs_shape) != len(space.obs_shape) or (images and source.obs_shape != space.obs_shape):
            raise ConfigError(f"sees observations of shape {show(source.obs_shape)}, here {show(space.obs_shape)}")
    except ConfigError as error:
        raise ConfigError(f"init_from={config.init_from}: {error}") from None
    layouts = _layouts(source)
    rows = []
    for spec in specs:
        if spec.id in source.tasks:
            rows.append(source.tasks.index(spec.id))
        else:
            rows.append(nearest(spec, layouts) if config.init.new_rows == "nearest" else None)
    return Transfer(
        source,
        (source.obs_shape[-1], space.obs_shape[-1]),
        (source.action_dim, space.action_dim),
        tuple(rows),
        tuple(spec.id in source.tasks for spec in specs),
    )


def _layouts(source: Source) -> dict[str, tuple[int, int] | None]:
    """The source's tasks with the widths of their own observations and actions, where the source's record has them."""
    listed = (read_object(source.run_dir / layout.TASKS) or {}).get("tasks", [])
    known = {str(one.get("id")): one for one in listed if isinstance(one, dict)}
    found: dict[str, tuple[int, int] | None] = {}
    for task in source.tasks:
        one: dict[str, Any] = known.get(task, {})
        shape, actions = one.get("obs_shape"), one.get("action_dim")
        found[task] = (int(shape[-1]), int(actions)) if shape and actions else None
    return found


def nearest(spec: TaskSpec, layouts: Mapping[str, tuple[int, int] | None]) -> int:
    """Return the number of the source's task that is most like a new one.

    A task of the same suite comes before others; among these, one whose own observations and actions have the same
    widths; among these, the one with the most similar name (`difflib`'s ratio); among equals, the source's first.

    Args:
      spec: the new task.
      layouts: the source's tasks in order, each with its own widths of observations and actions.
    """
    own = (spec.obs_shape[-1], spec.action_dim)

    def likeness(task: str) -> tuple[bool, bool, float]:
        suite, _, name = task.partition("/")
        return suite == spec.suite, layouts[task] == own, difflib.SequenceMatcher(None, spec.name, name).ratio()

    tasks = list(layouts)
    return max(range(len(tasks)), key=lambda number: (*likeness(tasks[number]), -number))
