"""Measures, on transitions of its own, how the tasks of a run interfere; changes nothing of the run."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from agents.learner import interference
from agents.learner.types import Learner
from agents.replay.ring import Replay
from agents.training.metrics import Moment
from conf.schema import RunConfig
from records.interference import BY_TASK, Interference

STREAM = 2**32 - 2  # folded into the key for acting, as neither an env step nor evaluation is


def measured(
    config: RunConfig,
    learner: Learner[Any, Any, Any],
    settings: Any,
    state: Any,
    replay: Replay,
    return_scale: np.ndarray,
    key: jax.Array,
    env_steps: int,
) -> Interference:
    """Measure how the tasks' gradients of the critic lie to each other.

    Args:
      config: the run's configuration.
      learner: the run's.
      settings: what the learner's functions take first.
      state: the learner's, which stays as it is.
      replay: the transitions so far, of which some of each task are drawn.
      return_scale: `[T]`, magnitudes of raw returns.
      key: of the run's acting.
      env_steps: now; the draws are a function of this number and the run's seed.
    """
    assert learner.critic_problem is not None
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, STREAM, env_steps]))
    batches = replay.sample_by_task(rng, config.interference.transitions)
    key = jax.random.fold_in(jax.random.fold_in(key, STREAM), env_steps)
    found = jax.device_get(
        interference.measure(
            settings, learner.critic_problem, state, batches, return_scale, key, config.interference.projection
        )
    )
    moment = Moment.of(config, env_steps)
    by_task = (np.asarray(getattr(found, name)) for name in BY_TASK)
    return Interference(env_steps, moment.update_steps, config.benchmark.task_ids, np.asarray(found.cosine), *by_task)
