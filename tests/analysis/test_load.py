from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.from_runs import parsed
from analysis.load import COLUMNS, LoadError, load
from conf import identity
from records import layout
from records.sweep import Member, write_sweep
from tests.analysis.conftest import rows_of


def test_each_evaluation_of_each_task_is_one_row(runs: Path, write_run):
    write_run({0: [0.1, 0.2], 500: [0.3, 0.4]}, seed=3)
    table, left_out, *_ = load(runs)
    assert tuple(table.columns) == COLUMNS
    assert left_out == []
    assert table[["env_steps", "task", "return_", "success", "score"]].to_numpy().tolist() == [
        [0, "dmc/a-walk", 100.0, 0.05, 0.1],
        [0, "dmc/b-run", 200.0, 0.1, 0.2],
        [500, "dmc/a-walk", 300.0, 0.15, 0.3],
        [500, "dmc/b-run", 400.0, 0.2, 0.4],
    ]
    assert set(table["seed"]) == {3}
    assert set(table["critic_params"]) == {64**2}


def test_record_of_a_sweep_is_an_input_of_its_runs_alone(runs: Path, write_run):
    mine, begun = write_run({0: [0.1, 0.2]}), runs / "toy" / "not-begun"
    write_run({0: [0.1, 0.2]}, seed=1)
    record = runs / layout.SWEEPS / "mine.json"
    write_sweep(record, [Member(one, 500, {}) for one in (mine, begun)], {})
    loaded = load(record)
    assert loaded.table["run"].unique().tolist() == [mine.name]
    assert loaded.left_out == ["not-begun: no manifest.json"]


def test_a_runs_folder_a_benchmark_and_a_run_are_all_inputs(runs: Path, write_run):
    run = write_run({0: [0.1, 0.2]})
    write_run({0: [0.1, 0.2]}, benchmark="other")
    (runs / layout.SWEEPS / "mine").mkdir(parents=True)
    (runs / layout.SWEEPS / "mine" / layout.MANIFEST).write_text("{}")
    assert set(load(runs).table["benchmark"]) == {"toy", "other"}
    assert load(runs).left_out == []
    assert load(runs / "toy").table["run"].unique().tolist() == [run.name]
    assert load(run).table["run"].unique().tolist() == [run.name]


def test_seeds_share_a_variant_and_sizes_do_not(runs: Path, write_run):
    for seed, width in [(0, 64), (1, 64), (0, 128)]:
        write_run({0: [0.1, 0.2]}, seed=seed, width=width)
    table = load(runs).table
    assert table.groupby("variant", sort=False)["seed"].unique().map(list).to_dict() == {
        "brc w64": [0, 1],
        "brc w128": [0],
    }
    assert set(table["family"]) == {"brc"}


def test_runs_that_differ_in_discount_are_not_averaged_as_seeds(runs: Path, write_run):
    write_run({0: [0.1, 0.2]}, seed=0, discount=0.99)
    write_run({0: [0.1, 0.2]}, seed=1, discount=0.9)
    table = load(runs).table
    assert set(table["variant"]) == {"brc w64 discount=0.99", "brc w64 discount=0.9"}
    assert set(table["family"]) == {"brc discount=0.99", "brc discount=0.9"}


def test_ablation_is_named_by_what_it_changes(runs: Path, write_run):
    base = {"value_loss": "categorical", "network": "bronet"}
    for number, change in enumerate(({}, {"value_loss": "squared"}, {"network": "mlp"})):
        write_run({0: [0.1, 0.2]}, settings=base | change, name=f"multi-{number}")
    write_run({0: [0.1]}, settings=base | {"batch_size": 8}, tasks=("dmc/a-walk",), name="single")
    assert set(load(runs).table["variant"]) == {
        "brc w64",
        "brc w64 value_loss=squared",
        "brc w64 network=mlp",
        "brc w64 single-task",
    }


def test_a_setting_that_an_identity_leaves_out_is_named_all_the_same(runs: Path, write_run):
    write_run({0: [0.1, 0.2]}, settings={"learner": "brc"}, name="plain")
    write_run({0: [0.1, 0.2]}, settings={"learner": "brc", "precision": "bfloat16"}, name="other")
    assert set(load(runs).table["variant"]) == {"brc w64 precision=float32", "brc w64 precision=bfloat16"}


def test_a_learner_that_is_no_name_names_its_run_all_the_same(runs: Path, write_run):
    write_run({0: [0.1, 0.2]}, settings={"learner": ["brc"]})
    assert set(load(runs).table["variant"]) == {"brc w64"}


def test_task_lists_with_the_same_short_name_stay_apart(runs: Path, write_run):
    write_run({0: [0.1, 0.2]}, seed=0, tasks=("dmc/a-walk", "dmc/b-run"), name="one")
    write_run({0: [0.1, 0.2]}, seed=1, tasks=("dmc/a-walk", "dmc/c-stand"), name="two")
    names = load(runs).table["variant"].unique()
    assert len(names) == 2
    assert all(name.startswith("brc w64 2 tasks #") for name in names)


