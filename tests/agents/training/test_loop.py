"""The loop in this process: its rows are the ones worked out by hand, and a killed run ends as if it never was."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learner.api import LEARNERS
from agents.learner.types import Batch, Learner
from agents.sizes import run_size
from agents.training import loop, opening
from agents.training.clock import PHASES
from agents.training.lane import Lane
from agents.training.opening import open_lane
from agents.training.prepare import Prepared
from agents.training.progress import Progress
from conf import identity
from conf.agents import AGENTS, AgentConfig
from conf.compose import compose
from conf.identity import config_from_json, config_to_json
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.divergence import DivergedError
from envs.spec import TaskSpec
from envs.worker import EnvError
from records import layout
from records.interference import measurements
from records.metrics import ENVIRONMENT_S, TIME_PREFIX, seconds_of
from tests.agents.training import scripted
from tests.agents.training.moved_clock import MovedClock
from tests.commands import newest_state, replay_contents, rows

BUDGET, EVAL_EVERY, EPISODES, CAPACITY = 50, 20, 3, 36
SEED = 3
COMMON = [
    f"seed={SEED}",
    "env.backend=inline",
    "tracking=off",
    "model.width=8",
    "agent.updates_per_step=2",
    f"train.env_steps={BUDGET}",
    f"train.replay_capacity={CAPACITY}",
    "train.random_steps=8",
    "train.log_every_steps=5",
    f"eval.every_steps={EVAL_EVERY}",
    f"eval.episodes={EPISODES}",
    "eval.parallel_episodes=2",
    "checkpoint.every_min=1e6",
]
CONTINUOUS = [
    *COMMON,
    "benchmark.tasks=[cartpole-balance,ball_in_cup-catch]",  # as many tasks as the scripted suite has
    "model.depth=1",
    "model.actor_width=8",
    "agent.batch_size=8",
    "agent.num_bins=11",
    "agent.reward_scale=paper",  # uses the running entropy, too
    "agent.return_bootstrap=critic",  # and the newest parameters
]
DISCRETE = [
    *COMMON,
    "benchmark=catch",
    "model.depth=0",
    "model.encoder_channels=2",
    "model.encoder_stride=12",
    "agent.batch_per_task=4",
    "agent.num_bins=11",
    "agent.image_shift=2",
    "agent.eval_epsilon=0.3",
    "eval.max_episode_steps=12",
]


class Killed(BaseException):
    """The process ends here: nothing may catch it."""


def prepared_run(run_dir: Path, config: RunConfig, specs: Sequence[TaskSpec]) -> Prepared:
    return Prepared(config, run_dir, list(specs), list(specs), run_size(config, specs), None, {})


def train(
    run_dir: Path,
    config: RunConfig,
    specs: Sequence[TaskSpec],
    *,
    kill_at: int | None = None,
    stop_at: int | None = None,
) -> str | None:
    """Begin or continue the run as a new process does; how it ended, None where it was killed."""
    return train_together([run_dir], [config], specs, 1, kill_at=kill_at, stop_at=stop_at)[0]


def train_together(
    run_dirs: Sequence[Path],
    configs: Sequence[RunConfig],
    specs: Sequence[TaskSpec],
    seats: int,
    *,
    kill_at: int | None = None,
    stop_at: int | None = None,
    over: loop.Over = loop.raise_error,
    stacks: bool = True,
) -> list[str | None]:
    """The same with several runs side by side; the kill and the stop come when the first run is there."""
    opened: list[Lane] = []

    def stop() -> bool:
        if opened[0].env_steps == kill_at:
            raise Killed
        return opened[0].env_steps == stop_at

    with contextlib.ExitStack() as stack:
        team = opening.team_of(prepared_run(run_dirs[0], configs[0], specs), seats, stacks and seats > 1)
        for run_dir, config in zip(run_dirs, configs, strict=True):
            run_dir.mkdir(exist_ok=True)
            lane = open_lane(prepared_run(run_dir, config, specs), team, stop)
            opened.append(stack.enter_context(contextlib.closing(lane)))
        with contextlib.suppress(Killed):
            loop.train(opened, Progress(configs[0].train.env_steps), over=over)
        return [lane.outcome for lane in opened]


@pytest.fixture(params=["continuous", pytest.param("discrete", marks=pytest.mark.slow)])
def setting(request: pytest.FixtureRequest, scripted_suite: list[TaskSpec]) -> tuple[RunConfig, list[TaskSpec]]:
    if request.param == "continuous":
        return compose(CONTINUOUS), scripted_suite
    config = compose(DISCRETE)
    return config, registry.specs(config.benchmark.task_ids)


def assert_equal_runs(run_dir: Path, reference: Path) -> None:
    """The two runs left the same metrics, the same DONE, and checkpoints with the same arrays and replay."""
    assert (run_dir / layout.METRICS).read_bytes() == (reference / layout.METRICS).read_bytes()
    assert json.loads((run_dir / layout.DONE).read_text()) == json.loads((reference / layout.DONE).read_text())
    ours, theirs = newest_state(run_dir), newest_state(reference)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    ours, theirs = replay_contents(run_dir), replay_contents(reference)
    for name in ("obs", "action", "reward", "terminated", "truncated"):
        np.testing.assert_array_equal(ours[name][-CAPACITY:], theirs[name][-CAPACITY:], err_msg=name)


def test_a_killed_and_a_stopped_run_end_bit_equal_to_one_that_was_neither(tmp_path: Path, setting):
    config, specs = setting
    assert train(tmp_path / "reference", config, specs) == "done"
    cut = tmp_path / "cut"
    assert train(cut, config, specs, kill_at=4) is None  # goes on from the checkpoint of the evaluation at 0
    assert train(cut, config, specs, stop_at=6) == "interrupted"  # within random actions
    assert train(cut, config, specs, stop_at=20) == "interrupted"  # within the evaluation at 20, which is repeated
    assert train(cut, config, specs, kill_at=33) is None  # goes on from 20
    assert train(cut, config, specs, stop_at=43) == "interrupted"  # the ring of replay has come round
    assert train(cut, config, specs, stop_at=BUDGET) == "interrupted"  # within the last evaluation, off the grid
    assert train(cut, config, specs) == "done"
    assert_equal_runs(cut, tmp_path / "reference")


def test_rows_are_the_ones_worked_out_by_hand(tmp_path: Path, scripted_suite: list[TaskSpec]):
    assert train(tmp_path / "run", compose(CONTINUOUS), scripted_suite) == "done"
    written = rows(tmp_path / "run" / layout.METRICS)
    short = [(row["env_steps"], row["name"], row["task"], row["value"]) for row in written]
    assert [row for row in short if row[1].startswith("train/")] == scripted.expected_training_rows(SEED, BUDGET)
    points = [scripted.expected_evaluation_rows(SEED, point, EPISODES) for point in (0, 20, 40)]
    assert [row for row in short if row[1].startswith("eval/")] == [
        (*row[:3], pytest.approx(row[3])) for point in points for row in point
    ]
    assert all(row["update_steps"] == 2 * max(0, row["env_steps"] - 8) for row in written)
    done = json.loads((tmp_path / "run" / layout.DONE).read_text())
    last = scripted.expected_evaluation_rows(SEED, BUDGET, EPISODES)  # off the grid: in DONE only
    assert [(row["env_steps"], row["name"], row["task"], row["value"]) for row in done["evaluation"]] == [
        (*row[:3], pytest.approx(row[3])) for row in last
    ]
    assert (done["env_steps"], done["score"]) == (BUDGET, pytest.approx(last[-1][3]))


def test_each_part_has_the_seconds_that_were_spent_there_and_all_add_up_to_the_whole(
    tmp_path: Path, scripted_suite: list[TaskSpec], monkeypatch: pytest.MonkeyPatch
):
    moved = MovedClock(monkeypatch)
    config = compose([*CONTINUOUS, "train.env_steps=40"])  # the last evaluation, too, is one of the grid
    assert train(tmp_path / "run", config, scripted_suite) == "done"
    written = [(row["env_steps"], row["name"]) for row in rows(tmp_path / "run" / layout.TIMING)]
    assert len(set(written)) == len(written)
    last = {row["name"]: row["value"] for row in rows(tmp_path / "run" / layout.TIMING)}
    parts = {name: value for name, value in last.items() if name.startswith(TIME_PREFIX) and name != ENVIRONMENT_S}
    assert set(parts) == {seconds_of(phase) for phase in PHASES}
    moved.spent["record"] -= 32  # the last rows cannot hold what writing them takes,
    moved.spent["checkpoint"] -= 128  # nor the last checkpoint, which covers them
    assert parts == {seconds_of(phase): moved.spent[phase] for phase in PHASES}
    assert sum(parts.values()) == pytest.approx(moved.now, rel=0.03)


def test_an_episode_that_diverges_is_counted_and_the_run_goes_on_as_exactly_as_ever(
    tmp_path: Path,
    scripted_suite: list[TaskSpec],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    """Every episode of `long` whose seed is a multiple of 3 diverges at its fourth step, of training and evaluation."""
    sound = scripted.ScriptedEnv.step

    def step(self, action):
        outcome = sound(self, action)
        if self._name == "long" and self._seed % 3 == 0 and self._time == 4:
            raise DivergedError("made up")
        return outcome

    monkeypatch.setattr(scripted.ScriptedEnv, "step", step)
    config, task = compose(CONTINUOUS), "scripted/long"
    assert train(tmp_path / "run", config, scripted_suite) == "done"
    expected, now, episode, training = [], 0, 0, 0
    for env_steps in range(BUDGET + 1):
        if env_steps == now and env_steps > 0:
            episode += 1
        seed = scripted.episode_seed(SEED, task, "train", episode)
        if env_steps == now:
            now += 4 if seed % 3 == 0 else 7
            ends_by_divergence = seed % 3 == 0
        if env_steps + 1 == now and ends_by_divergence and env_steps < BUDGET:
            expected.append((now, 1.0))
            training += 1
        if env_steps in (0, 20, 40):
            seeds = [scripted.episode_seed(SEED, task, "eval", env_steps, number) for number in range(EPISODES)]
            if count := sum(seed % 3 == 0 for seed in seeds):
                expected.append((env_steps, float(count)))
    assert training > 0
    written = rows(tmp_path / "run" / layout.METRICS)
    found = [(row["env_steps"], row["value"]) for row in written if row["name"] == "env/divergence"]
    assert sorted(found) == sorted(expected)
    assert {row["task"] for row in written if row["name"] == "env/divergence"} == {task}
    assert json.loads((tmp_path / "run" / layout.DONE).read_text())["divergences"] == {task: training}
    assert capsys.readouterr().err.count(f"warning: {task}: the simulation diverged") == 1

    assert train(tmp_path / "cut", config, scripted_suite, kill_at=33) is None
    assert train(tmp_path / "cut", config, scripted_suite, stop_at=43) == "interrupted"
    assert train(tmp_path / "cut", config, scripted_suite) == "done"
    assert_equal_runs(tmp_path / "cut", tmp_path / "run")

    stopping = compose([*CONTINUOUS, "env.on_divergence=stop"])
    with pytest.raises(EnvError, match=f"task {task}: DivergedError: made up"):
        train(tmp_path / "stopping", stopping, scripted_suite)
    assert identity.run_dir(stopping) == identity.run_dir(config)


def test_the_scale_of_returns_is_that_of_the_rewards_before_and_after_an_episode(tmp_path: Path, scripted_suite):
    config = compose(CONTINUOUS)
    assert train(tmp_path / "run", config, scripted_suite) == "done"
    written = rows(tmp_path / "run" / layout.METRICS)
    scales = {(row["env_steps"], row["task"]): row["value"] for row in written if row["name"] == "reward/return_scale"}
    discount = config.agent.discount
    paid = [scripted.episode_seed(SEED, "scripted/long", "train", 0) % 100 + time for time in range(1, 8)]
    assert scales[5, "scripted/long"] == pytest.approx(np.mean(paid[:5]) / (1 - discount))
    # After a truncated episode its mean reward follows for ever.
    following = np.mean(paid) / (1 - discount)
    returns = [sum(discount**k * r for k, r in enumerate(paid[t:])) + discount ** (7 - t) * following for t in range(7)]
    assert scales[10, "scripted/long"] == pytest.approx(max(returns))


def test_a_checkpoint_names_the_tasks_embeddings(tmp_path: Path, scripted_suite: list[TaskSpec]):
    config = compose(CONTINUOUS)
    assert train(tmp_path / "run", config, scripted_suite, stop_at=12) == "interrupted"
    state = newest_state(tmp_path / "run")
    assert state["task_embedding"].shape == (2, config.agent.embedding_dim)
    np.testing.assert_array_equal(state["task_embedding"], state["learner/critic/conditioning/embedding"])
    assert train(tmp_path / "run", config, scripted_suite, stop_at=13) == "interrupted"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[RunConfig]]:
    """Two seeds that were trained side by side and that nothing happened to."""
    folder = tmp_path_factory.mktemp("pair")
    run_dirs, configs = [folder / "3", folder / "4"], [compose([*CONTINUOUS, f"seed={seed}"]) for seed in (3, 4)]
    with scripted.known():
        assert train_together(run_dirs, configs, list(scripted.TASKS.values()), 2) == ["done", "done"]
    return run_dirs, configs


def test_seeds_side_by_side_end_bit_equal_whatever_happens_to_them(tmp_path: Path, scripted_suite, pair):
    """Killed and stopped together; then one goes on alone in another seat, so that the other begins behind it."""
    reference, configs = pair
    cut = [tmp_path / "3", tmp_path / "4"]
    assert train_together(cut, configs, scripted_suite, 2, kill_at=4) == [None, None]
    assert train_together(cut, configs, scripted_suite, 2, stop_at=24) == ["interrupted", "interrupted"]
    assert train_together(cut[1:], configs[1:], scripted_suite, 2, kill_at=43) == [None]  # goes on from 40
    assert train_together(cut, configs, scripted_suite, 2, kill_at=29) == [None, None]  # from 24 and from 40
    assert train_together(cut, configs, scripted_suite, 2) == ["done", "done"]
    for ours, theirs in zip(cut, reference, strict=True):
        assert_equal_runs(ours, theirs)


def test_seeds_side_by_side_have_their_own_records_and_nearly_the_numbers_of_runs_alone(
    tmp_path: Path, scripted_suite, pair
):
    run_dirs, configs = pair
    for run_dir, config in zip(run_dirs, configs, strict=True):
        early = dataclasses.replace(config, train=dataclasses.replace(config.train, env_steps=15))
        assert train(tmp_path / run_dir.name, early, scripted_suite) == "done"
        together = [row for row in rows(run_dir / layout.METRICS) if row["env_steps"] <= 15]
        alone = rows(tmp_path / run_dir.name / layout.METRICS)
        assert [row | {"value": None} for row in together] == [row | {"value": None} for row in alone]
        values = [[row["value"] for row in found] for found in (together, alone)]
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6)
        written = [row for row in rows(run_dir / layout.METRICS) if row["name"].startswith("train/")]
        assert [(row["env_steps"], row["name"], row["task"], row["value"]) for row in written] == (
            scripted.expected_training_rows(config.seed, BUDGET)
        )


def test_seeds_side_by_side_on_a_processor_equal_their_runs_alone(tmp_path: Path, scripted_suite):
    """Also where one begins later than the other and ends earlier."""
    configs = [compose([*CONTINUOUS, f"seed={seed}"]) for seed in (3, 4)]
    for config in configs:
        assert train(tmp_path / f"alone-{config.seed}", config, scripted_suite) == "done"
    together = [tmp_path / "together-3", tmp_path / "together-4"]
    assert train(together[0], configs[0], scripted_suite, stop_at=24) == "interrupted"
    assert train_together(together, configs, scripted_suite, 2, stacks=False) == ["done", "done"]
    for seed, run_dir in zip((3, 4), together, strict=True):
        assert_equal_runs(run_dir, tmp_path / f"alone-{seed}")


def test_a_seed_that_fails_leaves_the_others_alone(tmp_path: Path, scripted_suite, pair):
    """The environment of the first one raises in the middle of a step, when updates have begun."""
    reference, configs = pair
    run_dirs = [tmp_path / "3", tmp_path / "4"]
    ended: list[tuple[int, Exception | None]] = []
    calls = iter(range(10**6))

    def fail() -> None:
        if next(calls) == 0:
            raise ValueError("made up")

    scripted.EVENTS["long", 25] = fail
    try:
        outcomes = train_together(
            run_dirs,
            configs,
            scripted_suite,
            2,
            over=lambda lane, error: ended.append((lane.prepared.config.seed, error)),
        )
    finally:
        scripted.EVENTS.clear()
    assert outcomes == [None, "done"]
    assert [seed for seed, _ in ended] == [3, 4]
    assert isinstance(ended[0][1], EnvError)
    assert ended[1][1] is None
    assert_equal_runs(run_dirs[1], reference[1])
    assert train_together(run_dirs[:1], configs[:1], scripted_suite, 2) == ["done"]
    assert_equal_runs(run_dirs[0], reference[0])


class CountingLearner:
    """A learner whose state is its number of updates, and whose actions are a thousandth of that.

    Attributes:
      learnt: for each call of `update`, the updates before and the largest action of the batches.
      evaluated: the updates before each evaluation action.
      cut: for each call of `value`, the updates before and the time that the task `long` shows.
    """

    def __init__(self):
        self.learnt: list[tuple[int, float]] = []
        self.evaluated: list[int] = []
        self.cut: list[tuple[int, float]] = []

    def settings(self, config, specs):
        return None

    def init(self, settings, key):
        return jnp.int32(0)

    def acting_params(self, state):
        return state

    def task_embedding(self, state):
        return None

    def act(self, settings, params, obs, task_ids, key, step, *, deterministic):
        if deterministic:
            self.evaluated.append(int(params))
        return np.full((len(obs), 2), int(params) / 1000, np.float32)

    def update(self, settings, state, batches, return_scale):
        self.learnt.append((int(state), float(batches.action.max())))
        return state + 2, {"critic/loss": jnp.float32(1)}

    def value(self, settings, state, obs, task_ids, return_scale):
        self.cut.append((int(state), float(obs[1, 1])))
        return np.zeros(2)


def test_acting_uses_every_earlier_update_and_learning_every_earlier_step(
    tmp_path: Path,
    scripted_suite,
    monkeypatch: pytest.MonkeyPatch,
):
    """The order is act, start, update, await, insert: by what ends up in replay, in batches and in evaluations."""
    learner = CountingLearner()
    monkeypatch.setattr(opening, "learner_of", lambda config: learner)
    random_steps, budget = 1, 400
    config = compose([*CONTINUOUS, f"train.random_steps={random_steps}", f"train.env_steps={budget}"])
    assert train(tmp_path / "run", config, scripted_suite) == "done"
    updates_before = 2 * (np.arange(budget) - random_steps)
    taken = replay_contents(tmp_path / "run")["action"][-CAPACITY:]
    expected = (updates_before[-CAPACITY:] / 1000).astype(np.float32)
    np.testing.assert_array_equal(taken, np.broadcast_to(expected[:, None], (CAPACITY, taken.shape[1])))
    settled = [(before, newest) for before, newest in learner.learnt if before > 2 * (random_steps + CAPACITY)]
    behind = {round(1000 * newest) - before for before, newest in settled}
    assert max(behind) == -2  # the previous step's transition is learnt from, this step's is not
    assert sorted(set(learner.evaluated)) == [max(0, 2 * (point - random_steps)) for point in range(0, budget + 1, 20)]
    # What follows a cut episode is what the newest parameters say of its true last observation.
    ends = range(scripted.LENGTHS["long"], budget + 1, scripted.LENGTHS["long"])
    assert learner.cut == [(2 * (end - random_steps), pytest.approx(0.7)) for end in ends]


@pytest.mark.parametrize("where", ["metrics", "actions"])
def test_a_value_that_is_not_finite_ends_the_run_and_its_batch_is_kept(
    tmp_path: Path, scripted_suite: list[TaskSpec], monkeypatch: pytest.MonkeyPatch, where: str
):
    """The update with the step's 22 updates before it goes wrong; actions show it at the next step."""

    class Failing(CountingLearner):
        batches = ()

        def update(self, settings, state, batches, return_scale):
            state, metrics = super().update(settings, state, batches, return_scale)
            if int(state) == 24:
                self.batches = batches
                metrics = {"critic/loss": jnp.float32(np.nan if where == "metrics" else 1), "critic/q_mean": 2.0}
            return state, metrics

        def act(self, settings, params, obs, task_ids, key, step, *, deterministic):
            actions = super().act(settings, params, obs, task_ids, key, step, deterministic=deterministic)
            return actions + np.float32(np.nan) if where == "actions" and int(params) == 24 else actions

    learner = Failing()
    monkeypatch.setattr(opening, "learner_of", lambda config: learner)
    what = {"metrics": "critic/loss", "actions": "the policy's actions"}[where]
    with pytest.raises(FloatingPointError, match=f"not finite at 20 steps: {what}$"):
        train(tmp_path / "run", compose(CONTINUOUS), scripted_suite)
    with np.load(tmp_path / "run" / layout.BATCH) as kept:
        assert set(kept.files) == {*Batch._fields, "return_scale"}
        np.testing.assert_array_equal(kept["action"], learner.batches.action)


