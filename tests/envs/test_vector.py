"""Streams of the vector environment depend on (seed, task) alone; its failures name the task."""

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
from time import sleep

import numpy as np
import psutil
import pytest

from envs import registry
from envs.seeding import episode_seed
from envs.vector import Step, VectorEnv, assign_rows
from envs.worker import EnvError, WorkerDiedError

BALANCE, REACHER, CUP = "dmc/cartpole-balance", "dmc/reacher-easy", "dmc/ball_in_cup-catch"
SEED, LIMIT = 5, 20
STREAM_STEPS = 45  # two resets, and a third episode begun


def make(tasks, *, seed=SEED, limit=LIMIT, **kwargs) -> VectorEnv:
    specs = [registry.spec(task) for task in tasks]
    reset_seed = lambda row, episode: episode_seed(seed, specs[row].id, "train", episode)  # noqa: E731
    return VectorEnv(specs, reset_seed, max_episode_steps=limit, **kwargs)


def action(task: str, time: int, width: int) -> np.ndarray:
    """Own dimensions from the task's name, surplus ones from the width: they must not matter."""
    own = registry.spec(task).action_dim
    values = np.full(width, 0.3 * width, np.float32)
    values[:own] = 0.7 * np.sin(0.3 * time + np.arange(own) + len(task))
    return values


def actions_at(env: VectorEnv, time: int) -> np.ndarray:
    return np.stack([action(spec.id, time, env.space.action_dim) for spec in env.specs])


def advance(env: VectorEnv, time: int) -> Step:
    env.start_step(actions_at(env, time))
    return env.wait_step()


def stream(env: VectorEnv, task: str, steps: int = STREAM_STEPS) -> dict[str, np.ndarray]:
    """Everything that one task's row gave, without its padding."""
    row = [spec.id for spec in env.specs].index(task)
    width = env.specs[row].obs_shape[0]
    first = env.reset()[row, :width]
    rows = [Step(*(array[row] for array in advance(env, time))) for time in range(steps)]
    columns = {name: np.stack([getattr(one, name) for one in rows]) for name in Step._fields}
    columns["obs"] = np.stack([first, *columns["obs"][:, :width]])
    columns["next_obs"] = columns["next_obs"][:, :width]
    return columns


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, np.ndarray]]:
    """Each task stepped by itself in this process."""
    streams = {}
    for task in (BALANCE, REACHER, CUP):
        with make([task], backend="inline") as env:
            streams[task] = stream(env, task)
    return streams


@pytest.mark.parametrize(
    ("tasks", "kwargs"),
    [
        ([CUP, REACHER, BALANCE], {"backend": "inline"}),
        ([REACHER, BALANCE, CUP], {"workers": 1}),
        ([BALANCE, CUP, REACHER], {"workers": 2}),
    ],
    ids=["inline", "one worker", "two workers"],
)
def test_a_tasks_stream_does_not_depend_on_neighbours_workers_or_mode(alone, tasks, kwargs):
    for task in tasks[:2]:
        with make(tasks, **kwargs) as env:
            found = stream(env, task)
        for name, expected in alone[task].items():
            np.testing.assert_array_equal(found[name], expected, err_msg=f"{task} {name}")


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("dog-run", "dog-stand", "humanoid-walk"), marks=pytest.mark.slow),
        ("push", "reach", "hammer", "dial-turn"),
    ],
)
def test_tasks_that_share_a_model_do_not_touch_each_other(names):
    """Dogs are compiled once a process, and so is each of Meta-World's scenes."""
    suite = "dmc" if "dog-run" in names else "metaworld"
    tasks = [f"{suite}/{name}" for name in names]
    together = {task: [] for task in tasks}
    for mode in ({"backend": "inline"}, {"workers": 2}):
        with make(tasks, **mode) as env:
            for task in tasks:
                together[task].append(stream(env, task))
    for task in tasks:
        with make([task], backend="inline") as env:
            alone = stream(env, task)
        for found in together[task]:
            for name, expected in alone.items():
                np.testing.assert_array_equal(found[name], expected, err_msg=f"{task} {name}")


def test_another_seed_gives_another_stream(alone):
    with make([REACHER], seed=SEED + 1, backend="inline") as env:
        assert not np.array_equal(env.reset()[0], alone[REACHER]["obs"][0])