def test_single_task_runs_of_all_tasks_are_one_variant(runs: Path, write_run):
    write_run({0: [0.1, 0.2]}, seed=0)
    for task in ("dmc/a-walk", "dmc/b-run"):
        write_run({0: [0.1]}, seed=0, tasks=(task,), name=task.split("/")[1], settings={"batch_size": 8})
    table = load(runs).table
    assert table.groupby("variant")["task"].unique().map(list).to_dict() == {
        "brc w64": ["dmc/a-walk", "dmc/b-run"],
        "brc w64 single-task": ["dmc/a-walk", "dmc/b-run"],
    }
    assert set(table.loc[table["mode"] == "single-task", "variant"]) == {"brc w64 single-task"}


def test_cut_off_last_line_is_ignored(runs: Path, write_run):
    run = write_run({0: [0.1, 0.2], 500: [0.3, 0.4]})
    whole = load(runs).table
    with (run / layout.METRICS).open("a") as file:
        file.write('{"env_steps":1000,"update_steps":4000,"name":"eval/return","ta')
    assert load(runs).table.equals(whole)


def test_evaluation_that_is_being_written_is_ignored(runs: Path, write_run):
    run = write_run({0: [0.1, 0.2], 500: [0.3, 0.4]})
    lines = (run / layout.METRICS).read_text().splitlines(keepends=True)
    (run / layout.METRICS).write_text("".join(lines[:-2]))  # ends after the last task's success, before its score
    table, left_out, *_ = load(runs)
    assert set(table["env_steps"]) == {0}
    assert left_out == []


def test_last_evaluation_off_the_grid_comes_from_the_done_file(runs: Path, write_run):
    run = write_run({0: [0.1, 0.2], 500: [0.3, 0.4]})
    last = rows_of({700: [0.5, 0.6]}, ("dmc/a-walk", "dmc/b-run"))
    (run / layout.DONE).write_text(json.dumps({"env_steps": 700, "score": 0.55, "evaluation": last[1:]}))
    table = load(runs).table
    assert table["env_steps"].unique().tolist() == [0, 500, 700]
    assert table.loc[table["env_steps"] == 700, "score"].tolist() == [0.5, 0.6]


def test_unusable_runs_are_named_with_the_reason(runs: Path, write_run):
    good = write_run({0: [0.1, 0.2]}, seed=0)
    (write_run({0: [0.1, 0.2]}, seed=1, name="started") / layout.METRICS).unlink()
    (write_run({0: [0.1, 0.2]}, seed=2, name="torn") / layout.MANIFEST).write_text('{"version": 2, "identity')
    (write_run({0: [0.1, 0.2]}, seed=3, name="sizeless") / layout.MANIFEST).write_text(
        json.dumps({"version": 2, "identity": "0", "identity_values": {"seed": 3}, "sizes": {}, "starts": []})
    )
    damaged = write_run({0: [0.1, 0.2]}, seed=4, name="damaged") / layout.METRICS
    damaged.write_text('{"env_steps":0,"name":"eval/ret\n' + damaged.read_text())
    write_run({}, seed=5, name="waiting")
    table, left_out, *_ = load(runs)
    assert set(table["run"]) == {good.name}
    assert any(line.startswith("torn: manifest.json is no JSON") for line in left_out)
    assert sorted(line for line in left_out if not line.startswith("torn")) == [
        "damaged: metrics.jsonl line 1: a line is no JSON",
        "sizeless: manifest.json: benchmark.name is None",
        "started: no metrics.jsonl",
        "waiting: no evaluation yet",
    ]


def test_copy_of_a_run_is_not_another_seed(runs: Path, write_run):
    run = write_run({0: [0.1, 0.2]})
    shutil.copytree(run, runs / "backup" / "older")
    shutil.rmtree(run)
    write_run({0: [0.1, 0.2], 500: [0.3, 0.4]}, name="newer")
    table, left_out, *_ = load(runs)
    assert set(table["run"]) == {"newer"}
    assert left_out == ["older: the same run as newer, which got to 500"]


def test_nothing_to_load_is_one_clear_line(tmp_path: Path, runs: Path, write_run):
    with pytest.raises(LoadError, match="no such folder"):
        load(tmp_path / "missing")
    with pytest.raises(LoadError, match="no run here or below"):
        load(tmp_path)
    write_run({}, name="waiting")
    with pytest.raises(LoadError, match=r"none of its 1 runs can be used: waiting: no evaluation yet$"):
        load(runs)


