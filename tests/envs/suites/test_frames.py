"""Tasks of stacked frames and discrete actions keep what replay and learner rely on; and the games' own rules."""

import dataclasses
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from conf.compose import compose
from conf.typed import ConfigError
from envs import registry
from envs.seeding import episode_seed
from envs.spec import SpaceSpec, TaskSpec
from envs.suites import atari, pixels
from envs.vector import VectorEnv

# Few lives and none; fire at reset; a game that ends soon; one without a human score.
FAST = ("pixels/catch", "atari/Breakout", "atari/Pong", "atari/Carnival")
HUMANLESS = {"atari/Carnival", "atari/Pooyan"}


def tasks(prefix: str = "") -> list:
    """All tasks of frames whose id begins so; all but a handful are slow."""
    ids = [f"{suite}/{name}" for suite, module in (("pixels", pixels), ("atari", atari)) for name in module.TASKS]
    marked = [pytest.param(one, marks=[] if one in FAST else pytest.mark.slow) for one in ids]
    return [param for param in marked if str(param.values[0]).startswith(prefix)]


def actions(spec: TaskSpec, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(spec.action_dim, size=steps)


def digest(task_id: str, seed: int, steps: int) -> list[int]:
    """What an episode shows, as numbers that fit into a line."""
    env, spec = registry.make(registry.spec(task_id)), registry.spec(task_id)
    shown = [int(env.reset(seed=seed)[0].astype(np.int64).sum())]
    for action in actions(spec, steps):
        obs, reward, terminated, truncated, info = env.step(int(action))
        shown.append(int(obs.astype(np.int64).sum() + 1000 * reward))
        if info.get("episode_over", terminated or truncated):
            break
    env.close()
    return shown


@pytest.mark.parametrize("task_id", tasks())
def test_environment_keeps_its_specification(task_id):
    """Spaces and types; the stack holds the newest frames, zeros before the first; episodes repeat from their seed."""
    spec = registry.spec(task_id)
    env = registry.make(spec)
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    assert env.action_space.n == spec.action_dim
    assert env.observation_space.shape == spec.obs_shape

    def play(seed: int, steps: int) -> list[np.ndarray]:
        obs, _ = env.reset(seed=seed)
        assert (obs.shape, obs.dtype) == (spec.obs_shape, np.uint8)
        assert not obs[:-1].any()
        assert obs[-1].any()
        seen = [obs.copy()]
        for action in actions(spec, steps):
            before = obs.copy()
            obs, reward, terminated, truncated, info = env.step(int(action))
            assert (obs.shape, obs.dtype) == (spec.obs_shape, np.uint8)
            assert isinstance(reward, float)
            assert {type(terminated), type(truncated)} == {bool}
            np.testing.assert_array_equal(obs[:-1], before[1:])
            seen.append(np.append(obs, np.float32(reward)))
            if info.get("episode_over", terminated or truncated):
                break
        return seen

    episode = play(1, 120)  # the slowest overture, CrazyClimber's, shows the same for 82 steps
    assert any(not np.array_equal(a, b) for a, b in zip(play(2, 120), episode, strict=False))
    for found, expected in zip(play(1, 120), episode, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert env.render().shape[-1] == 3
    env.close()


@pytest.mark.slow
def test_an_episode_is_the_same_in_a_fresh_process():
    task_id, seed = "atari/Breakout", 2**32 - 5
    code = f"from tests.envs.suites.test_frames import digest; print(digest({task_id!r}, {seed}, 300))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip().splitlines()[-1] == str(digest(task_id, seed, 300))


# Scores and sizes


def test_scores_are_human_normalised_and_two_games_have_none():
    assert {spec.id for spec in atari.TASKS.values() if spec.normalised(0.0) is None} == HUMANLESS
    assert registry.spec("atari/Breakout").normalised(30.5) == 1.0
    assert registry.spec("atari/Pong").normalised(-20.7) == 0.0
    assert registry.spec("atari/Boxing").normalised(6.1) == pytest.approx(0.5)
    options = dataclasses.replace(compose([]).env.atari, video_pinball_random=0.0)
    pinball = atari.configured(registry.spec("atari/VideoPinball"), options)
    assert pinball.normalised(16256.9) == pytest.approx(0.92, abs=0.01)


def test_benchmarks_are_the_published_sets():
    sets = {name: compose([f"benchmark={name}"]) for name in ("atari", "atari_transfer", "atari100k")}
    ids = {name: config.benchmark.task_ids for name, config in sets.items()}
    assert {name: len(one) for name, one in ids.items()} == {"atari": 40, "atari_transfer": 5, "atari100k": 26}
    assert all(list(one) == sorted(one) for one in ids.values())
    assert not set(ids["atari"]) & set(ids["atari_transfer"])
    assert set(ids["atari"]) >= HUMANLESS
    assert {name: config.env.atari.sticky_actions for name, config in sets.items()} == {
        "atari": 0.25, "atari_transfer": 0.25, "atari100k": 0.0
    }  # fmt: skip


@pytest.mark.parametrize("task_id", tasks("atari/"))
def test_a_games_own_action_set_is_the_emulators(task_id):
    options = dataclasses.replace(registry.spec(task_id).options, full_action_set=False)
    spec = atari.configured(registry.spec(task_id), options)
    env = atari.make(spec)
    assert env.action_space.n == spec.action_dim
    env.close()


def test_discrete_tasks_of_different_action_sets_cannot_share_an_array():
    with pytest.raises(ValueError, match="atari/Pong, pixels/catch"):
        SpaceSpec.of([registry.spec("atari/Pong"), registry.spec("pixels/catch")])


def test_without_ale_py_the_answer_is_one_line_with_the_extra(monkeypatch):
    monkeypatch.setattr(atari.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"atari/Pong: ale-py is not installed .*pip install .*\[atari\]"):
        registry.specs(["atari/Pong"], compose([]).env)


# Games' rules


def breakout(**changes) -> atari.AtariEnv:
    spec = registry.spec("atari/Breakout")
    return atari.make(dataclasses.replace(spec, options=dataclasses.replace(spec.options, **changes)))


def play_out(env: gymnasium.Env, seed: int = 3) -> list[tuple[float, bool, bool]]:
    """(reward, terminated, over) of every step of one game of random actions."""
    rng = np.random.default_rng(0)
    env.reset(seed=seed)
    steps = []
    while not steps or not steps[-1][2]:
        _, reward, terminated, truncated, info = env.step(int(rng.integers(18)))
        assert not truncated
        steps.append((reward, terminated, info["episode_over"]))
    return steps


def test_a_lost_life_is_terminal_to_the_learner_and_the_game_goes_on():
    """Breakout has five lives. The game itself is the same whether or not lives are told."""
    with_lives, without = play_out(breakout()), play_out(breakout(terminal_on_life_loss=False))
    assert [over for _, _, over in with_lives] == [over for _, _, over in without]
    assert sum(terminated for _, terminated, _ in with_lives) == 5
    assert [terminated for _, terminated, _ in without] == [over for _, _, over in without]
    assert with_lives[-1][1:] == (True, True)


def test_rewards_are_the_games_points():
    env = registry.make(registry.spec("atari/BeamRider"))
    env.reset(seed=0)
    rewards = [env.step(int(action))[1] for action in actions(registry.spec("atari/BeamRider"), 1200)]
    assert 44.0 in rewards  # a saucer: not clipped to 1
    env.close()


def test_sticky_actions_and_noops_vary_an_episode_and_can_be_switched_off():
    def shown(**changes) -> list:
        env = breakout(**changes)
        results = []
        for seed in range(3):
            env.reset(seed=seed)
            results.append([env.step(2 + time % 3)[0].sum() for time in range(40)])
        return results

    same = shown(sticky_actions=0.0, noop_max=0)
    assert same[0] == same[1] == same[2]
    for changes in ({"noop_max": 0}, {"sticky_actions": 0.0}):
        different = shown(**changes)
        assert different[0] != different[1]


@pytest.mark.slow
def test_episode_ends_are_neither_lost_nor_invented_in_the_vector_environment():
    """Three games in two processes, against games played by hand from the episodes' seeds."""
    ids, steps = ["atari/Breakout", "atari/Pong", "pixels/catch"], 400
    specs = [dataclasses.replace(registry.spec(one), action_dim=3) for one in ids]
    seed_of = lambda row, episode: episode_seed(7, specs[row].id, "train", episode)  # noqa: E731
    rng = np.random.default_rng(0)
    moves = rng.integers(3, size=(steps, len(ids))).astype(np.int32)
    with VectorEnv(specs, seed_of, workers=2, max_episode_steps=150) as env:
        seen = [env.reset()]
        stepped = []
        for move in moves:
            env.start_step(move)
            stepped.append(env.wait_step())
    for row, spec in enumerate(specs):
        alone = registry.make(spec)
        episode, length = 0, 0
        obs, _ = alone.reset(seed=seed_of(row, 0))
        np.testing.assert_array_equal(seen[0][row], obs)
        for time, step in enumerate(stepped):
            obs, reward, terminated, _, info = alone.step(int(moves[time, row]))
            length += 1
            over = info.get("episode_over", terminated)
            np.testing.assert_array_equal(step.next_obs[row], obs)
            assert (step.reward[row], step.terminated[row]) == (np.float32(reward), terminated)
            assert step.truncated[row] == (length == 150 and not over)
            assert step.episode_over[row] == (over or length == 150)
            if step.episode_over[row]:
                episode, length = episode + 1, 0
                obs, _ = alone.reset(seed=seed_of(row, episode))
            np.testing.assert_array_equal(step.obs[row], obs)
        assert episode >= 2
        alone.close()


# Catch


@pytest.mark.parametrize(("name", "left"), [("catch", 0), ("catch-swapped", 2)])
def test_every_ball_can_be_caught_with_the_tasks_own_controls(name, left):
    spec = registry.spec(f"pixels/{name}")
    env = registry.make(spec)
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        total, over, length = 0.0, False, 0
        while not over:
            cells = obs[-1, :: pixels.CELL, :: pixels.CELL]
            paddle = int(np.flatnonzero(cells[-1])[0]) if 128 in cells[-1] else int(np.argmax(cells[-1]))
            ball = np.argwhere(cells == 255)
            target = int(ball[0, 1]) if len(ball) else paddle
            action = 1 if target == paddle else left if target < paddle else 2 - left
            obs, reward, over, _, _ = env.step(action)
            total += reward
            length += 1
        assert spec.normalised(total) == 1.0
        assert length == spec.max_episode_steps
