"""The policy that a run's checkpoint holds, read without changing anything in the run's directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.learner.api import learner_of
from agents.learner.types import Learner
from agents.training.checkpoint import CheckpointStore, DamagedError
from agents.training.metrics import ScoredEvaluation
from agents.training.opening import read_meta, restored
from agents.training.prepare import check_assets
from agents.training.state import initial
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.spec import SpaceSpec, TaskSpec
from records import layout
from records.run_dir import RunDir


@dataclass(frozen=True)
class SavedPolicy:
    """A run's policy as one of its checkpoints has it.

    Attributes:
      run_dir: the run's directory.
      config: the run's configuration.
      specs: the run's tasks, in order.
      env_steps: when the checkpoint was taken.
      evaluated: the newest evaluation up to there, None before the first.
      learner: what has learned.
      settings: what the learner's functions take first.
      params: what acting needs of the learner's state, as arrays of NumPy.
    """

    run_dir: Path
    config: RunConfig
    specs: list[TaskSpec]
    env_steps: int
    evaluated: ScoredEvaluation | None
    learner: Learner[Any, Any, Any]
    settings: Any
    params: Any


def recorded_run(run_dir: Path) -> tuple[RunConfig, list[TaskSpec]]:
    """Return the configuration of a run, and its tasks.

    Raises:
      ConfigError: the record cannot be read, or what the tasks need is not here or another than the run was begun with.
    """
    config = RunDir(run_dir).existing_config()
    specs = registry.specs(config.benchmark.task_ids, config.env)
    check_assets(run_dir, registry.assets(specs))
    return config, specs


def saved_policy(run_dir: Path, env_steps: int | None = None) -> SavedPolicy:
    """Read the policy of a run's newest checkpoint, or of the one at `env_steps`.

    Raises:
      ConfigError: the record cannot be read, there is no such checkpoint, or the checkpoint is damaged.
    """
    config, specs = recorded_run(run_dir)
    learner = learner_of(config)
    settings = learner.settings(config, specs)
    shapes = jax.eval_shape(partial(learner.init, settings), jax.random.key(0))
    try:
        checkpoint = CheckpointStore(run_dir / layout.CHECKPOINTS).peek(env_steps)
        state = restored(initial(config, specs, shapes), checkpoint)
        _, _, evaluated = read_meta(checkpoint)
    except DamagedError as error:
        raise ConfigError(f"{run_dir.name}: {error}") from None
    params = learner.acting_params(state.learner)
    return SavedPolicy(run_dir, config, specs, checkpoint.env_steps, evaluated, learner, settings, params)


def as_learned(
    policy: SavedPolicy, specs: Sequence[TaskSpec], obs: np.ndarray, task_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return observations and numbers of tasks as the policy's networks know them, whose padding may be wider.

    Args:
      policy: the policy.
      specs: some of the policy's tasks.
      obs: `[N, O]`, padded to the widest of these.
      task_ids: `[N]`, numbers in `specs`.
    """
    known = {spec.id: number for number, spec in enumerate(policy.specs)}
    numbers = np.asarray([known[spec.id] for spec in specs], np.int32)
    width = SpaceSpec.of(policy.specs).obs_shape[0]
    if obs.ndim == 2 and obs.shape[1] < width:
        obs = np.pad(obs, ((0, 0), (0, width - obs.shape[1])))
    return obs, numbers[task_ids]
