"""The training loop: act, step, update, insert, evaluate, checkpoint.

Its order overlaps environments and learner and is always the same, so no number changes with the machine's speed:
act with the newest parameters -> start the step -> U updates on data up to the previous step -> await the step.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from agents.learner.api import learner_of, settings_from
from agents.learner.types import Batch
from agents.replay.ring import Replay
from agents.training.checkpoint import Checkpoint, CheckpointStore, write_arrays
from agents.training.evaluate import Evaluation, Evaluator, StopRequestedError
from agents.training.progress import Progress
from agents.training.reward_scale import ReturnBounds
from conf.schema import RunConfig
from envs.envpool import for_training
from envs.seeding import episode_seed, seed_sequence
from envs.spec import TaskSpec
from envs.vector import Episodes, Step, VectorEnv
from envs.video import Filmer
from records import metrics as names
from records.layout import BATCH, RunOutcome
from records.rows import Row
from records.run_dir import RunRecord

EVAL_STREAM = 2**32 - 1  # folded into the key for acting, as no env step is
WATCH_S = 1.0  # between looks at the environments' workers
PHASES = ("act", "sample", "dispatch", "env_wait", "insert", "evaluation", "checkpoint")


@dataclass
class EpisodeTotals:
    """Return and success so far of each task's running training episode."""

    return_: np.ndarray
    success: np.ndarray

    def insert(self, step: Step) -> list[tuple[int, float, bool]]:
        """Add a step; (task, return, success) of every episode that it ended."""
        self.return_ += step.reward
        self.success |= step.success
        ended = [
            (int(task), float(self.return_[task]), bool(self.success[task]))
            for task in np.flatnonzero(step.episode_over)
        ]
        self.return_[step.episode_over] = 0
        self.success[step.episode_over] = False
        return ended


