"""A sweep's parts: a union of products, each with overrides of its own, which the command line multiplies."""

from pathlib import Path

import pytest

from conf import identity
from conf.compose import compose, compose_many
from conf.composed import Composed
from conf.typed import ConfigError
from tests.yaml_copy import yaml_copy

QUICK = "+experiment=quick_parts"


def listed(composed: list[Composed]) -> list[tuple[str, dict[str, str]]]:
    return [(one.part, one.varied) for one in composed]


def test_parts_are_listed_one_after_another_and_each_task_is_a_run():
    tasks = ["cartpole-balance", "cartpole-swingup", "ball_in_cup-catch"]
    assert listed(compose_many([QUICK])) == [
        ("together", {"agent.conditioning": "embedding"}),
        ("together", {"agent.conditioning": "one_hot"}),
        *(("alone", {"benchmark.tasks": f"[dmc/{task}]"}) for task in tasks),
    ]


def test_the_command_line_multiplies_all_parts_and_wins():
    composed = compose_many([QUICK, "seed=0,1", "agent.conditioning=heads"])
    assert [(one.part, one.config.seed) for one in composed] == [
        *(("together", seed) for seed in (0, 1)),
        *(("alone", seed) for seed in (0, 1) for _ in range(3)),
    ]
    assert {one.config.agent.conditioning for one in composed} == {"heads"}
    assert len(compose_many([QUICK, "+sweep=seeds"])) == 5 * 5


def test_each_task_alone_is_each_of_those_that_are_chosen_and_the_same_run_as_by_its_own_command():
    chosen = compose_many(["benchmark=dmc_hard", "benchmark.tasks=each", "seed=0,1"])
    assert len({identity.hash_of(one.config) for one in chosen}) == 14
    one = compose(["benchmark=dmc_hard", "benchmark.tasks=[dog-run]", "seed=1"])
    assert identity.hash_of(one) in {identity.hash_of(each.config) for each in chosen}
    narrowed = compose_many([QUICK, "benchmark.tasks=[cartpole-swingup,cartpole-balance]"])
    assert [each.config.benchmark.task_ids for each in narrowed if each.part == "alone"] == [
        ("dmc/cartpole-balance",),
        ("dmc/cartpole-swingup",),
    ]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([QUICK], r"\+experiment=quick_parts: has 2 parts, which are many runs: add -m"),
        (["benchmark.tasks=each"], "benchmark.tasks=each: a run for each task is a sweep: add -m"),
    ],
)
def test_one_run_has_no_parts(overrides: list[str], expected: str):
    with pytest.raises(ConfigError, match=expected):
        compose(overrides)


SAME = """[
  {name: one, set: [launcher.slurm.time=60], vary: {seed: '0,1'}},
  {name: two, set: [launcher.slurm.time=90], vary: {seed: 'range(1,3)'}}]"""


def test_the_same_run_in_two_parts_is_one_run_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with yaml_copy(tmp_path, monkeypatch) as conf:
        write(conf, SAME)
        composed = compose_many(["+experiment=mine"])
    assert [(one.part, one.config.seed) for one in composed] == [("one", 0), ("one", 1), ("two", 2)]
    assert [one.config.launcher.slurm["time"] for one in composed] == [60, 60, 90]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ("3", "sweep.parts=3: must be a list of parts"),
        ("[3]", r"sweep\.parts\[0\]=3: must be a group of keys: name, set, vary"),
        ("[{set: []}]", r"sweep\.parts\[0\]\.name: missing"),
        ("[{name: a, very: {}}]", r"no such key; did you mean sweep\.parts\[0\]\.vary\?"),
        ("[{name: a/b}]", "at most 64 letters"),
        ("[{name: a}, {name: a}]", "two parts are called a"),
        ("[{name: a, vary: {sed: '0,1'}}]", r"part a: .*did you mean seed\?"),
        ("[{name: a, vary: {seed: [0, 1]}}]", "part a: .*write the values as one text"),
        ("[{name: a, set: ['seed=0,1']}]", "part a: seed=0,1: has several values; write it below vary"),
        ("[{name: a, set: [paths.runs=b]}]", r"part a: paths\.runs=b: is the same for all parts"),
        ("[{name: a, set: [launcher=slurm]}]", "part a: launcher=slurm: is the same for all parts"),
        ("[{name: a, vary: {env.workers: '1,2'}}]", "env.workers=1,2: both give one and the same run"),
        (
            "[{name: a, set: [train.env_steps=9]}, {name: b, set: [train.env_steps=8]}]",
            "train.env_steps=9,8: parts a and b have one and the same run",
        ),
        ("[{name: a, vary: {seed: 'range(0,99999)'}}, {name: b, vary: {seed: '7,8'}}]", "2 runs; at most 1"),
    ],
)
def test_a_part_that_cannot_be_is_one_line(tmp_path: Path, monkeypatch, parts: str, expected: str):
    if "range" in parts:
        monkeypatch.setattr("conf.compose.MAX_RUNS", 3)
        parts = parts.replace("99999", "2")
    with yaml_copy(tmp_path, monkeypatch) as conf:
        write(conf, parts)
        with pytest.raises(ConfigError, match=expected):
            compose_many(["+experiment=mine"])


def test_parts_elsewhere_than_in_an_experiment_or_a_sweep_are_refused(tmp_path: Path, monkeypatch):
    with yaml_copy(tmp_path, monkeypatch) as conf:
        write(conf, "[{name: a}]")
        (conf / "experiment" / "mine.yaml").rename(conf / "benchmark" / "mine.yaml")
        with pytest.raises(ConfigError, match=r"sweep\.parts: of effect in"):
            compose_many(["benchmark=mine"])


def write(conf: Path, parts: str) -> None:
    benchmark = "benchmark: {name: mine, tasks: null, available: [dmc/dog-run]}"
    text = f"# @package _global_\n{benchmark}\nsweep: {{parts: {parts}}}\n"
    (conf / "experiment" / "mine.yaml").write_text(text)
