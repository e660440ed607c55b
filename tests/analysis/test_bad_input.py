"""Whatever is wrong with the input: a clear line, never a wrong number."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.context import Context
from analysis.load import LoadError, load
from analysis.plots import final
from records import layout
from tests.analysis.conftest import rows_of

TASKS = ("dmc/a-walk", "dmc/b-run")
GOOD_IQM = 0.35
"""Of the run that each case leaves alone: scores 0.3 and 0.4."""


def edit_manifest(run: Path, **values: Any) -> None:
    path = run / layout.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_tasks(run: Path, **values: Any) -> None:
    tasks = json.loads((run / layout.TASKS).read_text())["tasks"]
    (run / layout.TASKS).write_text(json.dumps({"tasks": [tasks[0] | values, *tasks[1:]]}))


def edit_rows(run: Path, change: Callable[[list[dict[str, Any]]], list[Any]]) -> None:
    path = run / layout.METRICS
    rows = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def set_value(name: str, value: Any, field: str = "value") -> Callable[[list[dict[str, Any]]], list[Any]]:
    """Change a field of the last row of that name of the first task."""

    def change(rows: list[dict[str, Any]]) -> list[Any]:
        at = max(number for number, row in enumerate(rows) if (row["name"], row["task"]) == (name, TASKS[0]))
        return [row | {field: value} if number == at else row for number, row in enumerate(rows)]

    return change


def without(name: str, env_steps: int) -> Callable[[list[dict[str, Any]]], list[Any]]:
    return lambda rows: [row for row in rows if (row["name"], row["env_steps"]) != (name, env_steps)]


RUN_CASES: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    # what is done to one of two runs -> the line about it; None: all of it can be used
    "empty metrics": (lambda run: (run / layout.METRICS).write_text(""), "no evaluation yet"),
    "no metrics": (lambda run: (run / layout.METRICS).unlink(), "no metrics.jsonl"),
    "no manifest": (lambda run: (run / layout.MANIFEST).unlink(), "no manifest.json"),
    "empty manifest": (lambda run: (run / layout.MANIFEST).write_text(""), "manifest.json is no JSON"),
    "torn manifest": (lambda run: (run / layout.MANIFEST).write_text('{"version": 1, "ta'), "manifest.json is no JSON"),
    "manifest is a list": (lambda run: (run / layout.MANIFEST).write_text("[]"), "manifest.json holds a list"),
    "manifest is binary": (
        lambda run: (run / layout.MANIFEST).write_bytes(b"\xff\xfe\x00"),
        "manifest.json is no text",
    ),
    "older version": (lambda run: edit_manifest(run, version=0), "record version 0, not 2"),
    "newer version": (lambda run: edit_manifest(run, version=3), "record version 3, not 2"),
    "no version": (lambda run: edit_manifest(run, version=None), "version=null: must be an integer"),
    "no sizes": (lambda run: edit_manifest(run, sizes={}), "manifest.json has no critic_params"),
    "no tasks": (lambda run: (run / layout.TASKS).unlink(), "no tasks.json"),
    "tasks are null": (
        lambda run: (run / layout.TASKS).write_text('{"tasks": null}'),
        "tasks.json has no list of tasks",
    ),
    "a task twice": (lambda run: edit_tasks(run, id=TASKS[1]), "tasks.json lists a task twice"),
    "a norm is text": (
        lambda run: edit_tasks(run, norm_high="high"),
        "norm_high=high: must be a finite number or null",
    ),
    "no identity": (lambda run: edit_manifest(run, identity_values={}), "manifest.json: benchmark.name is None"),
    "other constants": (lambda run: edit_tasks(run, norm_high=500.0), "do not follow from its return"),
    "other metric": (lambda run: edit_tasks(run, score_metric="success"), "do not follow from its success"),
    "NaN return": (
        lambda run: edit_rows(run, set_value("eval/return", float("nan"))),
        "is nan, which is no finite number",
    ),
    "NaN score": (
        lambda run: edit_rows(run, set_value("eval/score", float("nan"))),
        "is nan, which is no finite number",
    ),
    "infinite return": (
        lambda run: edit_rows(run, set_value("eval/return", float("inf"))),
        "is inf, which is no finite",
    ),
    "immense return": (
        lambda run: edit_rows(run, set_value("eval/return", 1e308)),
        "return or score of 1e+100 or more",
    ),
    "null return": (lambda run: edit_rows(run, set_value("eval/return", None)), "the value of a row is null"),
    "text return": (lambda run: edit_rows(run, set_value("eval/return", "high")), "the value of a row is text"),
    "altered score": (lambda run: edit_rows(run, set_value("eval/score", 0.9)), "do not follow from its return"),
    "unknown task": (
        lambda run: edit_rows(run, set_value("eval/return", "dmc/x", "task")),
        "not among the run",
    ),
    "steps are text": (
        lambda run: edit_rows(run, set_value("eval/return", "many", "env_steps")),
        "the env_steps of a row is text",
    ),
    "row without value": (
        lambda run: edit_rows(run, lambda rows: [*rows, {"env_steps": 500, "name": "eval/return", "task": TASKS[0]}]),
        "a row has no update_steps",
    ),
    "row is a list": (
        lambda run: edit_rows(run, lambda rows: ['["eval/return"]', *rows]),
        "line 1: a line holds a list",
    ),
    "garbage inside": (
        lambda run: edit_rows(run, lambda rows: [*rows[:3], '{"eval/', *rows[3:]]),
        "line 4: a line is no JSON",
    ),
    "evaluation with a hole": (lambda run: edit_rows(run, without("eval/success", 0)), "at 0 env steps lacks rows"),
    "contradicting rows": (
        lambda run: edit_rows(run, lambda rows: rows + set_value("eval/return", 1.0)(rows)[-7:]),
        "has two values",
    ),
    "rows twice": (lambda run: edit_rows(run, lambda rows: rows + rows), None),
    "last line cut": (lambda run: (run / layout.METRICS).open("a").write('{"name":"eval/re'), None),
    "evaluation being written": (
        lambda run: edit_rows(run, lambda rows: rows + rows_of({900: [0.9, 0.9]}, TASKS)[:4]),
        None,
    ),
    "torn DONE": (lambda run: (run / layout.DONE).write_text('{"env'), None),
    "divergences are text": (
        lambda run: (run / layout.DONE).write_text(
            json.dumps({"env_steps": 500, "score": 1, "evaluation": [], "divergences": 3})
        ),
        None,
    ),
    "torn status": (lambda run: (run / layout.STATUS).write_text("{"), None),
    "torn timing": (lambda run: (run / layout.TIMING).write_text('{"env_steps":5,"na'), None),
    "no starts": (lambda run: edit_manifest(run, starts=[]), None),
    "starts are null": (lambda run: edit_manifest(run, starts=None), "starts=null"),
    "starts are a list of null": (lambda run: edit_manifest(run, starts=[None]), "starts=[null]"),
    "stray files": (lambda run: (run / "notes.txt").write_text("hello"), None),
}


@pytest.mark.parametrize(("damage", "line"), RUN_CASES.values(), ids=RUN_CASES)
@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
def test_damaged_run_is_named_and_the_others_are_used(runs: Path, write_run, damage, line: str | None, cache: bool):
    good = write_run({0: [0.1, 0.1], 500: [0.3, 0.4]}, seed=0)
    bad = write_run({0: [0.1, 0.1], 500: [0.3, 0.4]}, seed=1)
    if cache:
        load(runs)  # what is then damaged must not come from the cache
    damage(bad)
    loaded = load(runs, cache=cache)
    assert set(loaded.table["run"]) == ({good.name} if line else {good.name, bad.name})
    assert [name.split(":")[0] for name in loaded.left_out] == ([bad.name] if line else [])
    assert all(str(line) in name for name in loaded.left_out)
    assert final.iqms(final.compute(Context(loaded)))["value"].tolist() == pytest.approx([GOOD_IQM])


@pytest.mark.parametrize("name", [name for name, (_, line) in RUN_CASES.items() if line])
def test_damaged_run_alone_is_one_clear_line(runs: Path, write_run, name: str):
    damage, line = RUN_CASES[name]
    damage(write_run({0: [0.1, 0.1], 500: [0.3, 0.4]}))
    with pytest.raises(LoadError) as error:
        load(runs)
    assert str(line) in str(error.value)
    assert "\n" not in str(error.value)


def test_run_scored_by_other_constants_than_most_is_left_out(runs: Path, write_run):
    for seed in range(3):
        write_run({0: [0.1, 0.1], 500: [0.3, 0.4]}, seed=seed)
    other = write_run({0: [0.1, 0.1], 500: [0.3, 0.4]}, seed=3, score_metric="success")
    loaded = load(runs)
    assert other.name not in set(loaded.table["run"])
    assert loaded.left_out == [
        f"{other.name}: dmc/a-walk is scored by success from 0 to 0.5, in other runs by return from 0 to 1000"
    ]


def test_copied_run_is_no_seed_and_the_interval_knows(runs: Path, write_run):
    run = write_run({0: [0.1, 0.1], 500: [0.3, 0.4]})
    shutil.copytree(run, runs / "toy" / "copy")
    loaded = load(runs)
    assert len(loaded.left_out) == 1
    assert final.compute(Context(loaded))[["low", "high"]].isna().all(axis=None)


def test_seeds_of_different_commits_and_versions_are_averaged_and_said_to_be(runs: Path, write_run):
    for seed, version in enumerate(("0.9", "0.10")):
        start = {"git_commit": f"{seed}" * 40, "git_diff_sha256": "x" if seed else None, "versions": {"jax": version}}
        write_run({500: [0.3, 0.4]}, seed=seed, starts=[start])
    assert load(runs).notes == [
        "toy, brc w64: runs of 2 commits (0000000000, 1111111111)",
        "toy, brc w64: runs with jax 0.10 and 0.9",
        "toy, brc w64: runs of code that differs from its commit",
    ]


def test_objects_that_are_stand_ins_are_named_once_for_all_variants_that_have_them(runs: Path, write_run):
    assets = {"shadowhand/mug/package/mug.stl": "0", "shadowhand/pan/recipe": "1", "shadowhand/chain/recipe": "2"}
    for seed, width in ((0, 64), (1, 64), (0, 128)):
        edit_manifest(write_run({500: [0.3, 0.4]}, seed=seed, width=width), assets=assets)
    edit_manifest(write_run({500: [0.3, 0.4]}, width=256), assets={"shadowhand/mug/package/mug.stl": "0"})
    assert load(runs).notes == ["toy, brc w64 and brc w128: 2 objects are stand-ins, made by recipes: pan, chain"]


def test_single_task_runs_of_unequal_seeds_are_averaged_and_counted(runs: Path, write_run):
    for task, seeds in (("dmc/a-walk", 3), ("dmc/b-run", 1)):
        for seed in range(seeds):
            write_run({500: [0.2 + seed / 10]}, seed=seed, tasks=(task,), name=f"{task[-3:]}{seed}")
    values = final.compute(Context(load(runs)))
    assert values[["seeds", "most_seeds", "tasks"]].drop_duplicates().to_numpy().tolist() == [[1, 3, 2]]
    # Task means 0.3 and 0.2, whatever the number of seeds.
    assert values.loc[values["statistic"] == "mean", "value"].tolist() == pytest.approx([0.25])


CSV_CASES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame | str], str]] = {
    # what is done to two seeds of two published curves -> the error
    "empty file": (lambda curves: "", "No columns to parse"),
    "header alone": (lambda curves: curves.iloc[:0], "no rows"),
    "no score": (lambda curves: curves.drop(columns="score"), "no column score"),
    "other table": (lambda curves: "a,b\n1,2\n", "no column benchmark"),
    "unknown benchmark": (lambda curves: curves.assign(benchmark="gym"), "benchmark gym: allowed: dmc_hard"),
    "unknown mode": (lambda curves: curves.assign(mode="both"), "mode both: allowed: multitask, singletask"),
    "all NaN": (
        lambda curves: curves.assign(score=float("nan")),
        "4 published curves with a score that is no",
    ),
    "all text": (lambda curves: curves.assign(score="x"), "a score that is no number below 1e+100"),
    "all immense": (lambda curves: curves.assign(score=1e308), "a score that is no number below 1e+100"),
    "points from 0": (lambda curves: curves.assign(eval_index=curves["eval_index"] - 1), "no whole number"),
    "half points": (lambda curves: curves.assign(eval_index=curves["eval_index"] / 2), "no whole number"),
    "no tasks": (lambda curves: curves.assign(task=None), "no task"),
}


@pytest.fixture
def curves() -> pd.DataFrame:
    """Two tasks, two seeds, three evaluations; final scores 0.3 and 0.4 (seed 0), 0.5 and 0.6 (seed 1)."""
    rows = [
        ("dmc_hard", "multitask", task, seed, point, 100.0 * (point + at + 2 * seed))
        for at, task in enumerate(("dog-run", "dog-walk"))
        for seed in range(2)
        for point in (1, 2, 3)
    ]
    return pd.DataFrame(rows, columns=["benchmark", "mode", "task", "seed", "eval_index", "score"])


@pytest.mark.parametrize(("damage", "line"), CSV_CASES.values(), ids=CSV_CASES)
def test_damaged_curves_are_one_clear_line(tmp_path: Path, curves: pd.DataFrame, damage, line: str):
    path = tmp_path / "curves.csv"
    damaged = damage(curves)
    path.write_text(damaged if isinstance(damaged, str) else damaged.to_csv(index=False))
    with pytest.raises(LoadError) as error:
        load(path)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


PARTLY: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str | None, float]] = {
    # what is done to the curves -> the line about it, the final mean of what is left
    "as they are": (lambda curves: curves, None, 0.45),
    "rows twice": (lambda curves: pd.concat([curves, curves]), "12 rows that are there twice", 0.45),
    "one NaN": (
        lambda curves: curves.assign(score=curves["score"].mask(curves.index == 1)),
        "1 published curves with a score that is no number below 1e+100: dmc_hard multitask dog-run seed 0",
        0.5,  # the mean of 0.5 (dog-run, one seed) and 0.5 (dog-walk, two)
    ),
    "two scores": (
        lambda curves: pd.concat([curves, curves.iloc[[0]].assign(score=999.0)]),
        "1 published curves with two scores for one evaluation: dmc_hard multitask dog-run seed 0",
        0.5,
    ),
    "a hole": (
        lambda curves: curves.drop(index=1),
        "1 published curves with missing evaluations: dmc_hard multitask dog-run seed 0",
        0.5,
    ),
    # dog-run's seed 0 ends a point early, so all end there: dog-run (0.2, 0.4), dog-walk (0.3, 0.5).
    "a short curve": (lambda curves: curves.drop(index=2), None, 0.35),
}


@pytest.mark.parametrize(("damage", "line", "mean"), PARTLY.values(), ids=PARTLY)
def test_flawed_curve_is_left_out_whole(tmp_path: Path, curves: pd.DataFrame, damage, line: str | None, mean: float):
    path = tmp_path / "curves.csv.gz"
    path.write_bytes(gzip.compress(damage(curves).to_csv(index=False).encode()))
    loaded = load(path)
    assert loaded.left_out == ([line] if line else [])
    values = final.compute(Context(loaded))
    assert values.loc[values["statistic"] == "mean", "value"].tolist() == pytest.approx([mean])


def npy(shape: str) -> bytes:
    """A file of 64-bit numbers of that shape, as its header says, with two numbers in it."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(16)


