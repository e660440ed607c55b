"""Plays evaluation episodes and returns their results; writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from conf.schema import RunConfig
from envs.seeding import episode_seed
from envs.spec import TaskSpec
from envs.vector import ResetSeed, VectorEnv
from envs.video import Recording

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(observations `[N, O]`, task ids `[N]`) -> actions `[N, A]`, deterministic."""


@dataclass(frozen=True)
class Evaluation:
    """Holds the results of one evaluation.

    Attributes:
      returns: `[T, episodes]`, undiscounted.
      successes: `[T, episodes]`, whether any step of the episode succeeded.
      diverged: `[T]`, episodes that ended because the simulation diverged.
      recordings: by task id, its episode 0 for filming.
    """

    returns: np.ndarray
    successes: np.ndarray
    diverged: np.ndarray
    recordings: dict[str, Recording]

    def scores(self, specs: Sequence[TaskSpec]) -> list[float | None]:
        """Return each task's mean raw score, normalised; None where the task has no constants."""
        metric = {"return": self.returns, "success": self.successes}
        return [spec.normalised(float(metric[spec.score_metric][task].mean())) for task, spec in enumerate(specs)]


class Evaluator:
    """Plays evaluation episodes in environments that it builds when they are first wanted, and keeps.

    Row `(task, k)` plays episodes `k, k + P, ...` of its task, with `P = eval.parallel_episodes` (or fewer), so
    exactly the episodes 0 to `eval.episodes - 1` are played, whichever ends first. An episode's seed depends on the
    run's seed, the task, the evaluation's environment steps and the episode's number.
    """

    def __init__(self, config: RunConfig, specs: Sequence[TaskSpec]):
        self._config = config
        self._specs = specs
        self._num_tasks = len(specs)
        self._episodes = config.eval.episodes
        self._parallel = min(config.eval.parallel_episodes, config.eval.episodes)
        rows = [(spec, copy) for spec in specs for copy in range(self._parallel)]
        self._rows = rows
        self._task_ids = np.repeat(np.arange(self._num_tasks, dtype=np.int32), self._parallel)
        self._quota = np.asarray([len(range(copy, self._episodes, self._parallel)) for _, copy in rows])
        self._film = config.eval.video
        self._env: VectorEnv | None = None

    def prepare(self) -> VectorEnv:
        """The environments, which worker processes begin to build while the caller goes on."""
        if self._env is None:
            self._env = VectorEnv(
                [spec for spec, _ in self._rows],
                self._reset_seeds(0),
                backend="inline" if self._config.env.backend == "inline" else "process",
                workers=self._config.env.workers,
                max_episode_steps=self._config.eval.max_episode_steps,
                on_divergence=self._config.env.on_divergence,
            )
        return self._env

    def _reset_seeds(self, env_steps: int) -> ResetSeed:
        """The seeds of the evaluation's episodes, by row and the row's turn."""

        def reset_seed(row: int, turn: int) -> int:
            spec, copy = self._rows[row]
            number = copy + turn * self._parallel
            return episode_seed(self._config.seed, spec.id, "eval", env_steps, number)

        return reset_seed

    def run(
        self,
        act: Act,
        env_steps: int,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Evaluation | None:
        """Play all episodes of the evaluation at `env_steps`; None where `stop` said so before they had ended.

        Args:
          act: the policy.
          env_steps: keys the episodes' seeds.
          stop: asked at every step.
          progress: told the finished fraction.
        """
        env, reset_seed = self.prepare(), self._reset_seeds(env_steps)
        obs = env.reset(reset_seed)
        rows = len(self._task_ids)
        returns = np.zeros((rows, self._quota.max()))
        successes = np.zeros((rows, self._quota.max()), bool)
        diverged = np.zeros(rows, int)
        index = np.arange(rows)
        taken: list[np.ndarray] = []  # of each task's first row
        lengths = np.zeros(self._num_tasks, int)  # of its first episode
        while (active := env.episode < self._quota).any():
            if stop():
                return None
            episode = np.minimum(env.episode, self._quota - 1)
            actions = act(obs, self._task_ids)
            env.start_step(actions, active)
            if self._film:
                lengths += env.episode[:: self._parallel] == 0
                taken.append(actions[:: self._parallel])
            step = env.wait_step()
            returns[index, episode] += np.where(active, step.reward, 0)
            successes[index, episode] |= active & step.success
            diverged += active & step.diverged
            obs = step.obs
            if (active & step.episode_over).any():
                progress(float(np.minimum(env.episode, self._quota).sum() / self._quota.sum()))
        played = np.arange(self._quota.max()) < self._quota[:, None]
        return Evaluation(
            self._by_episode(returns[played]),
            self._by_episode(successes[played]),
            diverged.reshape(self._num_tasks, self._parallel).sum(axis=1),
            {
                spec.id: Recording(reset_seed(task * self._parallel, 0), np.stack(taken)[: lengths[task], task])
                for task, spec in enumerate(self._specs)
                if self._film
            },
        )

    def _by_episode(self, values: np.ndarray) -> np.ndarray:
        """`[T, episodes]` in order of episode number, from values in order of (row, turn)."""
        numbers = np.concatenate([np.arange(copy, self._episodes, self._parallel) for copy in range(self._parallel)])
        return values.reshape(self._num_tasks, self._episodes)[:, np.argsort(numbers)]

    def check(self) -> None:
        """Raises WorkerDiedError if a worker is no more."""
        if self._env is not None:
            self._env.check()

    def close(self) -> None:
        """End the environments."""
        if self._env is not None:
            self._env.close()
