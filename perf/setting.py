"""What scripts that measure a learner have in common: its settings, a state, batches and transitions, all drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learner.api import learner_of
from agents.learner.types import Batch, Learner
from agents.replay.ring import Replay
from conf.compose import compose
from conf.schema import RunConfig
from envs import registry
from envs.spec import TaskSpec

EPISODE = 500
KERNEL_SCALE = 0.01


@dataclass(frozen=True)
class Setting:
    """A composed run, with its tasks and its learner."""

    config: RunConfig
    specs: list[TaskSpec]
    learner: Learner[Any, Any, Any]
    settings: Any

    @classmethod
    def of(cls, overrides: Sequence[str]) -> Setting:
        """Compose a run with continuous actions.

        Raises:
          ConfigError: the overrides do not fit the schema.
        """
        config = compose(list(overrides))
        specs = registry.specs(config.benchmark.task_ids, config.env)
        learner = learner_of(config)
        return cls(config, specs, learner, learner.settings(config, specs))

    def shapes(self) -> Any:
        """Return the state's form."""
        return jax.eval_shape(partial(self.learner.init, self.settings), jax.random.key(0))

    def state(self) -> Any:
        """Return a state with random kernels, each made by itself: orthogonal ones take minutes when they are wide."""
        keys = iter(jax.random.split(jax.random.key(0), 1000))

        def leaf(path: Any, shape: Any) -> jax.Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if name.endswith(("kernel", "embedding")) and "opt" not in name:
                return jax.block_until_ready(_kernel(next(keys), shape.shape))
            return (jnp.ones if name.endswith("scale") else jnp.zeros)(shape.shape, shape.dtype)

        return jax.tree_util.tree_map_with_path(leaf, self.shapes())

    def batches(self, updates: int | None = None) -> Batch:
        """Return random batches `[U, B, ...]`; for none, as many as a step of the run takes."""
        rng = np.random.default_rng(0)
        shape = (updates or self.config.agent.updates_per_step, self.config.batch_size)
        normal = lambda *tail: rng.standard_normal((*shape, *tail), np.float32)  # noqa: E731
        return Batch(
            obs=normal(self.settings.obs_dim),
            action=np.tanh(normal(self.settings.action_dim)),
            reward=normal(),
            next_obs=normal(self.settings.obs_dim),
            discount=np.full(shape, self.config.agent.discount, np.float32),
            task_ids=rng.integers(len(self.specs), size=shape).astype(np.int32),
        )

    def return_scale(self) -> np.ndarray:
        """Return magnitudes of returns `[T]`."""
        return np.full(len(self.specs), 100.0, np.float32)

    def full_replay(self) -> Replay:
        """Return a replay that is full of random transitions."""
        config = self.config
        replay = Replay(
            self.specs,
            config.train.replay_capacity,
            config.train.env_steps,
            discount=config.agent.discount,
            surplus_actions=config.agent.keeps_surplus_actions,
        )
        rng, tasks = np.random.default_rng(0), len(self.specs)
        widths = [spec.obs_shape[0] for spec in self.specs]
        actions = self.settings.action_dim * tasks
        if not config.agent.keeps_surplus_actions:
            actions = sum(spec.action_width for spec in self.specs)
        while replay.inserted < replay.capacity:
            rows = min(EPISODE, replay.capacity - replay.inserted)
            ends = rows if rows == EPISODE else 0
            segment = {
                "obs": rng.standard_normal((rows, sum(widths)), np.float32),
                "action": rng.standard_normal((rows, actions), np.float32),
                "reward": rng.standard_normal((rows, tasks), np.float32),
                "terminated": np.zeros((rows, tasks), bool),
                "truncated": np.zeros((rows, tasks), bool),
                "final_at": np.asarray([(ends - 1, task) for task in range(tasks if ends else 0)]).reshape(-1, 2),
                "final_obs": np.zeros(sum(widths) if ends else 0, np.float32),
            }
            replay.merge(segment, replay.inserted)
        return replay


@partial(jax.jit, static_argnames=("shape",))
def _kernel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return KERNEL_SCALE * jax.random.normal(key, shape)
