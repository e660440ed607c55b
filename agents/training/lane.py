"""Holds one run while it trains: everything that lives on the host, and the learner's state.

A loop steps one lane or several; the word is from a swimming pool, where each keeps to its own.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import numpy as np

from agents.learner.types import Array, Batch, Demonstrations, Metrics
from agents.replay.recorded import Recorded
from agents.replay.ring import Replay
from agents.training import metrics
from agents.training.acting import acting_key, evaluation_policy
from agents.training.checkpoint import CheckpointStore, write_arrays
from agents.training.clock import Clock
from agents.training.evaluate import Evaluator
from agents.training.interference import measured
from agents.training.metrics import Moment, ScoredEvaluation
from agents.training.old_tasks import OldTasks
from agents.training.prepare import Prepared
from agents.training.progress import Progress
from agents.training.reward_scale import ReturnBounds
from agents.training.saving import Saving
from agents.training.state import (
    EpisodesState,
    RunState,
    generator,
    generator_state,
    to_arrays,
)
from agents.training.team import Lesson, Team
from envs.divergence import DivergenceWarnings
from envs.random_actions import random_actions
from envs.vector import NoEnvironments, Step, VectorEnv
from envs.video import Filmer
from records import layout
from records.interference import write_interference
from records.layout import RunOutcome
from records.rows import Row
from records.run_record import RunRecord

WATCH_S = 1.0  # between looks at the environments' workers and the run's directory

Ending = Literal[RunOutcome.DONE, RunOutcome.INTERRUPTED]


class Update(NamedTuple):
    """One call of the learner's update: what went in, and the metrics that came out."""

    batch: Batch | Demonstrations
    return_scale: np.ndarray
    metrics: Metrics


