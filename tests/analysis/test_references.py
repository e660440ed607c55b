"""Published curves of other methods, in small files of the layouts that their authors use."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from analysis import figures
from analysis.context import Context
from analysis.import_reference import import_reference
from analysis.import_reference import main as import_main
from analysis.protocol import COLUMN
from analysis.report import gather
from analysis.table import LoadError
from conf.typed import ConfigError

LONG = ",exp_name,env_name,seed,metric,env_step,value\n"


def long_csv(path: Path, method: str, *rows: tuple[str, float, str, float, float]) -> Path:
    lines = [f"{at},{method},{','.join(map(str, row))}\n" for at, row in enumerate(rows)]
    path.write_text(LONG + "".join(lines))
    return path


def short_csv(path: Path, column: str, *rows: tuple[int, float, int]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"step,{column},seed\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    return path


def of(path: Path, benchmark: str) -> pd.DataFrame:
    table = import_reference(path).table
    return table.loc[table["benchmark"] == benchmark]


def test_a_long_csv_has_returns_of_tasks_however_they_are_written(tmp_path: Path):
    rows = [
        ("dog_run", 10, "avg_return", 0, 5.0),
        ("dog_run", 10, "avg_return", 50_000, 500.0),
        ("dog_run", 10, "avg_success", 50_000, 1.0),
        ("h1hand_sit_hard_v0", 10, "avg_return", 50_000, 750.0),
        ("Ant_v4", 0, "avg_return", 0, 7.0),
    ]
    path = long_csv(tmp_path / "drq.csv", "drq", *rows)
    dogs = of(path, "dmc_dogs")
    assert list(dogs["task"]) == ["dmc/dog-run"] * 2
    assert list(dogs["env_steps"]) == [0, 50_000]
    assert list(dogs["score"]) == [0.005, 0.5]
    assert set(dogs["variant"]) == {"DR.Q (published) single-task"}
    (hand,) = of(path, "humanoidbench_hard").itertuples()
    assert (hand.task, hand.score) == ("humanoidbench/h1hand-sit_hard", pytest.approx(1.0))  # its success is 750
    assert import_reference(path).left_out == ["published curves of tasks that no benchmark has: Ant_v4"]
    utd = long_csv(tmp_path / "simba.csv", "simbaV2_utd2", ("humanoid-run", 9000.0, "avg_return", 100_000.0, 200.0))
    (row,) = of(utd, "dmc_hard").itertuples()
    assert (row.variant, row.seed, row.env_steps) == ("SimbaV2 utd2 (published) single-task", 9000, 100_000)


def test_a_csv_a_task_is_named_after_the_task_and_its_folder(tmp_path: Path):
    short_csv(tmp_path / "tdmpc2" / "dog-run.csv", "reward", (0, 4.5, 2), (100_000, 300.0, 2))
    short_csv(tmp_path / "tdmpc2" / "mw-hammer.csv", "success", (100_000, 0.8, 3))
    short_csv(tmp_path / "tdmpc2" / "cup-catch.csv", "reward", (100_000, 900.0, 1))
    assert list(of(tmp_path / "tdmpc2", "dmc_dogs")["score"]) == [0.0045, 0.3]
    (hammer,) = of(tmp_path / "tdmpc2", "metaworld").itertuples()
    assert (hammer.task, hammer.success, hammer.score) == ("metaworld/hammer", 0.8, 0.8)
    assert set(of(tmp_path / "tdmpc2" / "cup-catch.csv", "quickstart")["task"]) == {"dmc/ball_in_cup-catch"}
    assert set(import_reference(tmp_path / "tdmpc2").table["agent"]) == {"TD-MPC2 (published)"}


def test_seeds_of_a_json_meet_on_a_grid_and_its_scores_come_with_their_warning(tmp_path: Path):
    seeds = {
        "seed_0": {"million_steps": [0.0, 0.0186, 0.0392, 0.0514, 0.0514], "return": [1.0, 2.0, 3.0, 4.0, 9.0]},
        "seed_1": {"million_steps": [0.0, 0.026, 0.0499], "return": [5.0, 6.0, 7.0]},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"h1-stand": {"EZ-M": seeds, "EZ-M-ST": {"seed_0": seeds["seed_1"]}}}))
    rows = of(path, "humanoidbench_medium")
    together = rows.loc[rows["variant"] == "EZ-M (published)"]
    # At 25,000 steps the last evaluations are those at 18,600 and at 0; at 50,000 those at 39,200 and at 49,900.
    assert list(zip(together["seed"], together["env_steps"], together["return_"], strict=True)) == [
        (0, 0, 1.0),
        (0, 25_000, 2.0),
        (0, 50_000, 3.0),
        (1, 0, 5.0),
        (1, 25_000, 5.0),
    ]
    assert "EZ-M (published) single-task" in set(rows["variant"])
    loaded = import_reference(path)
    context = Context(loaded, replicates=20).benchmarks["humanoidbench_medium"]
    caption = next(plot.caption for plot in figures.figures(context) if plot.name == "learning_curves")
    assert "EZ-M's episodes do not end at a fall" in caption


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.json", "[1]", "is not of the layout of a json with task > method > seed"),
        ("x.json", '{"h1-run": {"EZ-M": {"seed_0": {"return": []}}}}', "of a json with .*million_steps"),
        ("x.json", "{", "is not of the layout of a json"),
        ("x.csv", "a,b\n1,2\n", "no column benchmark; there must be benchmark, mode, .* or see docs/analysis.md"),
        ("x.csv", f"{LONG}0,drq,dog_run,0,avg_return,0,x\n", "1 published curves with a value that is no number"),
        ("x.csv", f"{LONG}0,drq,dog_run,0,avg_return,0,1\n1,drq,dog_run,0,avg_return,0,2\n", "two scores for one"),
        ("x.csv", f"{LONG}0,drq,Ant_v4,0,avg_return,0,1\n", "tasks that no benchmark has: Ant_v4"),
    ],
)
def test_a_file_of_another_shape_is_one_line(tmp_path: Path, name: str, text: str, expected: str):
    (tmp_path / name).write_text(text)
    with pytest.raises((LoadError, ConfigError), match=expected) as raised:
        import_reference(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_several_references_lie_over_the_runs_and_say_how_long_an_action_lasts(tmp_path: Path, runs: Path, write_run):
    write_run({50_000: [0.1] * 2}, benchmark="dmc_dogs", tasks=("dmc/dog-walk", "dmc/dog-run"))
    drq = long_csv(tmp_path / "drq.csv", "drq", ("dog_run", 0, "avg_return", 50_000, 500.0))
    tdmpc2 = short_csv(tmp_path / "tdmpc2" / "dog-run.csv", "reward", (50_000, 100.0, 1))
    found = gather(str(runs), [drq, tdmpc2], None)
    variants = {"brc w64", "DR.Q (published) single-task", "TD-MPC2 (published) single-task"}
    assert set(found.table["variant"]) == variants
    assert set(found.table["benchmark"]) == {"dmc_dogs"}
    plot = next(one for one in figures.figures(Context(found).benchmarks["dmc_dogs"]) if one.name == "learning_curves")
    assert "DR.Q (published): steps are the simulator's, and an action lasts for 2 of them." in plot.caption
    assert "action repeat mixed (1, 2)" in plot.caption
    assert "published curves of DR.Q (published), at commit unknown" in found.notes[-2]


def test_the_written_csv_has_method_and_commit(tmp_path: Path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    path = long_csv(checkout / "drq.csv", "drq", ("dog_run", 0, "avg_return", 50_000, 500.0))
    person = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "drq.csv"], [*person, "commit", "-qm", "curves"]):
        subprocess.run(["git", "-C", str(checkout), *arguments], check=True)
    commit = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert import_main([str(path), "--out", str(tmp_path / "out.csv")]) == 0
    written = pd.read_csv(tmp_path / "out.csv")
    assert set(written["method"]) == {"DR.Q"}
    assert set(written["commit"]) == {commit.strip()}
    assert written[COLUMN].str.contains("action repeat 2").all()
