"""Imitation of a dataset: known experts are reached, a killed run goes on exactly, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from agents import collect
from agents.dataset import read_trajectories, write_dataset
from agents.export import write_policy
from agents.learner import imitation
from agents.portable import differences
from agents.replay.recorded import Recorded, Trajectories
from agents.saved import SavedPolicy, saved_policy
from agents.sizes import run_size
from agents.training import execute, summary
from conf import identity
from conf.compose import compose, resolve_paths
from conf.datasets import ABOUT, read_dataset
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from records.run_record import write_config
from tests.agents.training import scripted
from tests.agents.training.test_execute import configured
from tests.agents.training.test_loop import COMMON, train
from tests.commands import newest_state, rows

pytestmark = pytest.mark.usefixtures("scripted_suite")

TASKS = list(scripted.TASKS.values())
EPISODES, LENGTH = 4, 50
SETTINGS = [
    *(setting for setting in COMMON if not setting.startswith(("model.width", "train.env_steps"))),
    "benchmark.tasks=[cartpole-balance,ball_in_cup-catch]",  # as many tasks as the scripted suite has
    "model.width=24",
    "model.depth=1",
    "agent.batch_size=32",
]


def expert(obs: np.ndarray, action_dim: int) -> np.ndarray:
    """A known function of observations `[N, O]`: actions `[N, A]`, another one for each component."""
    return np.stack([0.6 * np.sin(obs[:, 0] + component) - 0.3 * obs[:, 1] for component in range(action_dim)], axis=1)


def demonstrations(teacher: bool = True) -> list[Trajectories]:
    """Observations at random, and what the expert does there; of each task."""
    rng = np.random.default_rng(1)
    found = []
    for spec in TASKS:
        obs = rng.uniform(-1, 1, (EPISODES * LENGTH, spec.obs_shape[0])).astype(np.float32)
        action = expert(obs, spec.action_dim).astype(np.float32)
        flags = np.zeros(len(obs), bool)
        found.append(
            Trajectories(
                lengths=np.full(EPISODES, LENGTH),
                obs=obs,
                final_obs=rng.uniform(-1, 1, (EPISODES, spec.obs_shape[0])).astype(np.float32),
                action=action,
                reward=np.ones(len(obs), np.float32),
                terminated=flags,
                truncated=(np.arange(len(obs)) + 1) % LENGTH == 0,
                success=flags,
                mean=np.arctanh(action) if teacher else None,
                log_std=np.full_like(action, -1.5) if teacher else None,
                source=np.zeros(EPISODES, int),
            )
        )
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    write_dataset(folder, TASKS, demonstrations(), [])
    return folder


def student(runs: Path, dataset: Path | None, *overrides: str) -> RunConfig:
    """The configuration of a run that learns from the dataset in the scripted tasks."""
    config = compose([*SETTINGS, f"paths.runs={runs}", "paths.compilation_cache=null", *overrides])
    tasks = tuple(spec.id for spec in TASKS)
    named = {} if dataset is None else {"agent": dataclasses.replace(config.agent, dataset=str(dataset))}
    return resolve_paths(
        dataclasses.replace(config, benchmark=dataclasses.replace(config.benchmark, tasks=tasks), **named)
    )


def trained(runs: Path, config: RunConfig) -> SavedPolicy:
    run_dir = runs / "student"
    assert train(run_dir, config, TASKS) == "done"
    write_config(run_dir, config)
    return saved_policy(run_dir)


def actions(policy: SavedPolicy, task: int, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Actions and standard deviations before tanh `[N, A]` of a student at observations `[N, O]` of a task."""
    spec = policy.specs[task]
    padded = np.pad(obs, ((0, 0), (0, policy.settings.obs_dim - obs.shape[1])))
    ids = np.full(len(obs), task, np.int32)
    mean, log_std = imitation.distribution(policy.settings, policy.params, padded, ids)
    return np.tanh(np.asarray(mean))[:, : spec.action_dim], np.exp(np.asarray(log_std))[:, : spec.action_dim]


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["bc", "distill"])
def test_a_student_reaches_the_expert_where_it_has_never_been(tmp_path: Path, dataset: Path, agent: str):
    speed = ["agent.learning_rate=0.005", "agent.updates_per_step=10", "train.env_steps=120"]
    policy = trained(tmp_path, student(tmp_path, dataset, f"agent={agent}", *speed, "eval.every_steps=120"))
    for task, spec in enumerate(TASKS):
        obs = np.random.default_rng(9).uniform(-1, 1, (200, spec.obs_shape[0])).astype(np.float32)
        found, deviation = actions(policy, task, obs)
        error = np.abs(found - expert(obs, spec.action_dim))
        assert error.mean() < 0.05
        if agent == "distill":
            np.testing.assert_allclose(np.log(deviation).mean(axis=0), -1.5, atol=0.3)
    written = rows(tmp_path / "student" / layout.METRICS)
    assert {row["name"] for row in written if row["name"].startswith(("train/", "reward/"))} == set()
    assert [row["env_steps"] for row in written if row["name"] == "eval/score" and row["task"] is None] == [0, 120]
    assert all(row["update_steps"] == 10 * row["env_steps"] for row in written)
    assert write_policy(policy, tmp_path).exported < 1e-6
    assert differences(policy, tmp_path).exported < 1e-6


