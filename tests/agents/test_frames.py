"""Replay of stacked frames and of returns over several steps, against the environments' own stacks and plain loops."""

import numpy as np
import pytest

from agents.learner.types import Batch
from agents.replay.ring import Replay
from envs.vector import Step
from tests.agents.replays import frames_task, transitions

TASKS, STACK, SIDE, DISCOUNT = 2, 4, 3, 0.5
SPECS = [frames_task(name, STACK, SIDE, 5) for name in ("one", "other")]


class History:
    """Made-up games that stack their own frames, and every transition of them for any number of steps.

    Frames count up, so no two are alike. Tasks end episodes, lose lives and run out of time at random.
    """

    def __init__(self, over: float = 0.25, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.over = over
        self.frames = 0
        self.obs = np.zeros((TASKS, STACK, SIDE, SIDE), np.uint8)
        for task in range(TASKS):
            self._push(self.obs[task])
        self.first = self.obs.copy()
        self.steps: list[tuple[np.ndarray, np.ndarray, Step]] = []  # observation, action, what followed

    def _push(self, stack: np.ndarray) -> None:
        self.frames += 1
        stack[:-1] = stack[1:]
        stack[-1] = self.frames % 251 + 1

    def step(self) -> tuple[np.ndarray, Step]:
        over = self.rng.random(TASKS) < self.over
        truncated = over & (self.rng.random(TASKS) < 0.5)
        terminated = (over & ~truncated) | (~over & (self.rng.random(TASKS) < 0.2))  # the latter: a lost life
        next_obs = self.obs.copy()
        for task in range(TASKS):
            self._push(next_obs[task])
        obs = next_obs.copy()
        for task in np.flatnonzero(over):
            obs[task] = 0
            self._push(obs[task])
        reward = self.rng.normal(size=TASKS).astype(np.float32)
        action = self.rng.integers(5, size=TASKS).astype(np.int32)
        step = Step(next_obs, obs, reward, terminated, truncated, over, *np.zeros((2, TASKS), bool))
        self.steps.append((self.obs, action, step))
        self.obs = obs
        return action, step

    def insert(self, replay: Replay, count: int) -> None:
        for _ in range(count):
            replay.insert(*self.step())

    def expected(self, time: int, task: int, n_step: int) -> tuple:
        """One transition, by walking along the episode."""
        obs, action, _ = self.steps[time]
        total, weight = 0.0, 1.0
        for _, _, step in self.steps[time : time + n_step]:
            total += weight * step.reward[task]
            weight *= DISCOUNT
            next_obs = step.next_obs[task]
            if step.terminated[task]:
                weight = 0.0
            if step.terminated[task] or step.episode_over[task]:
                break
        return obs[task], action[task], total, next_obs, weight, task


def make(capacity: int, n_step: int = 1, budget: int = 1000) -> Replay:
    return Replay(SPECS, capacity, budget, discount=DISCOUNT, n_step=n_step)


def begin(capacity: int, n_step: int = 1, over: float = 0.25, seed: int = 0) -> tuple[Replay, History]:
    replay, history = make(capacity, n_step), History(over, seed)
    replay.start(history.first)
    return replay, history


def assert_holds(replay: Replay, history: History, n_step: int = 1) -> None:
    last = len(history.steps)
    first = last - len(replay)
    found = transitions(replay, SPECS, first, last)
    for time in range(first, last):
        for task in range(TASKS):
            expected = history.expected(time, task, n_step)
            for name, array, value in zip(Batch._fields, found, expected, strict=True):
                np.testing.assert_allclose(array[time - first, task], value, rtol=1e-5, err_msg=f"{name} {time} {task}")


@pytest.mark.parametrize("over", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("capacity", [3, 10])
def test_stacks_and_returns_are_the_environments_own_at_every_moment(capacity, n_step, over):
    """From the first step over several turns of the ring; with episodes of one step, of a few, and without end."""
    replay, history = begin(capacity, n_step, over)
    for _ in range(3 * (capacity + STACK)):
        history.insert(replay, 1)
        assert_holds(replay, history, n_step)
    assert len(replay) == capacity


def test_returns_of_three_steps_by_hand():
    """Rewards 1, 2, 4, 8, ... and discount 1/2: each window of three steps sums to 3 times its first reward."""
    replay = make(20, n_step=3)
    obs = np.zeros((TASKS, STACK, SIDE, SIDE), np.uint8)
    replay.start(obs)
    events = {3: (True, False, True), 5: (True, False, False), 8: (False, True, True)}  # game over, lost life, time up
    for time in range(10):
        terminated, truncated, over = (np.full(TASKS, flag) for flag in events.get(time, (False, False, False)))
        reward = np.full(TASKS, 2.0**time, np.float32)
        replay.insert(np.zeros(TASKS, np.int32), Step(obs, obs, reward, terminated, truncated, over, over, over))
    batch = transitions(replay, SPECS, 0, 10)
    # Steps that count:          3, 3, 2 to the end, 1, 2 to the lost life, 1, 3, 2 to the time limit, 1, 1 so far
    np.testing.assert_array_equal(batch.reward[:, 0], [3, 6, 8, 8, 32, 32, 192, 256, 256, 512])
    np.testing.assert_array_equal(batch.discount[:, 0], [1 / 8, 0, 0, 0, 0, 0, 1 / 8, 1 / 4, 1 / 2, 1 / 2])


@pytest.mark.parametrize("cuts", [(4, 9), (9, 15), (4, 8, 12, 16, 20), (4, 14, 25), (12, 13, 23, 40), (1, 2, 3, 30)])
@pytest.mark.parametrize("capacity", [8, 10, 100])
@pytest.mark.parametrize("over", [0.0, 0.3])
def test_merged_segments_equal_the_original_and_go_on_like_it(cuts, capacity, over):
    """Segments as a checkpoint keeps them, which drops what is wholly overwritten: the first rows that can be sampled
    find their older frames."""
    replay, history = begin(capacity, 3, over)
    segments, first = [], 0
    for cut in cuts:
        history.insert(replay, cut - replay.inserted)
        start = max(first, replay.oldest_row)
        segments.append((replay.export(start), start, cut))
        first = cut
    merged = make(capacity, 3)
    for segment, start, end in segments:
        if end > replay.oldest_row:
            merged.merge(segment, start)
    merged.start(history.obs)
    assert len(merged) == len(replay)
    assert_holds(merged, history, 3)
    for _ in range(2 * capacity if capacity < 100 else 5):
        action, step = history.step()
        replay.insert(action, step)
        merged.insert(action, step)
    assert_holds(merged, history, 3)
    found, expected = (one.sample(np.random.default_rng(0), 2, 64) for one in (merged, replay))
    for name, a, b in zip(Batch._fields, found, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_wrapped_replay_moves_into_a_larger_ring_and_samples_only_whole_stacks():
    replay, history = begin(capacity=10, over=0.0)
    history.insert(replay, 25)
    larger = make(40)
    larger.merge(replay.export(0), replay.oldest_row)
    larger.start(history.obs)
    assert len(larger) == 10
    assert_holds(larger, history)
    history.insert(larger, 20)
    assert_holds(larger, history)


def test_a_transition_of_atari_takes_less_than_7200_bytes():
    """One uint8 frame of 84 x 84 and little else, with the last frames of games of 500 steps."""
    specs = [frames_task(name, 4, 84, 18) for name in ("one", "other")]
    steps = 2000
    replay = Replay(specs, steps, 10**6, discount=0.99, n_step=3)
    obs = np.zeros((TASKS, *specs[0].obs_shape), np.uint8)
    replay.start(obs)
    for time in range(steps):
        over = np.full(TASKS, time % 500 == 499)
        nothing = np.zeros(TASKS, bool)
        replay.insert(np.zeros(TASKS, np.int32), Step(obs, obs, np.zeros(TASKS), over, nothing, over, nothing, nothing))
    measured = sum(replay.nbytes().values()) / (steps * TASKS)
    assert 84 * 84 < measured <= 7_200
    assert measured == pytest.approx(specs[0].transition_bytes(1), rel=0.01)