FILES: dict[str, tuple[bytes | np.ndarray, str]] = {
    # a file among the authors' -> why that file is left out
    "empty": (b"", "No data left in file"),
    "no array": (b"scores", "pickled"),
    "shorter than it says": (npy("(1000000000000, 2)"), "mmap length is greater than file size"),
    "more than there can be": (npy(f"({2**62}, {2**62})"), "overflow"),
    "no values": (np.zeros((0, 5)), "shape [0, 5]; must be seeds by evaluations"),
    "one curve alone": (np.zeros(20), "shape [20]; must be seeds by evaluations"),
    "as many seeds as evaluations": (np.zeros((3, 3)), "shape [3, 3]; must be seeds by evaluations"),
    "complex": (np.zeros((3, 20), complex), "values of the type complex128; must be numbers"),
    "text": (np.full((3, 20), "x"), "values of the type <U1; must be numbers"),
}


@pytest.mark.parametrize(("content", "line"), FILES.values(), ids=FILES)
def test_a_published_file_that_is_no_array_of_scores_is_left_out_and_named(tmp_path: Path, content, line: str):
    folder = tmp_path / "dmc" / "brc_multitask"
    folder.mkdir(parents=True)
    np.save(folder / "dog-run.npy", np.full((3, 20), 400.0))
    if isinstance(content, bytes):
        (folder / "dog-walk.npy").write_bytes(content)
    else:
        np.save(folder / "dog-walk.npy", content)
    loaded = load(tmp_path)
    assert loaded.table["task"].unique().tolist() == ["dmc/dog-run"]
    assert [str(folder / "dog-walk.npy") in one and line in one for one in loaded.left_out] == [True]
    (folder / "dog-run.npy").unlink()
    with pytest.raises(LoadError, match=re.escape(line)):
        load(tmp_path)


def test_episodes_that_diverged_are_to_be_known(runs: Path, write_run):
    run = write_run({0: [0.1, 0.2], 500: [0.3, 0.4]})
    done = {"env_steps": 500, "score": 0.35, "evaluation": [], "divergences": {TASKS[0]: 1200}}
    (run / layout.DONE).write_text(json.dumps(done))
    told = f"{run.name}: 1,200 training episodes of {TASKS[0]} ended because the simulation diverged"
    assert load(runs).notes == [told]


def test_curves_of_unequal_length_end_where_the_shortest_does_and_say_so(tmp_path: Path, curves: pd.DataFrame):
    curves.drop(index=2).to_csv(tmp_path / "curves.csv", index=False)
    assert Context(load(tmp_path / "curves.csv")).omissions()[0] == (
        "dmc_hard, BRC (published): averages up to env step 100,000; "
        "evaluations that not all runs have reached: 1 of seed 1, 1 of seed 0"
    )


@pytest.mark.parametrize("source", ["missing", "missing.csv", "empty", "file.txt", "sqlite:///missing.db"])
def test_no_input_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(LoadError) as error:
        load(source)
    assert str(error.value).startswith(source)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "missing.db").exists()