def test_a_killed_and_a_stopped_student_ends_bit_equal_to_one_that_was_neither(tmp_path: Path, dataset: Path):
    config = student(tmp_path, dataset, "agent=bc", "train.env_steps=50")
    assert train(tmp_path / "reference", config, TASKS) == "done"
    assert train(tmp_path / "cut", config, TASKS, kill_at=13) is None
    assert train(tmp_path / "cut", config, TASKS, stop_at=31) == "interrupted"
    assert train(tmp_path / "cut", config, TASKS, kill_at=44) is None
    assert train(tmp_path / "cut", config, TASKS) == "done"
    for name in (layout.METRICS, layout.DONE):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "reference" / name).read_bytes()
    ours, theirs = newest_state(tmp_path / "cut"), newest_state(tmp_path / "reference")
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    assert not list(tmp_path.glob("*/checkpoints/replay/*"))


def test_a_dataset_reads_back_as_it_was_written_and_is_sampled_evenly(dataset: Path):
    files = read_dataset(dataset).by_task()
    read = [read_trajectories(dataset, files[spec.id]) for spec in TASKS]
    for ours, theirs in zip(read, demonstrations(), strict=True):
        for name, values in ours._asdict().items():
            np.testing.assert_array_equal(values, getattr(theirs, name), err_msg=name)
    short = read[0]._replace(obs=read[0].obs[:5], action=read[0].action[:5], mean=None, log_std=None)
    batch = Recorded(TASKS, [short, read[1]]).sample(np.random.default_rng(0), 2, 5000)
    assert batch.obs.shape == (2, 5000, 3)
    assert batch.task_ids.mean() == pytest.approx(0.5, abs=0.02)
    of_short = batch.task_ids == 0
    counts = np.unique(batch.obs[of_short], axis=0, return_counts=True)[1]
    assert len(counts) == 5
    assert counts / counts.sum() == pytest.approx(np.full(5, 0.2), abs=0.02)
    assert not batch.obs[of_short][:, 2].any()
    for task, spec in enumerate(TASKS):
        own = batch.task_ids == task
        expected = expert(batch.obs[own], spec.action_dim)
        np.testing.assert_allclose(batch.action[own][:, : spec.action_dim], expected, atol=1e-6)


def test_policies_are_as_far_apart_as_their_actions_and_deviations():
    mean, other = np.arctanh([0.5, -0.2]), np.arctanh([0.5, 0.3])
    found = imitation.policy_error(mean, np.asarray([-4.0, -1.0]), other, np.asarray([-1.0, -1.0]))
    np.testing.assert_allclose(found, [(3 / 12) ** 2, 0.5**2], atol=1e-6)


@pytest.mark.parametrize("conditioning", ["embedding", "one_hot", "none", "heads"])
def test_the_size_of_a_student_is_the_number_of_its_parameters(tmp_path: Path, dataset: Path, conditioning: str):
    config = student(tmp_path, dataset, "agent=bc", f"agent.conditioning={conditioning}")
    settings = imitation.settings(config, TASKS)
    shapes = jax.eval_shape(partial(imitation.init, settings), jax.random.key(0))
    assert run_size(config, TASKS).critic_params == sum(leaf.size for leaf in jax.tree.leaves(shapes.student))


def without_a_task(folder: Path) -> None:
    write_dataset(folder, TASKS[:1], demonstrations()[:1], [])


