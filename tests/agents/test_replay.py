"""Replay against a plain list of everything that was ever inserted."""

from pathlib import Path

import numpy as np
import pytest

from agents.learner.types import Batch
from agents.replay.ring import Replay
from agents.sizes import row_bytes
from envs.vector import Step
from tests.agents.replays import transitions, vector_task

TASKS, WIDTH, ACTIONS = 2, 3, 2
SPECS = [vector_task("narrow", 1, 1), vector_task("wide", WIDTH, ACTIONS)]
OWN = np.arange(WIDTH) < np.asarray([[1], [WIDTH]])
DISCOUNT = 0.9


class History:
    """Made-up steps and, independently of replay, the transitions that they are."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.obs = self.rng.normal(size=(TASKS, WIDTH)).astype(np.float32) * OWN
        self.first = self.obs
        self.steps: list[tuple[np.ndarray, Step]] = []
        self.transitions: list[Batch] = []

    def step(self, over=None, terminated=None, truncated=None) -> tuple[np.ndarray, Step]:
        draw = lambda *shape: self.rng.normal(size=shape).astype(np.float32)  # noqa: E731
        over = self.rng.random(TASKS) < 0.5 if over is None else np.asarray(over)
        terminated = over & (self.rng.random(TASKS) < 0.5) if terminated is None else np.asarray(terminated)
        truncated = over & ~terminated if truncated is None else np.asarray(truncated)
        action, reward, next_obs = draw(TASKS, ACTIONS), draw(TASKS), draw(TASKS, WIDTH) * OWN
        obs = np.where(over[:, None], draw(TASKS, WIDTH) * OWN, next_obs)
        step = Step(next_obs, obs, reward, terminated, truncated, over, *np.zeros((2, TASKS), bool))
        discount = np.where(terminated & ~truncated, 0, DISCOUNT).astype(np.float32)
        self.transitions.append(Batch(self.obs, action, reward, next_obs, discount, np.arange(TASKS)))
        self.steps.append((action, step))
        self.obs = obs
        return action, step

    def insert(self, replay: Replay, count: int, **flags) -> None:
        for _ in range(count):
            replay.insert(*self.step(**flags))

    def expected(self, first: int, last: int) -> Batch:
        return Batch(*(np.stack(arrays) for arrays in zip(*self.transitions[first:last], strict=True)))


def make(capacity: int, budget: int = 1000) -> Replay:
    return Replay(SPECS, capacity, budget, discount=DISCOUNT)


def begin(capacity: int, budget: int = 1000, seed: int = 0) -> tuple[Replay, History]:
    history, replay = History(seed), make(capacity, budget)
    replay.start(history.first)
    return replay, history


def assert_holds(replay: Replay, history: History, first: int | None = None) -> None:
    last = len(history.transitions)
    first = last - len(replay) if first is None else first
    if first == last:
        return
    for name, found, expected in zip(
        Batch._fields, transitions(replay, SPECS, first, last), history.expected(first, last), strict=True
    ):
        np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 12, 35])
def test_next_observation_is_the_true_successor_also_at_an_episodes_end_and_after_wrapping(count):
    replay, history = begin(capacity=10)
    history.insert(replay, count)
    assert len(replay) == min(count, 10)
    assert_holds(replay, history)


def test_every_step_may_end_an_episode():
    replay, history = begin(capacity=4)
    history.insert(replay, 30, over=[True, True])
    assert_holds(replay, history)
    assert len(replay.store.finals) <= 4 * (4 + 2) * (1 + WIDTH)  # slots of overwritten episodes are used again


def test_discount_is_zero_only_on_termination_without_truncation():
    replay, history = begin(capacity=10)
    cases = [(False, False, False), (True, False, True), (False, True, True), (True, True, True), (True, False, False)]
    for terminated, truncated, over in cases:  # the last: a lost life, in an episode that goes on
        flags = {"terminated": [terminated] * 2, "truncated": [truncated] * 2, "over": [over] * 2}
        history.insert(replay, 1, **flags)
    np.testing.assert_array_equal(transitions(replay, SPECS, 0, 5).discount[:, 0] > 0, [True, False, True, True, False])
    assert_holds(replay, history)


def test_samples_are_stored_transitions_of_the_task_they_name():
    replay, history = begin(capacity=10)
    history.insert(replay, 25)
    batch = replay.sample(np.random.default_rng(0), updates=3, batch_size=50)
    assert batch.obs.shape == (3, 50, WIDTH)
    assert batch.task_ids.dtype == np.int32
    held = history.expected(15, 25)
    time, task = np.nonzero(batch.reward.reshape(-1, 1, 1) == held.reward)[1:]  # rewards are all different
    assert len(time) == 150
    for name, found in zip(Batch._fields, batch, strict=True):
        expected = getattr(held, name)[time, task]
        np.testing.assert_array_equal(found.reshape(expected.shape), expected, err_msg=name)


def test_sampling_is_uniform_over_task_and_time():
    replay, history = begin(capacity=10)
    history.insert(replay, 17)
    draws = 20_000
    reward = replay.sample(np.random.default_rng(0), 1, draws).reward
    counts = [(reward == value).sum() for value in history.expected(7, 17).reward.ravel()]
    assert sum(counts) == draws
    # 20 cells of 1,000 expected: chi-squared with 19 degrees of freedom exceeds 43.8 once in a thousand seeds.
    assert np.sum((np.asarray(counts) - 1000.0) ** 2 / 1000) < 43.8


def test_sampling_depends_on_its_generator_alone():
    replay, history = begin(capacity=10)
    history.insert(replay, 17)
    first, same, other = (replay.sample(np.random.default_rng(seed), 2, 8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.reward, same.reward)
    assert not np.array_equal(first.reward, other.reward)


@pytest.mark.parametrize("cuts", [(4, 9), (9, 15), (4, 8, 12, 16, 20), (4, 14, 25), (25,), (12, 13, 23, 40)])
@pytest.mark.parametrize("capacity", [10, 11, 12, 100])
def test_merged_segments_equal_the_original_and_go_on_like_it(cuts, capacity):
    """Segments as a checkpoint keeps them: one for each save, those wholly overwritten dropped."""
    replay, history = begin(capacity)
    segments, first = [], 0
    for cut in cuts:
        history.insert(replay, cut - replay.inserted)
        start = max(first, replay.inserted - len(replay))
        segments.append((replay.export(start), start, cut))
        first = cut
    oldest = replay.inserted - len(replay)

    merged = make(capacity)
    for segment, start, end in segments:
        if end > oldest:
            merged.merge(segment, start)
    merged.start(history.obs)
    assert len(merged) == len(replay)
    assert_holds(merged, history)

    for _ in range(2 * capacity + 2 if capacity < 100 else 5):
        action, step = history.step()
        replay.insert(action, step)
        merged.insert(action, step)
        assert_holds(merged, history)
    found, expected = (one.sample(np.random.default_rng(0), 2, 64) for one in (merged, replay))
    for name, a, b in zip(Batch._fields, found, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_wrapped_replay_moves_into_a_larger_ring_and_claims_no_more_than_it_was_given():
    replay, history = begin(capacity=10)
    history.insert(replay, 25)
    larger = make(40)
    larger.merge(replay.export(0), 15)
    larger.start(history.obs)
    assert len(larger) == 10
    assert_holds(larger, history)
    history.insert(larger, 35)
    assert len(larger) == 40
    assert_holds(larger, history)


def test_segments_out_of_order_are_refused():
    replay, history = begin(capacity=10)
    history.insert(replay, 5)
    merged = make(10)
    merged.merge(replay.export(0), 0)
    with pytest.raises(ValueError, match="starts at 7, expected 5"):
        merged.merge(replay.export(0), 7)


def test_observations_are_stored_once():
    """Per transition: one observation, and of episodes' ends one more; not two of each."""
    replay, history = begin(capacity=1000)
    for time in range(1000):
        history.insert(replay, 1, over=[time % 100 == 99] * 2)
    bytes_ = replay.nbytes()
    once = 1000 * (1 + WIDTH) * 4
    assert once <= bytes_["frames"] + bytes_["pool"] <= 1.1 * once
    total = 1000 * sum(row_bytes(SPECS, surplus_actions=True))
    assert sum(bytes_.values()) <= 1.1 * total


def test_a_replay_in_files_gives_the_batches_of_one_in_memory_and_leaves_no_file(tmp_path: Path):
    in_memory, history = begin(capacity=10)
    in_files = Replay(SPECS, 10, 1000, discount=DISCOUNT, folder=tmp_path)
    in_files.start(history.first)
    for _ in range(17):
        action, step = history.step()
        for replay in (in_memory, in_files):
            replay.insert(action, step)
    assert_holds(in_files, history)
    batches = [replay.sample(np.random.default_rng(0), 2, 64) for replay in (in_memory, in_files)]
    for name, found, expected in zip(Batch._fields, *batches, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=name)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_reserved_for_the_budget_only():
    assert sum(make(10**6, 20).nbytes().values()) < 10_000
