"""Each figure's table, on runs whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import figures, style
from analysis.context import Context
from analysis.load import load
from analysis.plots import (
    ablation,
    differences,
    efficiency,
    embedding,
    final,
    improvement,
    interference,
    learning_curves,
    modes,
    overall,
    profile,
    scaling,
    transfer,
)
from analysis.select import at_end, common_steps, scored, shared_tasks
from records import layout

TASKS = ("dmc/a-walk", "dmc/b-run", "dmc/c-stand")


def write_modes(write_run, seeds: int = 2) -> None:
    """Three tasks: learning together adds 0.2 on the first, nothing on the second and costs 0.1 on the third."""
    for seed in range(seeds):
        noise = seed / 1000
        write_run({500: [0.3, 0.3, 0.3], 1000: [0.6 + noise, 0.4 + noise, 0.2 + noise]}, seed=seed, tasks=TASKS)
        for task, end in zip(TASKS, (0.4, 0.4, 0.3), strict=True):
            name = f"single-{task[-4:]}-{seed}"
            write_run({500: [0.1], 1000: [end + noise]}, seed=seed, tasks=(task,), name=name)


def test_final_statistics_are_of_the_last_step_that_variants_share(runs: Path, write_run):
    write_run({0: [0, 0], 500: [0.2, 0.4], 1000: [0.9, 0.9]}, width=64)
    write_run({0: [0, 0], 500: [0.5, 1.5]}, width=128)
    values = final.compute(Context(load(runs))).set_index(["variant", "statistic"])["value"]
    assert dict(values["brc w64"]) == pytest.approx({"iqm": 0.3, "mean": 0.3, "median": 0.3, "optimality_gap": 0.7})
    assert float(values["brc w128"]["optimality_gap"]) == pytest.approx(0.25)


def test_ends_that_differ_by_a_hair_are_each_variants_own(runs: Path, write_run):
    write_run({0: [0, 0], 990: [0.2, 0.2], 1000: [0.4, 0.4]}, width=64)
    write_run({0: [0, 0], 495: [0.1, 0.1], 990: [0.5, 0.5]}, width=128)
    found = at_end(common_steps(load(runs).table).table)
    assert found.table.groupby("variant")["env_steps"].max().to_dict() == {"brc w64": 1000, "brc w128": 990}
    assert found.left_out == []


def test_variants_that_were_never_evaluated_equally_long_are_not_compared(runs: Path, write_run):
    write_run({300: [0.2, 0.2]}, width=64)
    write_run({500: [0.5, 0.5]}, width=128)
    found = at_end(common_steps(load(runs).table).table)
    assert found.table.empty
    assert found.left_out == ["toy: no env step at which all variants were evaluated"]


def test_variants_are_compared_on_the_tasks_that_both_have(runs: Path, write_run):
    write_modes(write_run, seeds=1)
    table = load(runs).table
    only_two = table.loc[~((table["mode"] == "single-task") & (table["task"] == TASKS[2]))]
    shared = shared_tasks(only_two)
    assert set(shared.table["task"]) == set(TASKS[:2])
    assert shared.left_out == ["toy: 1 tasks that not all variants have are not compared"]
    values = modes.compute(Context(load(runs)._replace(table=only_two), replicates=20)).set_index("mode")["value"]
    assert values.to_dict() == pytest.approx({"multi-task": 0.5, "single-task": 0.4})


def test_modes_are_the_two_ways_to_learn_the_same_tasks(runs: Path, write_run):
    write_modes(write_run)
    values = modes.compute(Context(load(runs), replicates=20))
    assert values[["mode", "setting", "tasks", "seeds"]].to_numpy().tolist() == [
        ["multi-task", "brc w64", 3, 2],
        ["single-task", "brc w64", 3, 2],
    ]


def test_differences_are_multi_minus_single_task_by_task(runs: Path, write_run):
    write_modes(write_run, seeds=4)
    context = Context(load(runs))
    assert differences.pairs(context) == [("brc w64", "brc w64 single-task")]
    values = differences.compute(context, "brc w64", "brc w64 single-task")
    assert dict(zip(values["task"], values["value"], strict=True)) == pytest.approx(
        {TASKS[0]: 0.2, TASKS[1]: 0.0, TASKS[2]: -0.1}
    )
    assert values["flagged"].tolist() == [True, False, True]
    assert "1 better, 1 worse" in differences.caption(values)


def test_profile_falls_from_all_runs_to_none(runs: Path, write_run):
    write_run({500: [0.2, 0.6]})
    values = profile.compute(Context(load(runs))).set_index("level")["value"]
    assert values[[0.0, 0.5, 1.0]].tolist() == [1.0, 0.5, 0.0]


def test_improvement_is_of_the_better_over_the_worse(runs: Path, write_run):
    for seed in range(3):
        write_run({500: [0.2, 0.6 + seed / 10]}, seed=seed, width=64)
        write_run({500: [0.3, 0.65]}, seed=seed, width=128)
    (row,) = improvement.compute(Context(load(runs), replicates=200)).itertuples()
    # On the first task always; on the second 0.65 is above one of 0.6, 0.7, 0.8.
    assert (row.x, row.y) == ("brc w128", "brc w64")
    assert row.value == pytest.approx((1 + 1 / 3) / 2)
    assert row.low < row.value < row.high


def test_efficiency_is_the_first_step_at_a_fraction_of_the_best(runs: Path, write_run):
    write_run({0: [0, 0], 100: [0.5, 0.5], 200: [0.8, 0.8]}, width=64)
    write_run({0: [0, 0], 100: [0.1, 0.1], 200: [0.4, 0.4]}, width=128)
    values = efficiency.compute(Context(load(runs))).set_index(["variant", "fraction"])["value"]
    assert dict(values["brc w64"]) == {0.5: 100, 0.75: 200, 0.9: 200}
    assert values["brc w128"].to_dict() == {0.5: 200, 0.75: np.inf, 0.9: np.inf}


def test_overall_score_weighs_benchmarks_equally(runs: Path, write_run):
    write_run({0: [0, 0], 500: [0.2, 0.2]}, benchmark="easy")
    write_run({0: [0, 0, 0], 1000: [0.8, 0.8, 0.8]}, benchmark="hard", tasks=TASKS)
    curves = overall.compute(Context(load(runs)))
    (end,) = overall.final(curves).itertuples()
    assert (end.value, end.benchmarks, end.names) == (pytest.approx(0.5), 2, "easy, hard")
    assert curves.loc[curves["fraction"] == 0.5, "value"].tolist() == [0.0]


def test_overall_scores_over_different_benchmarks_are_said_not_to_compare(runs: Path, write_run):
    for benchmark in ("easy", "hard", "other"):
        write_run({500: [0.2, 0.2]}, benchmark=benchmark)
    for benchmark in ("easy", "hard"):
        write_run({500: [0.2, 0.2]}, benchmark=benchmark, width=128)
    assert "so the variants do not compare" in overall.caption(overall.compute(Context(load(runs))))


DOGS = tuple(f"dmc/dog-{gait}" for gait in ("stand", "walk", "trot", "run"))
HUMANOIDS = tuple(f"dmc/humanoid-{gait}" for gait in ("stand", "walk", "run"))


def write_parts(write_run) -> None:
    """Agents for the dogs and for the humanoids, of two settings, of which one has no humanoids."""
    for seed in range(2):
        write_run({500: [0.2] * 4, 1000: [0.4] * 4}, seed=seed, benchmark="dmc_dogs", tasks=DOGS)
        write_run({500: [0.5] * 3, 1000: [0.9] * 3}, seed=seed, benchmark="dmc_humanoids", tasks=HUMANOIDS)
    write_run({1000: [0.8] * 4}, width=128, benchmark="dmc_dogs", tasks=DOGS)


def test_agents_of_all_parts_of_a_benchmark_are_a_variant_of_it_too(runs: Path, write_run):
    write_parts(write_run)
    write_run({500: [0.3] * 7, 1000: [0.6] * 7}, benchmark="dmc_hard", tasks=DOGS + HUMANOIDS)
    hard = Context(load(runs)).benchmarks["dmc_hard"]
    means = final.compute(hard).set_index(["variant", "statistic"])["value"]
    assert set(means.index.get_level_values("variant")) == {"brc w64", "brc w64 by parts"}
    assert float(means["brc w64 by parts", "mean"]) == pytest.approx((4 * 0.4 + 3 * 0.9) / 7)
    captions = {plot.name: plot.caption for plot in figures.figures(hard)}
    assert "By parts: an agent for each of dmc_dogs and dmc_humanoids." in captions["final"]
    dogs = Context(load(runs)).benchmarks["dmc_dogs"]
    assert not any("By parts" in plot.caption for plot in figures.figures(dogs))


def test_a_benchmark_counts_once_in_the_overall_score_in_place_of_its_parts(runs: Path, write_run):
    write_parts(write_run)
    write_run({500: [0.1, 0.1], 1000: [0.2, 0.2]})
    ends = overall.final(overall.compute(Context(load(runs)))).set_index("variant")
    assert ends.loc["brc w64", "names"] == "toy, dmc_hard"
    assert "brc w128" not in ends.index  # dogs alone are no two benchmarks
    of_parts = np.sort([0.4] * 8 + [0.9] * 6)
    trimmed = stats.trim_mean(of_parts, 0.25)
    assert float(ends.loc["brc w64", "value"]) == pytest.approx((trimmed + 0.2) / 2, abs=0.02)


def test_scaling_has_a_fitted_law_from_three_sizes_on(runs: Path, write_run):
    for width, score in ((10, 0.3), (100, 0.5), (1000, 0.7)):
        for seed in range(2):
            write_run({500: [score + (seed - 0.5) / 50] * 2}, width=width, seed=seed)
    context = Context(load(runs), replicates=200)
    values = scaling.compute(context)
    fit = scaling.fits(values)["brc"]
    assert (fit.law, fit.slope) == ("log", pytest.approx(0.1))  # 0.2 a decade of width, of parameters half that
    assert fit.low < 0.1 < fit.high
    assert "brc: +0.100" in scaling.describe_fits(values)
    assert scaling.compute(context, "train_flops")["size"].tolist() == pytest.approx(
        [384 * width**2 * 4 * 500 for width in (10, 100, 1000)]  # of each update
    )


def test_ablations_change_one_setting_of_the_base(runs: Path, write_run):
    for number, settings in enumerate(
        ({}, {"value_loss": "squared"}, {"discount": 0.9}, {"value_loss": "squared", "discount": 0.9})
    ):
        write_run(
            {500: [0.1 * number, 0.1 * number]}, settings={"value_loss": "categorical"} | settings, name=str(number)
        )
    write_run({500: [0.9, 0.9]}, width=128, settings={"value_loss": "categorical"}, name="wide")
    loaded = load(runs)
    values = ablation.compute(Context(loaded))
    assert dict(zip(values["change"], values["value"], strict=True)) == pytest.approx(
        {"base": 0.0, "agent.value_loss=squared": 0.1, "agent.discount=0.9": 0.2}
    )


def test_transfer_is_of_benchmarks_of_held_out_tasks(runs: Path, write_run):
    write_run({0: [0.1, 0.1]}, benchmark="hard")
    write_run({0: [0.1, 0.1]}, benchmark="hard_transfer")
    drawn = {name: len([*transfer.figures(part)]) for name, part in Context(load(runs)).benchmarks.items()}
    assert drawn == {"hard": 0, "hard_transfer": 1}


def write_embedding(run: Path, env_steps: int, table: np.ndarray) -> None:
    folder = run / layout.CHECKPOINTS / f"step-{env_steps:09d}"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "state.npz", **{layout.TASK_EMBEDDING: table, "other": np.zeros(3)})


def test_embedding_map_is_of_the_newest_whole_checkpoint_of_the_largest_run(runs: Path, write_run):
    write_run({500: [0.1, 0.1, 0.1]}, tasks=TASKS, width=64)
    run = write_run({500: [0.1, 0.1, 0.1]}, tasks=TASKS, width=128)
    # Unit length 3-vectors after division by the norm: two alike and one apart.
    table = np.array([[2.0, 0, 0], [5.0, 0, 0], [0, 1.0, 0]])
    write_embedding(run, 500, table)
    broken = run / layout.CHECKPOINTS / "step-000000900"
    broken.mkdir()
    (broken / "state.npz").write_bytes(b"PK\x03\x04 cut short")
    values = embedding.compute(Context(load(runs))).set_index("task")
    assert set(values["run"]) == {run.name}
    assert set(values["env_steps"]) == {500}
    assert values.loc[TASKS[0], ["x", "y"]].tolist() == pytest.approx(values.loc[TASKS[1], ["x", "y"]].tolist())
    distance = np.linalg.norm(
        values.loc[TASKS[0], ["x", "y"]].astype(float) - values.loc[TASKS[2], ["x", "y"]].astype(float)
    )
    assert distance == pytest.approx(np.sqrt(2))
    assert values["explained_x"].iloc[0] == pytest.approx(1.0)


@pytest.mark.parametrize("table", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones((2, 4)), np.ones(3)], ids=str)
def test_embeddings_that_cannot_be_drawn_are_not(runs: Path, write_run, table: np.ndarray):
    write_embedding(write_run({500: [0.1, 0.1, 0.1]}, tasks=TASKS), 500, table)
    assert embedding.compute(Context(load(runs))).empty


def test_interference_is_what_learning_together_costs(runs: Path, write_run):
    write_modes(write_run)
    values = interference.compute(Context(load(runs)))
    at_end_of_training = values.loc[values["column"] == 1000].set_index("row")["value"]
    assert at_end_of_training.to_dict() == pytest.approx({TASKS[0]: 0.2, TASKS[1]: 0.0, TASKS[2]: -0.1})


def test_curves_of_many_tasks_still_fit_a_page(runs: Path, write_run):
    tasks = tuple(f"dmc/task-{number}" for number in range(50))
    write_run({at: list(np.linspace(0, 1, 50)) for at in (0, 500)}, tasks=tasks)
    width, height = learning_curves.figure_size(learning_curves.compute(Context(load(runs))))
    assert width <= 8
    assert height < 12


def test_every_figure_can_be_drawn_and_says_what_it_is_of(runs: Path, write_run):
    write_modes(write_run)
    for width in (128, 256):
        run = write_run({500: [0.3, 0.3, 0.3], 1000: [0.6, 0.4, 0.2]}, width=width, tasks=TASKS)
    write_embedding(run, 1000, np.eye(3))
    write_run({500: [0.5] * 3, 1000: [0.1] * 3}, tasks=TASKS, settings={"value_loss": "squared"}, name="ablated")
    write_run({500: [0.5] * 3, 1000: [0.1] * 3}, tasks=TASKS, benchmark="toy_transfer")
    loaded = load(runs)
    plots = [*figures.figures(Context(loaded, replicates=20))]
    plots += [plot for part in Context(loaded, replicates=20).benchmarks.values() for plot in figures.figures(part)]
    assert {plot.name.split("-")[0] for plot in plots} == {
        *("overall", "modes", "learning_curves", "aggregate", "final", "profile", "improvement", "efficiency"),
        *("differences", "scaling", "scaling_compute", "ablation", "transfer", "embedding", "interference"),
    }
    with style.look():
        for plot in plots:
            figure = style.new_figure(*plot.size_in)
            plot.draw(plot.values, figure)
            figure.draw_without_rendering()
            assert figure.axes
            assert len(plot.values) > 0
            assert "seed" in plot.caption or "benchmark" in plot.caption, plot.name
            assert "task" in plot.caption or "benchmark" in plot.caption, plot.name


def test_captions_name_what_is_left_out(runs: Path, write_run):
    write_run({0: [0.1, 0.1], 500: [0.2, 0.2], 1000: [0.3, 0.3]}, seed=0)
    write_run({0: [0.1, 0.1], 500: [0.2, 0.2]}, seed=1)
    write_run({}, seed=2, name="waiting")
    captions = {
        plot.name: plot.caption for plot in figures.figures(Context(load(runs), replicates=20).benchmarks["toy"])
    }
    for name in ("aggregate", "final", "profile"):
        assert "averages up to env step 500" in captions[name]
        assert "1 run or curve could not be used." in captions[name]
    assert "2 tasks and 2 seeds" in captions["aggregate"]
    assert "95% stratified-bootstrap interval" in captions["aggregate"]


def test_task_without_a_score_is_named_in_the_caption(runs: Path, write_run):
    write_run({0: [0.1, 0.2]})
    loaded = load(runs)
    loaded.table.loc[loaded.table["task"] == "dmc/b-run", "score"] = float("nan")
    assert scored(loaded.table).left_out == ["toy: dmc/b-run has no score to average"]
    captions = {plot.name: plot.caption for plot in figures.figures(Context(loaded, replicates=20).benchmarks["toy"])}
    assert "dmc/b-run has no score to average" in captions["aggregate"]


def test_tables_of_figures_are_numbers_for_a_spreadsheet(runs: Path, write_run, tmp_path: Path):
    write_run({0: [0.1, 0.2], 500: [0.3, 0.4]})
    (plot, *_) = figures.figures(Context(load(runs), replicates=20).benchmarks["toy"])
    plot.values.to_csv(tmp_path / "values.csv", index=False)
    back = pd.read_csv(tmp_path / "values.csv")
    assert back["mean"].tolist() == pytest.approx([100, 200, 300, 400])