def without_teachers(folder: Path) -> None:
    write_dataset(folder, TASKS, demonstrations(teacher=False), [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / ABOUT).unlink(), "no dataset there (dataset.json is missing)"),
        (lambda folder: (folder / ABOUT).write_text("{"), "dataset.json: is damaged"),
        (lambda folder: (folder / ABOUT).write_text("{}"), "version: missing"),
        (lambda folder: (folder / "scripted-long.parquet").unlink(), "scripted-long.parquet is missing"),
        (without_a_task, "holds nothing of scripted/long; its tasks: scripted/short"),
        (without_teachers, "does not hold the policy that acted in scripted/short, scripted/long"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_in_a_line(
    tmp_path: Path, dataset: Path, change: Callable[[Path], object], said: str
):
    change(dataset)
    with pytest.raises(ConfigError) as caught:
        student(tmp_path, dataset, "agent=distill")
    assert said in str(caught.value)


def test_a_run_names_the_content_of_its_dataset_and_not_its_place(tmp_path: Path, dataset: Path):
    config = student(tmp_path, dataset, "agent=bc")
    moved = dataset.rename(tmp_path / "moved")
    assert identity.hash_of(student(tmp_path, moved, "agent=bc")) == identity.hash_of(config)
    changed = demonstrations()
    changed[0].action[0] = 0
    write_dataset(moved, TASKS, changed, [])
    assert identity.hash_of(student(tmp_path, moved, "agent=bc")) != identity.hash_of(config)
    with pytest.raises(ConfigError, match=r"agent\.dataset=null: agent=bc needs a folder"):
        student(tmp_path, None, "agent=bc")


def test_a_damaged_file_of_a_dataset_ends_the_run_in_one_line(tmp_path: Path, dataset: Path, capsys):
    config = student(tmp_path, dataset, "agent=bc")
    path = dataset / "scripted-long.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    assert execute.execute(config) == ExitCode.FAILED
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert str(path) in line


@pytest.mark.slow
def test_two_teachers_of_a_task_each_become_one_student_of_both(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(summary, "write_report", lambda run_dir: None)
    teachers = []
    for number, spec in enumerate(TASKS):
        config = configured(tmp_path / "runs")
        config = dataclasses.replace(
            config, seed=number, benchmark=dataclasses.replace(config.benchmark, tasks=(spec.id,))
        )
        assert execute.execute(config) == ExitCode.DONE
        teachers.append(identity.run_dir(config))
    out = tmp_path / "teachers"
    names = [str(teacher) for teacher in teachers]
    assert collect.main([*names, "--out", str(out), "--episodes", "40", "--noise"]) == ExitCode.DONE
    about = read_dataset(out)
    assert [file.episodes for file in about.tasks] == [40, 40]
    assert [source.tasks for source in about.sources] == [("scripted/short",), ("scripted/long",)]
    speed = ["agent.learning_rate=0.003", "agent.updates_per_step=20", "train.env_steps=200", "eval.every_steps=200"]
    policy = trained(tmp_path, student(tmp_path, out, "agent=distill", *speed))
    for task, (spec, teacher) in enumerate(zip(TASKS, teachers, strict=True)):
        seen = read_trajectories(out, about.by_task()[spec.id])
        assert seen.mean is not None
        found, _ = actions(policy, task, seen.obs)
        assert np.abs(found - np.tanh(seen.mean)).mean() < 0.1
        own = saved_policy(teacher)
        ids, key = np.zeros(len(seen.obs), np.int32), jax.random.key(0)
        acted = own.learner.act(own.settings, own.params, seen.obs, ids, key, 0, deterministic=True)
        np.testing.assert_allclose(np.tanh(seen.mean), acted, atol=1e-5)

    capsys.readouterr()
    mistakes = [
        ([*names, "--tasks", "other"], "--tasks other: no run has learned it"),
        ([names[0], "--out", names[0] + "/dataset"], "lies in the directory of a run"),
        ([names[0] + "@3"], "no checkpoint at 3 steps"),
    ]
    for arguments, said in mistakes:
        assert collect.main(["--out", str(tmp_path / "new"), *arguments]) == ExitCode.BAD_CONFIG
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    done = teachers[0] / layout.DONE
    done.write_text(json.dumps(json.loads(done.read_text()) | {"env_steps": 20}))
    assert collect.main([names[0], "--out", str(tmp_path / "new")]) == ExitCode.BAD_CONFIG
    assert "is not finished" in capsys.readouterr().err
    done.write_text("{")
    assert collect.main([names[0], "--out", str(tmp_path / "new")]) == ExitCode.BAD_CONFIG
    assert "is damaged" in capsys.readouterr().err
