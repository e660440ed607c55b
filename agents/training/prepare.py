"""Checks that a run can begin here, and works out once what the rest of it needs. Loads no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.memory import available_bytes
from agents.sizes import RunSize, check_disk, check_memory, readable_bytes, run_size
from agents.training.source import Transfer, transfer_of
from conf import identity
from conf.datasets import with_dataset
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.envpool import for_training
from envs.spec import TaskSpec
from records import layout
from records.run_dir import RunDir

MIN_ENVIRONMENT_BYTES = 2**20
"""Less than any simulator takes for one environment."""


@dataclass(frozen=True)
class Prepared:
    """Describes a run that can begin here.

    Attributes:
      config: with absolute paths.
      run_dir: where the run writes.
      specs: the tasks, in order.
      train_specs: the same, as training steps them.
      size: parameters and memory.
      gl: the OpenGL back end that films will use; None where none are asked for.
      assets: the SHA-256 of each file that shapes the physics of the tasks, by `suite/file`.
      transfer: what the run takes over from another run's networks; None where it takes over none.
    """

    config: RunConfig
    run_dir: Path
    specs: list[TaskSpec]
    train_specs: list[TaskSpec]
    size: RunSize
    gl: str | None
    assets: dict[str, str]
    transfer: Transfer | None = None


def prepare(config: RunConfig) -> Prepared:
    """Check the run that `config` (with absolute paths) describes, and work out what it needs.

    Raises:
      ConfigError: a task does not exist, a file of its suite is missing or another than the run was begun with, EnvPool
        is missing or right for none of the tasks, replay or the environments of evaluation do not fit into the memory,
        replay's files do not fit on the disk, nothing here renders the films that are asked for, the run whose networks
        the run takes over is gone, or the dataset that the run learns from is gone or another.
    """
    config = with_dataset(config)
    specs = registry.specs(config.benchmark.task_ids, config.env)
    train_specs = for_training(specs, config.env.backend)
    run_dir = identity.run_dir(config)
    assets = registry.assets(specs)
    check_assets(run_dir, assets)
    if config.source.kind == "fork" and config.source.run_dir is not None:
        check_assets(Path(config.source.run_dir), assets)
    size = run_size(config, specs)
    available = available_bytes()
    check_memory([size], available)
    check_disk([size], Path(config.paths.runs))
    check_evaluation(config, specs, available)
    transfer = transfer_of(config, specs) if needs_source(config, run_dir) else None
    return Prepared(config, run_dir, specs, train_specs, size, usable_gl(config, specs), assets, transfer)


def prepare_together(configs: Sequence[RunConfig]) -> list[Prepared]:
    """Return runs that can begin here side by side.

    Raises:
      ConfigError: as `prepare`, for one of them or for what all of them take together.
    """
    prepared = [prepare(config) for config in configs]
    sizes = [one.size for one in prepared]
    check_memory(sizes, available_bytes())
    check_disk(sizes, Path(configs[0].paths.runs))
    return prepared


def needs_source(config: RunConfig, run_dir: Path) -> bool:
    """Return whether the run still reads the run that it was started from: until it has a checkpoint of its own, and
    for as long as it evaluates that run's tasks."""
    if config.source.kind != "transfer":
        return False
    return config.init.old_tasks_every_steps is not None or not any((run_dir / layout.CHECKPOINTS).glob("step-*"))


def check_assets(run_dir: Path, assets: Mapping[str, str]) -> None:
    """Refuse to continue a run with other files than it was begun with, as its physics would change on the way.

    Args:
      run_dir: the run's directory, which need not exist.
      assets: the SHA-256 of each file that shapes the physics of the run's tasks, by `suite/file`.

    Raises:
      ConfigError: names the first file that differs.
    """
    manifest = RunDir(run_dir).manifest()
    if manifest is None or manifest.assets == assets:
        return
    name = min(name for name in {*manifest.assets, *assets} if manifest.assets.get(name) != assets.get(name))
    was, found = (digests.get(name, "none") for digests in (manifest.assets, assets))
    raise ConfigError(
        f"{run_dir}: the run was begun with another {name} (SHA-256 {was}, here {found}); put the file back, "
        "or begin a new run with another paths.runs"
    )


def check_evaluation(config: RunConfig, specs: Sequence[TaskSpec], available: int) -> None:
    """Refuse more environments for evaluation than the memory (bytes) can possibly hold.

    Raises:
      ConfigError: names both sizes.
    """
    copies = min(config.eval.parallel_episodes, config.eval.episodes)
    steps = [min(spec.max_episode_steps, config.eval.max_episode_steps or spec.max_episode_steps) for spec in specs]
    actions = max(steps) * np.dtype(np.float32).itemsize * max(spec.action_dim for spec in specs)
    needed = copies * len(specs) * (MIN_ENVIRONMENT_BYTES + actions)
    if needed > available:
        raise ConfigError(
            f"eval.parallel_episodes={config.eval.parallel_episodes}: {copies} environments for each of {len(specs)} "
            f"tasks need {readable_bytes(needed)} or more, {readable_bytes(available)} are available; lower it"
        )


def usable_gl(config: RunConfig, specs: Sequence[TaskSpec]) -> str | None:
    """Return the OpenGL back end that films will use; None where no films are asked for.

    Raises:
      ConfigError: nothing here renders.
    """
    if not config.eval.video:
        return None
    from envs import video

    try:
        return video.usable_gl(specs)
    except ConfigError as error:
        raise ConfigError(f"eval.video=true: {error}; or leave eval.video=false") from None