@dataclass
class Clock:
    """Seconds by phase, continued over restarts."""

    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    _mark: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Book the time since the last call."""
        now = time.perf_counter()
        self.phases[phase] += now - self._mark
        self._mark = now

    @property
    def total_s(self) -> float:
        return sum(self.phases.values())


class Training:
    """One run's state and its loop. Everything that a checkpoint must hold is an attribute here."""

    def __init__(
        self,
        config: RunConfig,
        specs: Sequence[TaskSpec],
        record: RunRecord,
        store: CheckpointStore,
        filmer: Filmer | None = None,
    ):
        self.config, self.specs, self.record, self.store = config, list(specs), record, store
        self.filmer = filmer
        self.learner, self.settings = learner_of(config), settings_from(config, specs)
        self.env_steps = 0
        self.evaluated_at = -1
        self.last_evaluation: list[Row] = []
        self.score: float | None = None
        num_tasks, train = len(specs), config.train
        self.task_ids = np.arange(num_tasks, dtype=np.int32)
        self.env = VectorEnv(
            for_training(specs, config.env.backend),
            lambda row, episode: episode_seed(config.seed, specs[row].id, "train", episode),
            backend="inline" if config.env.backend == "inline" else "process",
            workers=config.env.workers,
        )
        self.evaluator = Evaluator(config, specs)
        self.replay = Replay(
            num_tasks,
            self.env.space,
            train.replay_capacity,
            train.env_steps,
            discount=config.agent.discount,
            n_step=config.agent.n_step,
        )
        self.bounds = ReturnBounds(num_tasks, config.agent.discount)
        self.totals = EpisodeTotals(np.zeros(num_tasks), np.zeros(num_tasks, bool))
        self.sample_rng = np.random.default_rng(np.random.SeedSequence([config.seed, 0]))
        self.action_rngs = [
            np.random.default_rng(seed_sequence(config.seed, spec.id, "random_actions")) for spec in specs
        ]
        key = jax.random.key(config.seed)
        self.act_key, learner_key = jax.random.split(key)
        self.eval_key = jax.random.fold_in(self.act_key, EVAL_STREAM)
        self.state = self.learner.init(self.settings, learner_key)
        self.clock = Clock()
        self._obs = np.zeros((num_tasks, *self.env.space.obs_shape), self.env.space.obs_dtype)
        self._last_logged = (0, 0.0)
        self._last_batch: tuple[Batch, np.ndarray] | None = None

    def close(self) -> None:
        self.env.close()
        self.evaluator.close()

    def run(self, stop: Callable[[], bool], progress: Progress) -> Literal[RunOutcome.DONE, RunOutcome.INTERRUPTED]:
        """Train to the budget, or until `stop` says so; a checkpoint is complete in both cases.

        Raises:
          EnvError: an environment raised or its process died.
        """
        config, stop = self.config, self._watching(stop)
        if self.env_steps == 0:
            self._obs = self.env.reset()
            self.replay.start(self._obs)
        checkpointed = time.monotonic()
        while True:
            try:
                if self.env_steps % config.eval.every_steps == 0 and self.evaluated_at != self.env_steps:
                    rows = self.evaluate(stop, progress)
                    self.record.metrics.append(rows)
                    self.checkpoint()
                    checkpointed = time.monotonic()
                if self.env_steps >= config.train.env_steps:
                    break
                if stop():
                    raise StopRequestedError
            except StopRequestedError:
                self.checkpoint()
                return RunOutcome.INTERRUPTED
            self.step()
            if self.env_steps % config.train.log_every_steps == 0:
                self.log_timing()
            if time.monotonic() - checkpointed > 60 * config.checkpoint.every_min:
                self.checkpoint()
                checkpointed = time.monotonic()
            progress.step(self.env_steps)
        if self.evaluated_at != self.env_steps:
            # Off the grid: the score of this budget, in DONE only, so that a longer run's records stay comparable.
            self.checkpoint()
            try:
                self.evaluate(stop, progress)
            except StopRequestedError:
                return RunOutcome.INTERRUPTED
        self.record.done(self.env_steps, self.score, self.last_evaluation)
        return RunOutcome.DONE

    def _watching(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """`stop`, which once a second looks after the workers, those of evaluation too, and the run's directory."""
        looked = time.monotonic()

        def watch() -> bool:
            nonlocal looked
            if time.monotonic() - looked > WATCH_S:
                looked = time.monotonic()
                self.env.check()
                self.evaluator.check()
                self.record.check_in_place()
            return stop()

        return watch

    def step(self) -> None:
        """One environment step of every task, and the updates that go with it."""
        updating = self.env_steps >= self.config.train.random_steps and self.config.agent.updates_per_step > 0
        metrics: dict[str, Any] = {}
        if self.env_steps < self.config.train.random_steps:
            actions = self._random_actions()
            batch = self._sample() if updating else None
        else:
            pending = self._act()  # computed while the host samples
            batch = self._sample() if updating else None
            actions = self._finite(pending)
            self.clock.lap("act")
        self.env.start_step(actions)
        if batch is not None:
            self._last_batch = batch, self.bounds.return_scale
            self.state, metrics = self.learner.update(self.settings, self.state, *self._last_batch)
            self.clock.lap("dispatch")
        step = self.env.wait_step()
        self.clock.lap("env_wait")
        learnt = step._replace(reward=np.sign(step.reward)) if self.config.agent.clip_rewards else step
        self.replay.insert(actions, learnt)
        self.bounds.insert(learnt)
        self._obs = step.obs
        ended = self.totals.insert(step)
        self.env_steps += 1
        rows = [self._row(names.TRAIN_RETURN, return_, task) for task, return_, _ in ended]
        rows += [self._row(names.TRAIN_SUCCESS, float(success), task) for task, _, success in ended]
        if self.env_steps % self.config.train.log_every_steps == 0:
            rows += self._learner_rows(metrics)
        if rows:
            self.record.metrics.append(rows)
        self.clock.lap("insert")

    def _act(self) -> jax.Array:
        policy, now = self.learner.policy(self.state), np.int32(self.env_steps)
        return self.learner.act(self.settings, policy, self._obs, self.task_ids, self.act_key, now, deterministic=False)

    def _finite(self, pending: jax.Array) -> np.ndarray:
        """The policy's actions, awaited; FloatingPointError where they, or values behind them, are not finite."""
        actions = np.asarray(pending)
        sound = actions >= 0 if self.env.space.action_kind == "discrete" else np.isfinite(actions)
        if not sound.all():
            raise self._not_finite("the policy's actions")
        return actions

    def _random_actions(self) -> np.ndarray:
        space = self.env.space
        actions = np.zeros((len(self.specs), *space.action_shape), space.action_dtype)
        for task, (spec, rng) in enumerate(zip(self.specs, self.action_rngs, strict=True)):
            if spec.action_kind == "continuous":
                actions[task, : spec.action_dim] = rng.uniform(-1, 1, spec.action_dim)
            else:
                actions[task] = rng.integers(spec.action_dim)
        self.clock.lap("act")
        return actions

    def _sample(self):
        batch = self.replay.sample(self.sample_rng, self.config.agent.updates_per_step, self.config.batch_size)
        self.clock.lap("sample")
        return batch

    def evaluate(self, stop: Callable[[], bool], progress: Progress) -> list[Row]:
        """Evaluate now; the rows, which are also kept as `last_evaluation`."""
        policy = self.learner.policy(self.state)
        key, steps = jax.random.fold_in(self.eval_key, self.env_steps), itertools.count()

        def act(obs: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
            step = np.int32(next(steps))
            return self._finite(self.learner.act(self.settings, policy, obs, task_ids, key, step, deterministic=True))

        self.clock.lap("insert")
        with progress.evaluating() as tell:
            evaluation = self.evaluator.run(act, self.env_steps, stop, tell)
        if self.filmer is not None:
            self.filmer.record(self.env_steps, evaluation.recordings)
        self.clock.lap("evaluation")
        self.last_evaluation, self.score = self._evaluation_rows(evaluation)
        self.evaluated_at = self.env_steps
        progress.score(self.score)
        return self.last_evaluation

    def _evaluation_rows(self, evaluation: Evaluation) -> tuple[list[Row], float | None]:
        scores = evaluation.scores(self.specs)
        rows = []
        for task, score in enumerate(scores):
            rows.append(self._row(names.EVAL_RETURN, float(evaluation.returns[task].mean()), task))
            rows.append(self._row(names.EVAL_SUCCESS, float(evaluation.successes[task].mean()), task))
            if score is not None:
                rows.append(self._row(names.EVAL_SCORE, score, task))
        known = [score for score in scores if score is not None]
        mean = float(np.mean(known)) if known else None
        if mean is not None:
            rows.append(self._row(names.EVAL_SCORE, mean))
        return rows, mean

    def _learner_rows(self, metrics: dict[str, Any]) -> list[Row]:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if bad := [name for name, value in values.items() if not np.isfinite(value)]:
            raise self._not_finite(", ".join(bad))
        rows = [self._row(name, value) for name, value in values.items()]
        scale = self.bounds.return_scale
        return rows + [self._row(names.RETURN_SCALE, float(scale[task]), task) for task in range(len(self.specs))]

    def _not_finite(self, what: str) -> FloatingPointError:
        """The error to raise; keeps the batch of the last update, which is the first that actions can show."""
        if self._last_batch is not None:
            batch, return_scale = self._last_batch
            arrays = {name: np.asarray(values) for name, values in batch._asdict().items()}
            with contextlib.suppress(OSError):  # what is not finite is the news, and not a full disk
                write_arrays(self.record.run_dir / BATCH, arrays | {"return_scale": return_scale})
        return FloatingPointError(f"not finite at {self.env_steps:,} steps: {what}")

    def _row(self, name: str, value: float, task: int | None = None) -> Row:
        updates = max(0, self.env_steps - self.config.train.random_steps) * self.config.agent.updates_per_step
        return Row(self.env_steps, updates, name, None if task is None else self.specs[task].id, value)

    def log_timing(self) -> None:
        """Rates since the last call, and seconds by phase since the run began."""
        steps, seconds = self._last_logged
        total = self.clock.total_s
        rate = (self.env_steps - steps) / max(total - seconds, 1e-9)
        updates = rate * self.config.agent.updates_per_step if self.env_steps > self.config.train.random_steps else 0.0
        self._last_logged = (self.env_steps, total)
        values = {names.ENV_STEPS_PER_S: rate, names.UPDATES_PER_S: updates, names.ENVIRONMENT_S: self.env.busy_s}
        values |= {names.seconds_of(phase): seconds for phase, seconds in self.clock.phases.items()}
        self.record.timing.append([self._row(name, value) for name, value in values.items()])

    def checkpoint(self) -> None:
        """Everything that the run needs to continue exactly from here."""
        self.clock.lap("insert")
        self.record.check_in_place()
        covered = self.record.coverage()
        episodes = self.env.snapshot()
        meta = {
            "env_steps": self.env_steps,
            "evaluated_at": self.evaluated_at,
            "score": self.score,
            "last_evaluation": [row._asdict() for row in self.last_evaluation],
            "covered": covered._asdict(),
            "sample_rng": self.sample_rng.bit_generator.state,
            "action_rngs": [rng.bit_generator.state for rng in self.action_rngs],
            "clock": self.clock.phases,
            "env_busy_s": self.env.busy_s,
            "last_logged": self._last_logged,
            "task_ids": [spec.id for spec in self.specs],
            "obs_shape": self.env.space.obs_shape,
            "action_dim": self.env.space.action_dim,
        }
        arrays = {f"learner{name}": np.asarray(leaf) for name, leaf in named_leaves(self.state)}
        arrays |= {f"bounds/{name}": array for name, array in self.bounds.state().items()}
        arrays |= {"totals/return": self.totals.return_, "totals/success": self.totals.success}
        arrays |= {"env/number": episodes.number, "env/length": episodes.length, "env/obs": self._obs}
        arrays["env/actions"] = np.concatenate(episodes.actions)
        self.store.save(self.env_steps, meta, arrays, self.replay)
        self.record.durable({"metrics": covered.metrics, "timing": covered.timing})
        self.clock.lap("checkpoint")

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint; environments repeat their running episodes.

        Raises:
          RuntimeError: an environment did not come back to the observation it was left at.
        """
        meta, arrays = checkpoint.meta, checkpoint.arrays
        self.env_steps, self.evaluated_at, self.score = meta["env_steps"], meta["evaluated_at"], meta["score"]
        self.last_evaluation = [Row(**row) for row in meta["last_evaluation"]]
        self.sample_rng.bit_generator.state = meta["sample_rng"]
        for rng, state in zip(self.action_rngs, meta["action_rngs"], strict=True):
            rng.bit_generator.state = state
        self.clock.phases.update(meta["clock"])
        self.env.busy_s = meta["env_busy_s"]
        steps, seconds = meta["last_logged"]
        self._last_logged = (steps, seconds)
        leaves = [arrays[f"learner{name}"] for name, _ in named_leaves(self.state)]
        self.state = jax.tree.unflatten(jax.tree.structure(self.state), [jax.device_put(leaf) for leaf in leaves])
        self.bounds.load({name.split("/")[1]: array for name, array in arrays.items() if name.startswith("bounds/")})
        self.totals = EpisodeTotals(arrays["totals/return"], arrays["totals/success"])
        checkpoint.fill(self.replay)
        lengths = arrays["env/length"]
        actions = np.split(arrays["env/actions"], np.cumsum(lengths)[:-1])
        self._obs = self.env.restore(Episodes(arrays["env/number"], lengths, actions))
        if not np.array_equal(self._obs, arrays["env/obs"]):
            changed = [
                spec.id for spec, a, b in zip(self.specs, self._obs, arrays["env/obs"], strict=True) if (a != b).any()
            ]
            raise RuntimeError(
                f"{', '.join(changed)}: repeating the episode did not lead back to the checkpoint's observation; "
                "was the run begun on another machine or with other versions? See manifest.json"
            )
        self.replay.start(self._obs)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Every array of a pytree with a name that is stable over processes."""
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
