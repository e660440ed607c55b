"""Plays episodes with a saved policy, and takes down what the policy sees and does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.learner import brc, imitation
from agents.replay.recorded import Trajectories
from agents.saved import SavedPolicy, as_learned
from envs.episodes import Schedule, play
from envs.seeding import episode_seed, seed_sequence
from envs.spec import SpaceSpec, TaskSpec
from envs.vector import Step, VectorEnv


class How(NamedTuple):
    """How episodes are played: by which seed (None: the policy's own), and whether actions are drawn."""

    seed: int | None
    noise: bool


def played(
    policy: SavedPolicy,
    specs: Sequence[TaskSpec],
    episodes: int,
    source: int,
    how: How,
    progress: Callable[[float], None],
) -> list[Trajectories]:
    """Play episodes of each task, and return the tasks' trajectories.

    Args:
      policy: who plays.
      specs: the tasks, all of the policy.
      episodes: of each task.
      source: the number by which the dataset knows the policy.
      how: by which seed, and whether with noise.
      progress: told the finished fraction.
    """
    config = policy.config
    schedule = Schedule(specs, episodes, min(config.eval.parallel_episodes, episodes))
    seed = config.seed if how.seed is None else how.seed

    def reset_seed(row: int, turn: int) -> int:
        number = schedule.number(row, turn)
        return episode_seed(seed, schedule.rows[row].id, "collect", policy.env_steps, number)

    rng = np.random.default_rng(seed_sequence(seed, specs[0].id, "collect", policy.env_steps)) if how.noise else None
    taker = Taker(policy, specs, schedule.task_ids, rng)
    backend = "inline" if config.env.backend == "inline" else "process"
    limits: Any = {"max_episode_steps": config.eval.max_episode_steps, "on_divergence": config.env.on_divergence}
    with closing(VectorEnv(schedule.rows, reset_seed, backend=backend, workers=config.env.workers, **limits)) as env:
        play(env, schedule, env.reset(), taker.act, progress=progress, seen=taker.seen)
    turns = [(number % schedule.parallel, number // schedule.parallel) for number in range(episodes)]
    return [
        taker.trajectories(spec, [(task * schedule.parallel + copy, turn) for copy, turn in turns], source)
        for task, spec in enumerate(specs)
    ]


class Taker:
    """Acts with a policy and takes down what it sees and does.

    Args:
      policy: who acts.
      specs: the tasks, all of the policy.
      task_ids: `[N]`, the number in `specs` of each row's task.
      rng: draws the actions from the policy; None: the best ones are taken.
    """

    COLUMNS = ("obs", "action", "mean", "log_std", "reward", "terminated", "truncated", "success", "next_obs")

    def __init__(
        self, policy: SavedPolicy, specs: Sequence[TaskSpec], task_ids: np.ndarray, rng: np.random.Generator | None
    ):
        self._policy, self._specs, self._task_ids, self._rng = policy, list(specs), task_ids, rng
        self._width = SpaceSpec.of(specs).action_dim
        distributions: dict[str, Any] = {"brc": brc.policy_distribution, "imitation": imitation.distribution}
        distribution = distributions[policy.config.agent.learner]
        self._distribution = jax.jit(lambda params, *seen: distribution(policy.settings, params, *seen))
        self._now: dict[str, np.ndarray] = {}
        self._rows: dict[tuple[int, int], list[tuple[Any, ...]]] = {}

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Return actions `[N, A]` for observations `[N, O]`."""
        inputs = as_learned(self._policy, self._specs, obs, self._task_ids)
        mean, log_std = (np.asarray(one)[:, : self._width] for one in self._distribution(self._policy.params, *inputs))
        noise = 0 if self._rng is None else self._rng.standard_normal(mean.shape, np.float32) * np.exp(log_std)
        action = np.tanh(mean + noise)
        if not np.isfinite(action).all():
            raise FloatingPointError(f"{self._policy.run_dir.name}: the policy's actions are not finite")
        self._now = {"obs": obs, "action": action, "mean": mean, "log_std": log_std}
        return action

    def seen(self, step: Step, active: np.ndarray, turn: np.ndarray) -> None:
        """Take down a step of the rows that are `active` `[N]`, each at an episode of its own, `turn` `[N]`."""
        columns = [self._now[name] if name in self._now else getattr(step, name) for name in self.COLUMNS]
        for row in np.flatnonzero(active).tolist():
            self._rows.setdefault((row, int(turn[row])), []).append(tuple(column[row] for column in columns))

    def trajectories(self, spec: TaskSpec, turns: Sequence[tuple[int, int]], source: int) -> Trajectories:
        """Return the episodes of a task that these rows played at these turns, in the task's own widths."""
        episodes = [self._rows[one] for one in turns]
        obs, action, mean, log_std, reward, terminated, truncated, success, following = (
            np.stack(values) for values in zip(*(step for episode in episodes for step in episode), strict=True)
        )
        lengths = np.asarray([len(episode) for episode in episodes])
        seen, done = spec.obs_shape[0], spec.action_dim
        return Trajectories(
            lengths=lengths,
            obs=obs[:, :seen],
            final_obs=following[np.cumsum(lengths) - 1, :seen],
            action=action[:, :done],
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            success=success,
            mean=mean[:, :done],
            log_std=log_std[:, :done],
            source=np.full(len(lengths), source),
        )
