"""Plays the tasks that a run's source has learned and the run does not learn, to see what is forgotten."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from agents.learner.transfer import acting_on
from agents.learner.types import Learner
from agents.training.acting import evaluation_policy
from agents.training.evaluate import Evaluation, Evaluator
from agents.training.prepare import Prepared
from envs import registry
from envs.spec import SpaceSpec, TaskSpec
from records import layout


class OldTasks:
    """The source's other tasks, which the run's newest networks play with the embeddings that the source left.

    A task is played whose own observations and actions are no wider than the run's; of others the networks have dropped
    a part. The episodes are as long and as many as the run's own.

    Args:
      prepared: the run, which evaluates old tasks.
      learner: the run's.
      settings: what the learner's functions take first.
      specs: the old tasks, at least one.
      embedding: `[T, D]`, the source's; None where the networks see no task.

    Attributes:
      specs: the old tasks.
    """

    def __init__(
        self,
        prepared: Prepared,
        learner: Learner[Any, Any, Any],
        settings: Any,
        specs: Sequence[TaskSpec],
        embedding: np.ndarray | None,
    ):
        self.specs, self._embedding = specs, embedding
        self._space = SpaceSpec.of(prepared.specs)
        self._learner, self._settings = learner, dataclasses.replace(settings, num_tasks=len(specs))
        self._evaluator = Evaluator(prepared.config, specs)

    def play(
        self,
        params: Any,
        key: jax.Array,
        env_steps: int,
        stop: Callable[[], bool],
        progress: Callable[[float], None],
    ) -> Evaluation | None:
        """Play all episodes; None where `stop` said so before they had ended.

        Args:
          params: what acting reads of the run's newest state.
          key: of the run's acting.
          env_steps: keys the episodes' seeds, as for `Evaluator.run`.
          stop: asked at every step.
          progress: told the finished fraction.
        """
        policy = evaluation_policy(self._learner, self._settings, acting_on(params, self._embedding), key, env_steps)

        def act(obs: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
            return narrowed(policy(widened(obs, self._space), task_ids), self.specs)

        return self._evaluator.run(act, env_steps, stop, progress)

    def check(self) -> None:
        """Raises WorkerDiedError if a worker is no more."""
        self._evaluator.check()

    def close(self) -> None:
        """End the environments."""
        self._evaluator.close()


def old_tasks(prepared: Prepared, learner: Learner[Any, Any, Any], settings: Any) -> OldTasks | None:
    """Return the tasks of the run's source that the run is to evaluate; None where it is to evaluate none.

    Args:
      prepared: the run.
      learner: the run's.
      settings: what the learner's functions take first.
    Raises:
      DamagedError: the source's checkpoint is gone or damaged.
    """
    transfer, config = prepared.transfer, prepared.config
    if transfer is None or config.init.old_tasks_every_steps is None:
        return None
    source = transfer.source
    others = [task for task in source.tasks if task not in config.benchmark.task_ids]
    known = registry.specs(others, source.config.env)
    specs = [spec for spec in known if fits(spec, SpaceSpec.of(prepared.specs))]
    if dropped := [spec.id for spec in known if spec not in specs]:
        print(f"too wide for these networks, so not evaluated: {', '.join(dropped)}", file=sys.stderr)
    if not specs:
        return None
    table = source.arrays().get(layout.TASK_EMBEDDING)
    embedding = None if table is None else table[[source.tasks.index(spec.id) for spec in specs]]
    return OldTasks(prepared, learner, settings, specs, embedding)


def fits(spec: TaskSpec, space: SpaceSpec) -> bool:
    """Say whether networks for a space see all of a task's observation and give all of its action."""
    if spec.action_kind == "discrete":
        return spec.action_dim == space.action_dim and spec.obs_shape == space.obs_shape
    return spec.obs_shape[0] <= space.obs_shape[0] and spec.action_dim <= space.action_dim


def widened(obs: np.ndarray, space: SpaceSpec) -> np.ndarray:
    """Return observations `[N, O]` padded with zeros to the width of a space; frames as they are."""
    if obs.ndim > 2:
        return obs
    return np.pad(obs, ((0, 0), (0, space.obs_shape[0] - obs.shape[1])))


def narrowed(actions: np.ndarray, specs: Sequence[TaskSpec]) -> np.ndarray:
    """Return the part of continuous actions `[N, A]` that tasks have; discrete ones as they are."""
    return actions[:, : SpaceSpec.of(specs).action_dim] if actions.ndim > 1 else actions