@pytest.mark.parametrize("task", [BALANCE, REACHER, CUP])
def test_the_stream_is_dm_controls_own(alone, task):
    """First episode, and the first observation of the second, against `suite.load` with the episodes' seeds."""
    from dm_control import suite

    domain, name = task.removeprefix("dmc/").split("-", 1)

    def fresh(episode: int):
        random = np.random.RandomState(episode_seed(SEED, task, "train", episode))
        env = suite.load(domain, name, task_kwargs={"random": random})
        return env, env.reset()

    def flat(timestep) -> np.ndarray:
        entries = sorted(timestep.observation.items())
        return np.concatenate([np.ravel(value) for _, value in entries]).astype(np.float32)

    found = alone[task]
    env, timestep = fresh(0)
    own = registry.spec(task).action_dim
    for time in range(LIMIT):
        np.testing.assert_array_equal(found["obs"][time], flat(timestep))
        timestep = env.step(action(task, time, own))
        np.testing.assert_array_equal(found["next_obs"][time], flat(timestep))
        assert found["reward"][time] == np.float32(timestep.reward)
    # The true successor ends the episode; acting goes on from the next one's first observation.
    np.testing.assert_array_equal(found["obs"][LIMIT], flat(fresh(1)[1]))
    assert not np.array_equal(found["next_obs"][LIMIT - 1], found["obs"][LIMIT])


def test_episodes_are_truncated_at_the_limit_and_nowhere_else(alone):
    for task, found in alone.items():
        at_limit = np.arange(1, STREAM_STEPS + 1) % LIMIT == 0
        np.testing.assert_array_equal(found["truncated"], at_limit, err_msg=task)
        np.testing.assert_array_equal(found["episode_over"], at_limit)
        assert not found["terminated"].any()
        between = ~at_limit
        np.testing.assert_array_equal(found["next_obs"][between], found["obs"][1:][between])


def test_padding_stays_zero_and_surplus_actions_do_not_matter(alone):
    with make([BALANCE, CUP], backend="inline") as env:
        assert env.space.obs_shape == (8,)
        assert env.space.action_dim == 2
        env.reset()
        for time in range(LIMIT + 2):
            step = advance(env, time)
            assert not step.obs[0, 5:].any()
            assert not step.next_obs[0, 5:].any()
        # `alone` had other surplus dimensions: none.
        np.testing.assert_array_equal(step.next_obs[0, :5], alone[BALANCE]["next_obs"][LIMIT + 1])


