"""Plays evaluation episodes and returns their results; writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from conf.schema import RunConfig
from envs.episodes import Schedule, play
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
      lengths: `[T, episodes]`, steps.
      diverged: `[T]`, episodes that ended because the simulation diverged.
      recordings: by task id, its episode 0 for filming.
    """

    returns: np.ndarray
    successes: np.ndarray
    lengths: np.ndarray
    diverged: np.ndarray
    recordings: dict[str, Recording]

    def scores(self, specs: Sequence[TaskSpec]) -> list[float | None]:
        """Return each task's mean raw score, normalised; None where the task has no constants."""
        metric = {"return": self.returns, "success": self.successes}
        return [spec.normalised(float(metric[spec.score_metric][task].mean())) for task, spec in enumerate(specs)]


class Evaluator:
    """Plays evaluation episodes in environments that it builds when they are first wanted, and keeps.

    Exactly the episodes 0 to `eval.episodes - 1` of each task are played, by `eval.parallel_episodes` rows (or fewer).
    An episode's seed depends on the run's seed, the task, the evaluation's environment steps and the episode's number.
    """

    def __init__(self, config: RunConfig, specs: Sequence[TaskSpec]):
        self._config = config
        parallel = min(config.eval.parallel_episodes, config.eval.episodes)
        self._schedule = Schedule(specs, config.eval.episodes, parallel)
        self._env: VectorEnv | None = None

    def prepare(self) -> VectorEnv:
        """The environments, which worker processes begin to build while the caller goes on."""
        if self._env is None:
            self._env = VectorEnv(
                self._schedule.rows,
                self._reset_seeds(0),
                backend="inline" if self._config.env.backend == "inline" else "process",
                workers=self._config.env.workers,
                max_episode_steps=self._config.eval.max_episode_steps,
                on_divergence=self._config.env.on_divergence,
            )
        return self._env

    def _reset_seeds(self, env_steps: int) -> ResetSeed:
        """The seeds of the evaluation's episodes, by row and the row's turn."""
        schedule = self._schedule
        rows = schedule.rows

        def reset_seed(row: int, turn: int) -> int:
            return episode_seed(self._config.seed, rows[row].id, "eval", env_steps, schedule.number(row, turn))

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
        env, schedule, reset_seed = self.prepare(), self._schedule, self._reset_seeds(env_steps)
        task_ids, film = schedule.task_ids, self._config.eval.video
        taken: list[np.ndarray] = []  # actions of each task's first row
        lengths = np.zeros(len(schedule.specs), int)  # of its first episode

        def recorded(obs: np.ndarray) -> np.ndarray:
            nonlocal lengths
            actions = act(obs, task_ids)
            if film:
                lengths = lengths + (env.episode[:: schedule.parallel] == 0)
                taken.append(actions[:: schedule.parallel])
            return actions

        played = play(env, schedule, env.reset(reset_seed), recorded, stop, progress)
        if played is None:
            return None
        recordings = {
            spec.id: Recording(reset_seed(task * schedule.parallel, 0), np.stack(taken)[: lengths[task], task])
            for task, spec in enumerate(schedule.specs)
            if film
        }
        return Evaluation(played.returns, played.successes, played.lengths, played.diverged.sum(axis=1), recordings)

    def check(self) -> None:
        """Raises WorkerDiedError if a worker is no more."""
        if self._env is not None:
            self._env.check()

    def close(self) -> None:
        """End the environments."""
        if self._env is not None:
            self._env.close()
