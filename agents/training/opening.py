"""Opens a run's lane: begins the run, or takes it up where its newest whole checkpoint is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.dataset import read_trajectories
from agents.learner import sharding
from agents.learner.api import learner_of
from agents.learner.transfer import FRESH, MEAN, ArchitectureError, Segments, by_task, transferred
from agents.replay.recorded import Recorded
from agents.replay.ring import Replay
from agents.training.checkpoint import Checkpoint, CheckpointStore, DamagedError
from agents.training.clock import Clock
from agents.training.evaluate import Evaluator
from agents.training.fork import begin_fork
from agents.training.lane import Lane
from agents.training.metrics import ScoredEvaluation
from agents.training.old_tasks import old_tasks
from agents.training.prepare import Prepared
from agents.training.source import Transfer
from agents.training.state import RunState, from_arrays, initial
from agents.training.team import Team
from conf.agents import ImitationConfig
from conf.datasets import read_dataset
from envs.seeding import episode_seed
from envs.spec import TaskSpec
from envs.vector import NoEnvironments, VectorEnv, default_workers
from envs.video import Filmer
from records import layout
from records.lock import Lock
from records.run_record import NO_ROWS, Coverage, RunRecord, check_begins_nothing_anew


def team_of(prepared: Prepared, seats: int = 1, stacks: bool | None = None) -> Team:
    """Return a team for a run, and for others that differ from the run in the seed alone: `seats` in all.

    `stacks` is as for `Team`.
    """
    learner = sharding.spread(learner_of(prepared.config), sharding.make_mesh(prepared.config.mesh))
    return Team(learner, learner.settings(prepared.config, prepared.specs), seats, stacks)


def open_lane(
    prepared: Prepared,
    team: Team,
    stop: Callable[[], bool],
    filmer: Filmer | None = None,
    lock: Lock | None = None,
) -> Lane:
    """Begin the run, or take it up where its newest whole checkpoint is.

    Args:
      prepared: the run, whose directory the caller holds the lock of.
      team: what the run learns in.
      stop: asked where it is safe to stop.
      filmer: takes recorded evaluation episodes.
      lock: the lock; without it nobody asks whether it is still held.
    Raises:
      DamagedError: there are checkpoints, and none is whole or of this form; or a fork's source has lost its own.
      LostRowsError: the record is not the one that the checkpoint covers, or goes on where there is no checkpoint.
      EnvError: an environment raised or its process died.
      RuntimeError: an environment did not come back to the observation it was left at.
    """
    config, specs, run_dir = prepared.config, prepared.specs, prepared.run_dir
    store = CheckpointStore(run_dir / layout.CHECKPOINTS)
    checkpoint, problems = store.load()
    if checkpoint is None and config.source.kind == "fork":
        begin_fork(run_dir, store, config.source)
        checkpoint, problems = store.load()
    for problem in problems:
        print(f"warning: {problem}; using the one before it", file=sys.stderr)
    if checkpoint is None:
        check_begins_nothing_anew(run_dir)
    covered, clock, evaluated = (NO_ROWS, None, None) if checkpoint is None else read_meta(checkpoint)
    with contextlib.ExitStack() as opened:
        record = opened.enter_context(contextlib.closing(RunRecord(run_dir, covered, lock)))
        env = opened.enter_context(contextlib.closing(training_env(prepared, team.seats)))
        evaluator = opened.enter_context(contextlib.closing(Evaluator(config, specs)))
        if checkpoint is None:
            evaluator.prepare()  # its worker processes build environments while this process initialises the learner
        replay = replay_of(prepared)
        mesh = sharding.make_mesh(config.mesh)
        learner, settings = team.learner, team.settings
        init, key = partial(learner.init, settings), jax.random.split(jax.random.key(config.seed))[1]
        if checkpoint is None:
            state = initial(config, specs, init(key))
            if prepared.transfer is not None:
                state = taken_over(state, settings, prepared.transfer, config.init.new_rows)
                print("\n".join(prepared.transfer.lines(config)), file=sys.stderr)
            state = state._replace(learner=sharding.placed(mesh, state.learner))
        else:
            # Shapes are enough to restore: nothing is initialised that would be thrown away.
            shapes = sharding.shapes_on(mesh, jax.eval_shape(init, key))
            state = restored(initial(config, specs, shapes), checkpoint, sharding.put)
            checkpoint.fill(replay)
        lane = Lane(
            prepared,
            team,
            state,
            replay=replay,
            evaluated=evaluated,
            clock=clock or Clock(),
            env=env,
            evaluator=evaluator,
            record=record,
            store=store,
            stop=stop,
            filmer=filmer,
            old_tasks=old_tasks(prepared, learner, settings),
        )
        if checkpoint is not None:
            check_same_obs(specs, lane.obs, state.obs)
            print(f"continuing from {lane.env_steps:,} steps", file=sys.stderr)
        opened.pop_all()  # the lane closes them
    return lane


def taken_over(state: RunState, settings: Any, transfer: Transfer, new_rows: str) -> RunState:
    """Return a run's first state with the networks of its source, and the magnitudes of returns of tasks that are kept.

    Args:
      state: of a fresh run.
      settings: the learner's.
      transfer: what is taken over.
      new_rows: how tasks begin that have no row at the source: random or mean.
    Raises:
      DamagedError: the source's checkpoint is gone or damaged, or its networks are of another form.
    """
    arrays = transfer.source.arrays()
    tasks = (len(transfer.source.tasks), len(transfer.rows))
    absent = MEAN if new_rows == "mean" else FRESH
    rows = [absent if row is None else row for row in transfer.rows]
    kept = [row if kept else FRESH for row, kept in zip(rows, transfer.kept, strict=True)]
    segments = Segments(transfer.obs, transfer.action, tasks, rows)
    by_path = {name.removeprefix("learner/"): array for name, array in arrays.items()}
    try:
        learner = transferred(settings, state.learner, by_path, segments)
        low, high = (by_task(getattr(state.bounds, end), arrays[f"bounds/{end}"], 0, kept) for end in ("low", "high"))
    except (ArchitectureError, KeyError) as error:
        raise DamagedError(f"{transfer.source.run_dir} at {transfer.source.env_steps} steps: {error}") from None
    return state._replace(learner=learner, bounds=state.bounds._replace(low=low, high=high))


def replay_of(prepared: Prepared) -> Replay | Recorded:
    """Return an empty replay, or the dataset that the run learns from.

    Raises:
      ConfigError: a file of the dataset is missing or damaged.
    """
    config, specs, agent = prepared.config, prepared.specs, prepared.config.agent
    if isinstance(agent, ImitationConfig):
        folder = Path(agent.dataset or "")
        files = read_dataset(folder).by_task()
        return Recorded(specs, [read_trajectories(folder, files[spec.id]) for spec in specs])
    return Replay(
        specs,
        config.train.replay_capacity,
        config.train.env_steps,
        discount=agent.discount,
        n_step=agent.n_step,
        surplus_actions=agent.keeps_surplus_actions,
        folder=prepared.run_dir if config.train.replay_storage == "disk" else None,
    )


def training_env(prepared: Prepared, runs: int) -> VectorEnv | NoEnvironments:
    """Build the environments that training steps, if any, in worker processes while the caller goes on.

    Args:
      prepared: the run.
      runs: how many runs of this process step environments at the same time, and so share the cores.
    """
    config, specs = prepared.config, prepared.specs
    if config.agent.offline:
        return NoEnvironments(specs)
    return VectorEnv(
        prepared.train_specs,
        lambda row, episode: episode_seed(config.seed, specs[row].id, "train", episode),
        backend="inline" if config.env.backend == "inline" else "process",
        workers=config.env.workers or default_workers(len(specs), runs),
        on_divergence=config.env.on_divergence,
    )


def restored(
    template: RunState,
    checkpoint: Checkpoint,
    put: Callable[[np.ndarray, jax.ShapeDtypeStruct], Any] = lambda array, _: array,
) -> RunState:
    """Return the state that a checkpoint holds.

    Args:
      template: a state of the same form.
      checkpoint: what is restored.
      put: what becomes of an array of the learner; for none, arrays stay as they are.
    Raises:
      DamagedError: the checkpoint's arrays are not those of this run.
    """
    return from_arrays(template, checkpoint.arrays, ignored=(layout.TASK_EMBEDDING,), put=put)


def check_same_obs(specs: Sequence[TaskSpec], found: np.ndarray, expected: np.ndarray) -> None:
    """Compare the observations `[T, O]` that repeated episodes have led to with those of the checkpoint.

    Raises:
      RuntimeError: they differ; the error names the tasks.
    """
    if changed := [spec.id for spec, a, b in zip(specs, found, expected, strict=True) if (a != b).any()]:
        raise RuntimeError(
            f"{', '.join(changed)}: repeating the episode did not lead back to the checkpoint's observation; "
            "was the run begun on another machine or with other versions? See manifest.json"
        )


def read_meta(checkpoint: Checkpoint) -> tuple[Coverage, Clock, ScoredEvaluation | None]:
    """Read the part of a checkpoint that is JSON: the rows that it covers, the clock, and the newest evaluation.

    Raises:
      DamagedError: it has another form.
    """
    meta = checkpoint.meta
    try:
        evaluated = meta["evaluated"]
        return (
            Coverage(**meta["covered"]),
            Clock.from_json(meta["clock"]),
            None if evaluated is None else ScoredEvaluation.from_json(evaluated),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"the checkpoint's manifest has another form than this version writes ({type(error).__name__}: {error})"
        ) from None