def test_second_load_parses_only_what_changed(runs: Path, write_run, monkeypatch: pytest.MonkeyPatch):
    for seed in range(3):
        write_run({0: [0.1, 0.2], 500: [0.3, seed / 10]}, seed=seed)
    write_run({}, seed=9, name="waiting")
    first = load(runs)
    read = []
    monkeypatch.setattr("analysis.from_runs.parsed", lambda path: read.append(path.name) or parsed(path))
    again = load(runs)
    pd.testing.assert_frame_equal(again.table, first.table)
    assert again.left_out == first.left_out
    assert again.runs["settings"].tolist() == first.runs["settings"].tolist()
    assert read == []
    changed = write_run({0: [0.1, 0.2], 500: [0.3, 0.4], 1000: [0.5, 0.6]}, seed=1, name="longer")
    assert set(load(runs).table["env_steps"]) == {0, 500, 1000}
    assert read == [changed.name]


def test_cache_that_is_damaged_or_cannot_be_written_changes_nothing(runs: Path, write_run, tmp_path: Path):
    write_run({0: [0.1, 0.2]})
    first = load(runs).table
    (cache,) = (tmp_path / "cache").rglob("*.parquet")
    cache.write_bytes(b"PAR1 not really")
    assert load(runs).table.equals(first)
    cache.unlink()
    cache.parent.rmdir()
    cache.parent.write_text("a file where the folder should be")
    assert load(runs).table.equals(first)


def test_run_table_says_where_runs_are_and_what_they_took(runs: Path, write_run):
    start = {"git_commit": "c" * 40, "git_diff_sha256": None, "versions": {"jax": "1"}, "device": "2 x NVIDIA H100"}
    run = write_run({0: [0.1, 0.2], 500: [0.3, 0.4]}, starts=[start])
    (run / layout.STATUS).write_text('{"state": "done"}')
    (run / layout.TRACKING).write_text('{"http://host:5000": {"token": "t", "run_id": "abc"}}')
    rows = [
        {"env_steps": 500, "update_steps": 1000, "name": name, "task": None, "value": value}
        for name, value in (("time/act_s", 40.0), ("time/env_wait_s", 60.0), ("time/environment_s", 99.0))
    ]
    (run / layout.TIMING).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (one,) = load(runs).runs.itertuples()
    assert (one.folder, one.state, one.commit, one.env_steps) == (str(run), "done", "c" * 40, 500)
    assert (one.devices, one.device) == (2, "NVIDIA H100")
    assert one.hours == pytest.approx(100 / 3600)  # what environments did beside the learner took no time of its own
    assert (one.env_steps_per_s, one.updates_per_s) == (5.0, 10.0)
    assert one.mlflow == {"http://host:5000": "abc"}


def test_compute_of_a_run_is_counted_from_its_updates(runs: Path, write_run):
    write_run({0: [0.1, 0.2], 500: [0.3, 0.4]}, width=10)
    table = load(runs).table
    assert table.groupby("env_steps")["train_flops"].first().tolist() == [0.0, 384 * 10**2 * 2000]


@pytest.mark.slow
def test_runs_in_mlflow_are_the_same_table(runs: Path, write_run, tmp_path: Path):
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("toy", artifact_location=(tmp_path / "artifacts").as_uri())
    client.create_run(experiment, run_name="a sweep's parent")
    for seed in range(2):
        run = write_run({0: [0.1, 0.2], 500: [0.3, seed / 10]}, seed=seed, score_metric="success")
        manifest = json.loads((run / layout.MANIFEST).read_text())
        values = identity.flat(manifest["identity_values"] | {"sizes": manifest["sizes"]})
        texts = {key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in values.items()}
        run_id = client.create_run(experiment, run_name=run.name).info.run_id
        rows = [json.loads(line) for line in (run / layout.METRICS).read_text().splitlines()]
        metrics = [
            Metric(f"{row['name']}/{row['task'].split('/')[1]}", row["value"], 0, row["env_steps"])
            for row in rows
            if row["task"]
        ]
        metrics += [Metric("update_steps", 4 * steps, 0, steps) for steps in (0, 500)]
        for name in (layout.MANIFEST, layout.TASKS):
            client.log_artifact(run_id, str(run / name))
        client.log_batch(run_id, metrics=metrics, params=[Param(key, text) for key, text in texts.items()])
    unfinished = client.create_run(experiment, run_name="waiting").info.run_id
    client.log_batch(unfinished, params=[Param(key, text) for key, text in texts.items()])
    for name in (layout.MANIFEST, layout.TASKS):
        client.log_artifact(unfinished, str(run / name))
    found, files = load(uri), load(runs)
    order = ["run", "env_steps", "task"]
    ours, theirs = (one.table.sort_values(order, ignore_index=True) for one in (files, found))
    pd.testing.assert_frame_equal(ours, theirs)
    assert [line.partition(" (")[0] for line in found.left_out] == ["waiting"]
    assert found.left_out[0].endswith("no evaluation yet")
