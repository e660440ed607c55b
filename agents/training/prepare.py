"""Checks that a run can begin here, and works out once what the rest of it needs. Loads no JAX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agents.memory import available_bytes
from agents.sizes import RunSize, check_memory, run_size
from conf import identity
from conf.schema import RunConfig
from envs import registry
from envs.envpool import for_training
from envs.spec import TaskSpec


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    Attributes:
      config: with absolute paths.
      run_dir: where the run writes.
      specs: the tasks, in order.
      train_specs: the same, as training steps them.
      size: parameters and memory.
      gl: the OpenGL back end that films will use; None where none are asked for.
    """

    config: RunConfig
    run_dir: Path
    specs: list[TaskSpec]
    train_specs: list[TaskSpec]
    size: RunSize
    gl: str | None


def prepare(config: RunConfig) -> Prepared:
    """The run that `config` (with absolute paths) describes.

    Raises:
      ConfigError: a task does not exist, EnvPool is missing or right for none of the tasks, the memory is too small, or
        nothing here renders the films that are asked for.
    """
    specs = registry.specs(config.benchmark.task_ids, config.env)
    train_specs = for_training(specs, config.env.backend)
    size = run_size(config, specs)
    check_memory([size], available_bytes())
    return Prepared(config, identity.run_dir(config), specs, train_specs, size, usable_gl(config, specs))


def usable_gl(config: RunConfig, specs: list[TaskSpec]) -> str | None:
    """The OpenGL back end that films will use; None where none are asked for.

    Raises:
      ConfigError: nothing here renders.
    """
    if not config.eval.video:
        return None
    from envs import video

    return video.usable_gl(specs)