@dataclass(frozen=True, kw_only=True)
class UniformConfig(AgentConfig):
    """The settings of an agent that acts at random and learns nothing."""

    actions: ClassVar[Literal["continuous", "discrete"]] = "continuous"


def test_a_third_learner_needs_its_settings_and_a_line(
    tmp_path: Path, scripted_suite: list[TaskSpec], monkeypatch: pytest.MonkeyPatch
):
    """The two that there are stay as they are; the loop, records and checkpoints take the new one."""
    uniform = Learner(
        settings=lambda config, specs: max(spec.action_dim for spec in specs),
        init=lambda settings, key: jax.random.key_data(key),
        acting_params=lambda state: state,
        act=lambda settings, params, obs, task_ids, key, step, *, deterministic: jax.random.uniform(
            jax.random.fold_in(key, step), (len(obs), settings), minval=-1
        ),
        update=lambda settings, state, batches, return_scale: (state, {"critic/loss": jnp.float32(0)}),
        task_embedding=lambda state: None,
    )
    monkeypatch.setitem(AGENTS, "uniform", UniformConfig)
    monkeypatch.setitem(LEARNERS, "uniform", uniform)
    config = compose([*CONTINUOUS, "train.env_steps=60"])
    common = {field.name: getattr(config.agent, field.name) for field in dataclasses.fields(AgentConfig)}
    agent = UniformConfig(**common | {"name": "uniform", "learner": "uniform"})
    config = dataclasses.replace(config, agent=agent)
    assert config_from_json(config_to_json(config)) == config
    values = json.loads(config_to_json(config))
    other = json.dumps(values | {"agent": values["agent"] | {"init_temperature": 1}})
    with pytest.raises(ConfigError, match=r"agent\.init_temperature=1: agent\.learner=uniform has no such key"):
        config_from_json(other)
    assert train(tmp_path / "run", config, scripted_suite) == "done"


def test_interference_is_measured_and_changes_nothing(tmp_path: Path, scripted_suite: list[TaskSpec]):
    config = compose(CONTINUOUS)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, env_steps=20))
    measuring = dataclasses.replace(config.interference, every_steps=5, transitions=4)
    assert train(tmp_path / "without", config, scripted_suite) == "done"
    assert train(tmp_path / "with", dataclasses.replace(config, interference=measuring), scripted_suite) == "done"
    assert_equal_runs(tmp_path / "with", tmp_path / "without")
    found = list(measurements(tmp_path / "with"))
    assert [one.env_steps for one in found] == [10, 15, 20]  # updates begin after the eighth step
    assert [one.update_steps for one in found] == [4, 14, 24]
    assert found[0].cosine.shape == (2, 2)
    assert identity.hash_of(dataclasses.replace(config, interference=measuring)) == identity.hash_of(config)