class Lane:
    """Holds one run: environments, replay, magnitudes of returns, generators, record, stop flag and clock.

    `agents.training.opening.open_lane` makes a lane. For every step, the loop calls `act`, `sample`, `start`, `learnt`
    and `take`, in this order.

    Args:
      prepared: the run.
      team: what the run learns in, alone or beside other seeds.
      state: where the run stands.
      replay: the transitions up to there, or a dataset.
      evaluated: the newest evaluation up to there, None before the first.
      clock: the time that went into getting there.
      env: the environments that training steps, if any; the lane brings them to where the run stands.
      evaluator: plays evaluation episodes.
      record: the run's directory, opened for writing.
      store: the run's checkpoints.
      stop: says whether the run is to stop; asked where it is safe to stop.
      filmer: takes recorded evaluation episodes; None where none are filmed.
      old_tasks: the tasks of the run's source that are evaluated too; None where none are.

    Attributes:
      prepared: the run.
      team: what the run learns in.
      seat: the run's place there, which holds the learner's state.
      record: the run's directory.
      env_steps: environment steps of every task so far.
      obs: `[T, O]`, the observations to act on next.
      evaluated: the newest evaluation, None before the first.
      outcome: how the run ended, None while it goes on.
    """

    def __init__(
        self,
        prepared: Prepared,
        team: Team,
        state: RunState,
        *,
        replay: Replay | Recorded,
        evaluated: ScoredEvaluation | None,
        clock: Clock,
        env: VectorEnv | NoEnvironments,
        evaluator: Evaluator,
        record: RunRecord,
        store: CheckpointStore,
        stop: Callable[[], bool],
        filmer: Filmer | None,
        old_tasks: OldTasks | None = None,
    ):
        config, specs = prepared.config, prepared.specs
        self.prepared, self.record = prepared, record
        self._store, self._stop, self._filmer = store, stop, filmer
        self._env, self._evaluator, self._old_tasks, self._replay = env, evaluator, old_tasks, replay
        self._learner, self._settings, self.team = team.learner, team.settings, team
        self._act_key = acting_key(config.seed)
        self._task_ids = np.arange(len(specs), dtype=np.int32)
        self.outcome: Ending | None = None
        self.evaluated = evaluated
        self._newest_update: Update | None = None
        self._clock = clock
        self._saving = Saving()
        self._checkpointed = self._watched = time.monotonic()
        self._drafted: int | None = None  # env steps of the newest checkpoint that this process has begun to write

        self.env_steps = int(state.env_steps)
        self.seat = team.join(jax.tree.map(jax.device_put, state.learner))
        self._bounds = ReturnBounds(len(specs), config.agent.discount)
        self._bounds.load(state.bounds)
        self._totals = state.totals
        self._divergences = state.divergences
        self._divergence_warnings = DivergenceWarnings([spec.id for spec in specs])
        self._sample_rng = generator(state.sample_rng)
        self._action_rngs = [generator(words) for words in state.action_rngs]
        self.obs = env.restore(state.episodes.split())
        replay.start(self.obs)
        clock.begin()

    def close(self) -> None:
        """Await the checkpoint that is being written, end the environments and close the record."""
        self._saving.close()
        self._env.close()
        self._evaluator.close()
        if self._old_tasks is not None:
            self._old_tasks.close()
        self.record.close()

    # Between two steps

    def pause(self, progress: Progress) -> Ending | None:
        """Evaluate and checkpoint where that is due; return how the run ended, or None where it goes on.

        Raises:
          EnvError: an environment raised or its process died.
          RunDirGoneError: somebody took the run's directory away.
          LostLockError: another process writes the run's directory now.
          OSError: something cannot be written, or the checkpoint could not that was begun earlier.
          DamagedError: a checkpoint does not read back as it was written.
        """
        if self.outcome is None:
            self._watch()
            self._clock.lap("rest")
            self._settle(wait=False)
            self._clock.lap("checkpoint")
            self.outcome = self._pause(progress)
            if self.outcome is not None:
                self._settle()
                self._clock.lap("checkpoint")
        return self.outcome

    def _pause(self, progress: Progress) -> Ending | None:
        config = self.prepared.config
        if time.monotonic() - self._checkpointed > 60 * config.checkpoint.every_min:
            self.checkpoint()
        if self._interference_due():
            self._measure_interference()
        if self._evaluation_due():
            evaluated = self.evaluate(progress)
            old = None if evaluated is None else self._old_rows(progress)
            if evaluated is None or old is None:
                self.checkpoint()
                return RunOutcome.INTERRUPTED
            self.evaluated = evaluated
            self.record.metrics.append([*evaluated.rows, *old])
            self._clock.lap("record")
            self.record.timing.append(metrics.seconds_rows(self._now(), self._clock))
            self._clock.lap("record")
            self.checkpoint()
        if config.keeps(self.env_steps) and self._drafted != self.env_steps:
            self.checkpoint()
        if self.env_steps >= config.train.env_steps:
            return self._finish(progress)
        if self._told_to_stop():
            self.checkpoint()
            return RunOutcome.INTERRUPTED
        return None

    def _interference_due(self) -> bool:
        every = self.prepared.config.interference.every_steps
        updating = self.env_steps > self.prepared.config.train.random_steps
        return every is not None and self.env_steps % every == 0 and updating

    def _measure_interference(self) -> None:
        """Write how the tasks' gradients lie to each other now."""
        self._clock.lap("rest")
        assert isinstance(self._replay, Replay)  # as an agent that learns from a dataset is refused the measurement
        found = measured(
            self.prepared.config,
            self._learner,
            self._settings,
            self.seat.state,
            self._replay,
            self._bounds.return_scale,
            self._act_key,
            self.env_steps,
        )
        write_interference(self.prepared.run_dir, found)
        self._clock.lap("diagnostics")

    def _evaluation_due(self) -> bool:
        on_grid = self.env_steps % self.prepared.config.eval.every_steps == 0
        return on_grid and not self._evaluated_now()

    def _evaluated_now(self) -> bool:
        return self.evaluated is not None and self.evaluated.env_steps == self.env_steps

    def _finish(self, progress: Progress) -> Ending:
        if not self._evaluated_now():
            # Off the grid: the score of this budget, in DONE only, so that a longer run's records stay comparable.
            self.checkpoint()
            self.evaluated = self.evaluate(progress)
        if self.evaluated is None:
            return RunOutcome.INTERRUPTED
        self._settle()
        self.record.done(self.env_steps, self.evaluated.score, self.evaluated.rows, self.divergences)
        return RunOutcome.DONE

    def _settle(self, wait: bool = True) -> None:
        """Take note of the checkpoint that has been written; with `wait`, of the one that still is, when it is written.

        Raises:
          RunDirGoneError: the checkpoint could not be written because somebody took the run's directory away.
          OSError: it could not be written for another reason.
          DamagedError: it does not read back as it was written.
        """
        try:
            if wait:
                self._saving.wait()
            else:
                self._saving.look()
        except OSError:
            self.record.check_in_place()
            raise

    def _told_to_stop(self) -> bool:
        self._watch()
        return self._stop()

    def _watch(self) -> None:
        """Look after the workers, those of evaluation too, and the run's directory and lock, once a second."""
        if time.monotonic() - self._watched > WATCH_S:
            self._watched = time.monotonic()
            self._env.check()
            self._evaluator.check()
            if self._old_tasks is not None:
                self._old_tasks.check()
            self.record.check_in_place()

    def evaluate(self, progress: Progress) -> ScoredEvaluation | None:
        """Evaluate the newest parameters; return None where the run was told to stop meanwhile."""
        policy = evaluation_policy(self._learner, self._settings, self.seat.acting, self._act_key, self._episodes_of)

        def act(obs: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
            return self._finite(policy(obs, task_ids))

        self._clock.lap("rest")
        with progress.evaluating() as tell:
            evaluation = self._evaluator.run(act, self._episodes_of, self._told_to_stop, tell)
        self._clock.lap("evaluation")
        if evaluation is None:
            return None
        played = np.full(len(self.prepared.specs), self.prepared.config.eval.episodes)
        self._warn("evaluation", evaluation.diverged, played)
        if self._filmer is not None:
            self._filmer.record(self.env_steps, evaluation.recordings)
        scored = metrics.score_evaluation(self._now(), self.prepared.specs, evaluation)
        progress.score(scored.score)
        return scored

    def _old_rows(self, progress: Progress) -> list[Row] | None:
        """Evaluate the source's other tasks where that is due; return None where the run was told to stop meanwhile."""
        every = self.prepared.config.init.old_tasks_every_steps
        if self._old_tasks is None or every is None or self.env_steps % every != 0:
            return []
        self._clock.lap("rest")
        with progress.evaluating() as tell:
            played = self._old_tasks.play(self.seat.acting, self._act_key, self._episodes_of, self._told_to_stop, tell)
        self._clock.lap("evaluation")
        return None if played is None else metrics.old_rows(self._now(), self._old_tasks.specs, played)

    @property
    def _episodes_of(self) -> int:
        """The environment steps that key an evaluation's episodes.

        A run that begins with another's networks first plays the episodes that its source played at that checkpoint, so
        that a task which both runs have shows the source's own result.
        """
        source = self.prepared.config.source
        return source.env_steps or 0 if self.env_steps == 0 and source.kind == "transfer" else self.env_steps

    @property
    def time_shares(self) -> str:
        """How long the loop has taken since the run began, and what for, in words."""
        return self._clock.shares()

    @property
    def updating(self) -> bool:
        """Whether updates have begun in this process, so that all that a step needs is compiled."""
        return self._newest_update is not None or self.prepared.config.agent.updates_per_step == 0

    # One step

    def act(self) -> Array | None:
        """Choose actions `[T, A]`, at first random ones, then the policy's, which the device may still compute.

        None where the run learns from a dataset and steps no environments.
        """
        self._clock.lap("rest")
        if self.prepared.config.agent.offline:
            return None
        if self.env_steps < self.prepared.config.random_steps:
            actions = random_actions(self.prepared.specs, self._action_rngs)
        else:
            now = np.int32(self.env_steps)
            actions = self._learner.act(
                self._settings, self.seat.acting, self.obs, self._task_ids, self._act_key, now, deterministic=False
            )
        self._clock.lap("act")
        return actions

    def sample(self) -> Lesson | None:
        """Draw batches `[U, B]` of the transitions up to the previous step; None while no updates are due."""
        config = self.prepared.config
        if self.env_steps < config.random_steps or config.agent.updates_per_step == 0:
            return None
        batch = self._replay.sample(self._sample_rng, config.agent.updates_per_step, config.batch_size)
        self._clock.lap("sample")
        return Lesson(batch, self._bounds.return_scale)

    def start(self, pending: Array | None) -> np.ndarray | None:
        """Await the actions, have the environments begin their step, and return the actions `[T, A]` on the host."""
        if pending is None:
            return None
        self._await_update()
        actions = self._finite(pending)
        self._clock.lap("act")
        self._env.start_step(actions)
        self._clock.lap("env_wait")
        return actions

    def learnt(self, lesson: Lesson) -> None:
        """Take note that the run's seat has had a lesson, whose updates the device may still compute."""
        self._newest_update = Update(*lesson, self.seat.metrics)
        self._clock.lap("update")

    def take(self, actions: np.ndarray | None) -> None:
        """Await the environments' step with `actions` `[T, A]`, keep its transitions and write its rows."""
        config, specs = self.prepared.config, self.prepared.specs
        step = None if actions is None else self._stepped(actions)
        self.env_steps += 1
        self._clock.lap("insert")
        rows = [] if step is None else self._rows_of(step)
        log = self.env_steps % config.train.log_every_steps == 0
        if log:
            self._await_update()
            scaled = [] if step is None else specs
            rows += metrics.learner_rows(self._now(), scaled, self._learner_values(), self._bounds.return_scale)
        if rows:
            self.record.metrics.append(rows)
        self._clock.lap("record")
        if log:
            rates = metrics.rate_rows(self._now(), self._clock, config.agent.updates_per_step)
            # An evaluation that comes now writes the seconds itself, with its own.
            seconds = [] if self._evaluation_due() else metrics.seconds_rows(self._now(), self._clock)
            self.record.timing.append(rates + seconds)
            self._clock.lap("record")

    def _stepped(self, actions: np.ndarray) -> Step:
        """The environments' step with `actions`, whose transitions are kept."""
        busy_s = self._env.busy_s
        step = self._env.wait_step()
        self._watch()  # before rows are written: the process may have stood still, and another have the lock
        self._clock.environment_s += self._env.busy_s - busy_s
        self._clock.lap("env_wait")
        clip = self.prepared.config.agent.clip_rewards
        learnt = step._replace(reward=np.sign(step.reward)) if clip else step
        self._replay.insert(actions, learnt)
        self._clock.lap("insert")
        cut_value = self._cut_value(step)
        self._clock.lap("update")
        self._bounds.insert(learnt, cut_value)
        self.obs = step.obs
        return step

    def _rows_of(self, step: Step) -> list[Row]:
        """The rows of the episodes that a step has ended, and of those that diverged."""
        specs = self.prepared.specs
        self._totals, ended = self._totals.after(step)
        rows = metrics.episode_rows(self._now(), specs, ended)
        if step.diverged.any():
            self._divergences = self._divergences + step.diverged
            rows += metrics.divergence_rows(self._now(), specs, step.diverged)
            self._warn("training", self._divergences, self._env.episode)
        return rows

    def _cut_value(self, step: Step) -> np.ndarray | None:
        """What the critic expects after an episode that was cut, `[T]`; None where it is not asked, or not trained yet.

        Awaits the device, so asked only where an episode was cut.
        """
        config = self.prepared.config
        trained = self.env_steps >= config.random_steps and config.agent.updates_per_step > 0
        if not (config.agent.bootstraps_returns and trained and step.truncated.any()):
            return None
        scale = self._bounds.return_scale
        assert self._learner.value is not None
        value = self._learner.value(self._settings, self.seat.state, step.next_obs, self._task_ids, scale)
        return np.asarray(value)

    def _await_update(self) -> None:
        """Wait for the newest update, before something that needs what the update has computed."""
        if self._newest_update is not None:
            jax.block_until_ready(self._newest_update.metrics)
            self._clock.lap("update")

    def _warn(self, where: str, diverged: np.ndarray, episodes: np.ndarray) -> None:
        for line in self._divergence_warnings.lines(where, diverged, episodes):
            print(line, file=sys.stderr)

    @property
    def divergences(self) -> dict[str, int]:
        """By task id, the training episodes that ended because the simulation diverged, where there are any."""
        specs = self.prepared.specs
        return {specs[task].id: int(self._divergences[task]) for task in np.flatnonzero(self._divergences)}

    def _now(self) -> Moment:
        return Moment.of(self.prepared.config, self.env_steps)

    def _finite(self, pending: Array) -> np.ndarray:
        """The actions, awaited; FloatingPointError where they, or values behind them, are not finite."""
        actions = np.asarray(pending)
        sound = actions >= 0 if self._env.space.action_kind == "discrete" else np.isfinite(actions)
        if not sound.all():
            raise self._not_finite("the policy's actions")
        return actions

    def _learner_values(self) -> dict[str, float]:
        """The newest update's metrics, awaited; FloatingPointError where one is not finite."""
        pending = {} if self._newest_update is None else self._newest_update.metrics
        values = {name: float(value) for name, value in jax.device_get(pending).items()}
        if bad := [name for name, value in values.items() if not np.isfinite(value)]:
            raise self._not_finite(", ".join(bad))
        return values

    def _not_finite(self, what: str) -> FloatingPointError:
        """The error to raise; keeps the batch of the newest update, which is the first that actions can show."""
        if self._newest_update is not None:
            batch, return_scale, _ = self._newest_update
            arrays = {name: np.asarray(values) for name, values in batch._asdict().items()}
            with contextlib.suppress(OSError):  # what is not finite is the news, and not a full disk
                write_arrays(self.prepared.run_dir / layout.BATCH, arrays | {"return_scale": return_scale})
        return FloatingPointError(f"not finite at {self.env_steps:,} steps: {what}")

    # Checkpoints

    def state(self) -> RunState:
        """Return everything that the run needs to continue exactly from here, but for replay."""
        return RunState(
            env_steps=np.asarray(self.env_steps, np.int64),
            learner=self.seat.state,
            bounds=self._bounds.state(),
            totals=self._totals,
            divergences=self._divergences,
            episodes=EpisodesState.of(self._env.snapshot()),
            obs=self.obs,
            sample_rng=generator_state(self._sample_rng),
            action_rngs=np.stack([generator_state(rng) for rng in self._action_rngs]),
        )

    def checkpoint(self) -> None:
        """Begin to write everything that the run needs to continue exactly from here; the loop goes on meanwhile.

        Waits for the checkpoint before, if that is still being written.
        """
        self._clock.lap("rest")
        self._settle()
        self.record.check_in_place()
        covered, space = self.record.coverage(), self._env.space
        meta = {
            "covered": covered._asdict(),
            "evaluated": None if self.evaluated is None else self.evaluated.to_json(),
            "clock": self._clock.to_json(),
            "tasks": [spec.id for spec in self.prepared.specs],
            "obs_shape": space.obs_shape,
            "action_dim": space.action_dim,
        }
        state = self.state()
        arrays = to_arrays(state)
        embedding = self._learner.task_embedding(state.learner)
        if embedding is not None:
            arrays[layout.TASK_EMBEDDING] = np.asarray(embedding)
        kept = self.prepared.config.keeps(self.env_steps)
        draft = self._store.draft(self.env_steps, meta, arrays, self._replay, kept)
        positions = {"metrics": covered.metrics, "timing": covered.timing}
        self._saving.begin(partial(self._store.write, draft), partial(self.record.durable, positions))
        self._drafted = self.env_steps
        self._clock.lap("checkpoint")
        self._checkpointed = time.monotonic()