@pytest.mark.parametrize("kwargs", [{"backend": "inline"}, {"workers": 2}], ids=["inline", "processes"])
def test_restored_episodes_continue_bit_equal(kwargs):
    """In mid-episode, with rows at different places, into a fresh environment and into the used one."""
    tasks = [CUP, BALANCE]

    def play(env: VectorEnv, times) -> list[np.ndarray]:
        arrays = []
        for time in times:
            # The second row pauses at first, so that the two rows' episodes do not end together.
            env.start_step(actions_at(env, time), np.array([True, time >= 3]))
            step = env.wait_step()
            arrays += [array.copy() for array in step]
        return arrays

    with make(tasks, **kwargs) as env:
        env.reset()
        play(env, range(LIMIT + 7))
        episodes = env.snapshot()
        obs = env.restore(episodes)  # where it is already
        expected = play(env, range(30, 30 + LIMIT))
    np.testing.assert_array_equal(episodes.number, [1, 1])
    np.testing.assert_array_equal(episodes.length, [7, 4])
    with make(tasks, **kwargs) as other:
        np.testing.assert_array_equal(other.restore(episodes), obs)
        for found, wanted in zip(play(other, range(30, 30 + LIMIT)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_only_active_rows_are_stepped_and_all_are_by_default():
    with make([BALANCE, REACHER], backend="inline") as env:
        env.reset()
        env.start_step(actions_at(env, 0), np.array([False, True]))
        env.wait_step()
        np.testing.assert_array_equal(env.length, [0, 1])
        advance(env, 1)
        np.testing.assert_array_equal(env.length, [1, 2])


def test_a_killed_worker_is_reported_with_its_tasks():
    env = make([BALANCE, REACHER], workers=2)
    try:
        env.reset()
        (tasks,) = (env.specs[row].id for row in env._backend._rows_of_worker[0])
        os.kill(env._backend._processes[0].pid, signal.SIGKILL)
        with pytest.raises(EnvError, match=rf"worker of {tasks} died \(killed by SIGKILL\)"):
            advance(env, 0)
    finally:
        env.close()


def test_an_environment_that_raises_is_reported_with_its_tasks_name(monkeypatch):
    def fail():
        raise RuntimeError("the simulation diverged")

    with make([BALANCE, REACHER], backend="inline") as env:
        env.reset()
        monkeypatch.setattr(env._backend._group.members[1].env, "end_step", fail)
        with pytest.raises(EnvError, match=f"task {REACHER}: RuntimeError: the simulation diverged"):
            advance(env, 0)


def test_an_environment_that_raises_in_a_worker_is_reported_with_its_tasks_name():
    """An action that MuJoCo cannot simulate makes dm_control raise."""
    with make([BALANCE, REACHER], workers=2, on_divergence="stop") as env:
        env.reset()
        actions = actions_at(env, 0)
        actions[1] = np.nan
        env.start_step(actions)
        with pytest.raises(EnvError, match=f"task {REACHER}: DivergedError: .*mjWARN_BADCTRL"):
            env.wait_step()


def test_a_worker_that_dies_at_a_task_is_reported_with_that_task():
    humanoid, long = "dmc/humanoid-run", np.zeros((5000, 21), np.float32)  # a second's work
    with make([humanoid, humanoid], workers=1) as env:
        env.reset()
        env._backend.start("replay", {0: long, 1: long})
        sleep(0.2)
        os.kill(env._backend._processes[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match=rf"task {humanoid}: its worker died at it \(killed by SIGKILL\)"):
            env._backend.wait()


def test_a_worker_that_dies_at_rest_is_noticed_by_whoever_checks():
    with make([BALANCE, REACHER], workers=2) as env:
        env.reset()
        env.check()
        os.kill(env._backend._processes[1].pid, signal.SIGKILL)
        env._backend._processes[1].join(10)
        with pytest.raises(WorkerDiedError, match="died"):
            env.check()


@pytest.mark.parametrize("ending", ["", pytest.param("raise RuntimeError('a bug')", marks=pytest.mark.slow)])
def test_a_process_that_never_closes_its_environments_ends_all_the_same(ending):
    code = f"""
from envs import registry
from envs.vector import VectorEnv
if __name__ == "__main__":
    env = VectorEnv([registry.spec({BALANCE!r})] * 2, lambda row, episode: 0, workers=2)
    env.reset()
    print(*[process.pid for process in env._backend._processes])
    {ending}
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == bool(ending), result.stderr
    assert not any(psutil.pid_exists(int(pid)) for pid in result.stdout.split())


def test_close_leaves_no_process_and_no_memory_and_may_be_repeated():
    shared = set(os.listdir("/dev/shm"))
    env = make([BALANCE, REACHER, CUP], workers=2)
    env.reset()
    processes = list(env._backend._processes)
    assert all(process.is_alive() for process in processes)
    env.close()
    env.close()
    assert not any(process.is_alive() for process in processes)
    assert not set(processes) & set(multiprocessing.active_children())
    assert set(os.listdir("/dev/shm")) <= shared


def test_rows_are_dealt_so_that_workers_have_as_much_to_do():
    spec = registry.spec(BALANCE)
    specs = [dataclasses.replace(spec, step_ms=cost) for cost in (1.0, 4.0, 2.0, 2.5)]
    assert assign_rows(specs, 2) == [[0, 1], [2, 3]]
    assert sorted(row for rows in assign_rows(specs, 3) for row in rows) == [0, 1, 2, 3]


def test_seed_of_an_episode_keeps_its_value():
    """Run records depend on it: SeedSequence([seed, sha256(task id)[:16], purpose, episode])."""
    task_hash = int.from_bytes(hashlib.sha256(b"dmc/cartpole-balance").digest()[:16], "big")
    expected = np.random.SeedSequence([3, task_hash, 1, 50_000, 7]).generate_state(1)[0]
    assert episode_seed(3, BALANCE, "eval", 50_000, 7) == expected
