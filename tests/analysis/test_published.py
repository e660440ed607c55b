"""The published curves give the published numbers, in time, and the page works in a browser."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import figures, stats
from analysis.context import Context
from analysis.import_reference import main as import_main
from analysis.import_reference import overlay
from analysis.load import load
from analysis.plots import final
from analysis.report import gather
from analysis.select import common_steps, points, scored
from tests.analysis.reference import CURVES, SUMMARY, needs_reference

BUDGET_S = 60
MODES = {"multitask": "BRC (published)", "singletask": "BRC (published) single-task"}
RLIABLE = ("rliable==1.2.0", "arch==7.2.0", "pandas==2.3.3", "numpy==2.4.6", "scipy==1.17.1")
SPEED_UP = 20


@needs_reference
def test_published_aggregates_are_reproduced():
    table = common_steps(scored(load(CURVES).table).table).table
    by_variant = {key: points(rows) for key, rows in table.groupby(["benchmark", "variant"])}
    for row in pd.read_csv(SUMMARY).itertuples():
        found = by_variant[row.benchmark, MODES[row.mode]]
        values, strata = found.values[row.eval_index - 1 : row.eval_index], found.strata
        assert (strata.sizes == row.seeds).all()
        assert len(found.tasks) == row.tasks
        assert stats.iqm(values, strata.once(), strata)[0, 0] == pytest.approx(row.iqm_normalised, abs=1e-3)
        assert stats.mean(values, strata.once(), strata)[0, 0] == pytest.approx(row.mean_normalised, abs=1e-3)


@needs_reference
def test_final_scores_of_the_report_are_the_published_ones():
    published = pd.read_csv(SUMMARY).sort_values("eval_index").groupby(["benchmark", "mode"]).last()
    values = final.iqms(final.compute(Context(load(CURVES), replicates=50))).set_index(["benchmark", "variant"])[
        "value"
    ]
    assert len(values) == len(published) == 10
    for (benchmark, mode), iqm in published["iqm_normalised"].to_dict().items():
        assert float(values.loc[(benchmark, MODES[mode])]) == pytest.approx(iqm, abs=1e-3)


@needs_reference
def test_published_curves_lie_over_runs_of_the_same_tasks(runs: Path, write_run):
    write_run({0: [0.1], 50_000: [0.2]}, benchmark="dmc_hard", tasks=("dmc/dog-run",))
    both = overlay(load(runs), load(CURVES))
    assert set(both.table["benchmark"]) == {"dmc_hard"}
    shared = both.table.loc[(both.table["task"] == "dmc/dog-run") & (both.table["env_steps"] == 50_000)]
    assert set(shared["variant"]) == {"brc w64 single-task", *MODES.values()}


def write_curves(path: Path, benchmark: str, tasks: Sequence[str]) -> Path:
    rows = [(benchmark, "multitask", task, 0, point, 100.0 * point) for task in tasks for point in (1, 2)]
    pd.DataFrame(rows, columns=["benchmark", "mode", "task", "seed", "eval_index", "score"]).to_csv(path, index=False)
    return path


def test_published_curves_lie_over_a_part_of_their_benchmark_and_say_how_far_apart_their_points_are(
    tmp_path: Path, runs: Path, write_run
):
    curves = write_curves(tmp_path / "curves.csv", "dmc_hard", ["dog-run", "dog-walk", "humanoid-run"])
    write_run({25_000: [0.1] * 2}, benchmark="dmc_dogs", tasks=("dmc/dog-walk", "dmc/dog-run"))
    for spacing, steps in ((None, [50_000, 100_000]), (25_000, [25_000, 50_000])):
        found = gather(str(runs), [curves], None, spacing)
        published = found.table.loc[found.table["agent"] == "BRC (published)"]
        assert set(published["task"]) == {"dmc/dog-walk", "dmc/dog-run"}
        assert sorted(set(published["env_steps"])) == steps
        assert {remark.benchmark for remark in found.remarks} == {"dmc_dogs"}
        context = Context(found).benchmarks["dmc_dogs"]
        caption = next(plot.caption for plot in figures.figures(context) if plot.name == "learning_curves")
        assert f"Published points are taken to lie {steps[0]:,} env steps apart, which is not certain" in caption
        assert "Published curves are those of dmc_hard, narrowed to these tasks." in caption


def test_points_that_say_themselves_how_far_apart_they_are_stay_there(tmp_path: Path):
    curves = write_curves(tmp_path / "curves.csv", "shadowhand", ["hammer"])
    assert sorted(load(curves, spacing=25_000).table["env_steps"]) == [2_000, 4_000]


def test_authors_folders_are_the_same_table_as_the_csv(tmp_path: Path, capsys: pytest.CaptureFixture):
    rng = np.random.default_rng(0)
    rows = []
    for folder, benchmark, task in (
        ("dmc", "dmc_hard", "dog-run"),
        ("humanoidbench", "humanoidbench_medium", "h1-walk-v0"),
        ("metaworld", "metaworld", "hammer-v2-goal-observable"),
    ):
        for mode, seeds in (("multitask", 5), ("singletask", 3)):
            values = rng.uniform(size=(seeds, 20))
            path = tmp_path / "results" / folder / f"BRC_{mode}" / f"{task}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values if mode == "multitask" else values.T)
            rows += [
                (benchmark, mode, task, seed, point + 1, values[seed, point])
                for seed in range(seeds)
                for point in range(20)
            ]
    columns = ["benchmark", "mode", "task", "seed", "eval_index", "score"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "curves.csv", index=False)
    order = ["benchmark", "task", "variant", "seed", "env_steps"]
    tables = [
        load(tmp_path / source).table.sort_values(order, ignore_index=True) for source in ("results", "curves.csv")
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert set(tables[0]["task"]) == {"dmc/dog-run", "humanoidbench/h1-walk", "metaworld/hammer"}
    assert import_main([str(tmp_path / "results"), "--out", str(tmp_path / "out.csv")]) == 0
    assert "metaworld, BRC (published) single-task: 1 tasks, 3 seeds, 1,000,000 env steps" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "out.csv")) == len(rows)


def cpu_of_children_s() -> float:
    """CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(scope="module")
def published_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a whole report on the published curves, by the command; checks the time that it takes.

    The seconds of its processes on all cores together, since other work on the machine stretches only the wall's.
    """
    out = tmp_path_factory.mktemp("published")
    began, cpu_began = time.perf_counter(), cpu_of_children_s()
    command = [sys.executable, "-m", "analysis.report", str(CURVES), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    seconds, cpu_s = time.perf_counter() - began, cpu_of_children_s() - cpu_began
    assert result.returncode == 0, result.stderr
    print(f"report on the published curves: {seconds:.1f} s, {cpu_s:.1f} s of CPU")
    assert min(seconds, cpu_s) < BUDGET_S
    return out / "index.html"


@needs_reference
@pytest.mark.slow
def test_report_on_all_published_curves_is_quick_and_works_in_a_browser(published_page: Path, tmp_path: Path):
    from tests.analysis.browser import opened

    with opened(published_page) as page:
        assert page.locator("figure").count() > 40
        assert page.locator("#task-table tbody tr").count() == 2 * 179
        assert "dmc_hard" in page.locator("#summary").inner_text()
        page.screenshot(path=tmp_path / "page.png")
        assert page.problems == []


ORACLE = """
import json, sys, time
import numpy as np
from rliable import library, metrics
scores = {name: np.asarray(values) for name, values in json.load(open(sys.argv[1])).items()}
replicates = int(sys.argv[2])
np.random.seed(0)
found = {}
for name, values in scores.items():
    of = {
        "iqm": metrics.aggregate_iqm, "mean": metrics.aggregate_mean, "median": metrics.aggregate_median,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
    found[name] = {key: float(function(values)) for key, function in of.items()}
    began = time.perf_counter()
    statistic = lambda x: np.array([metrics.aggregate_iqm(x)])
    _, ends = library.get_interval_estimates({name: values}, statistic, reps=replicates)
    found[name]["seconds"] = time.perf_counter() - began
    found[name]["interval"] = ends[name].ravel().tolist()
    levels = np.linspace(0, 1, 11)
    profile, _ = library.create_performance_profile({name: values}, levels, reps=2)
    found[name]["profile"] = profile[name].tolist()
for one, other in (("a", "b"), ("dmc_hard multi", "dmc_hard single")):
    if one in scores:
        found[one]["improvement"] = float(metrics.probability_of_improvement(scores[one], scores[other]))
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def rliable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has rliable, in an environment of its own: it cannot be imported beside pandas 3."""
    folder = tmp_path_factory.mktemp("rliable")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", *RLIABLE]
    result = subprocess.run(install, capture_output=True, text=True)
    if result.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"rliable cannot be installed here: {result.stderr.strip().splitlines()[-1:]}")
    assert result.returncode == 0, result.stderr
    return python


@needs_reference
@pytest.mark.slow
def test_statistics_equal_rliables_and_are_much_faster(rliable: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    scores = {  # [seeds, tasks]
        "a": rng.normal(0.6, 0.3, size=(5, 9)),
        "b": np.round(rng.uniform(size=(5, 9)), 1),  # with ties
        "many": rng.uniform(size=(10, 26)),
    }
    table = common_steps(scored(load(CURVES).table).table).table
    for benchmark, variant, name in (
        ("dmc_hard", MODES["multitask"], "dmc_hard multi"),
        ("dmc_hard", MODES["singletask"], "dmc_hard single"),
        ("humanoidbench_hard", MODES["multitask"], "humanoidbench_hard"),
        ("shadowhand", MODES["multitask"], "shadowhand"),
    ):
        found = points(table.loc[(table["benchmark"] == benchmark) & (table["variant"] == variant)])
        scores[name] = found.values[-1].reshape(len(found.tasks), -1).T
    (tmp_path / "scores.json").write_text(json.dumps({name: values.tolist() for name, values in scores.items()}))
    replicates = 2000
    command = [str(rliable), "-c", ORACLE, str(tmp_path / "scores.json"), str(replicates)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    oracle = json.loads(result.stdout)
    ours_s = theirs_s = 0.0
    for name, values in scores.items():
        seeds, tasks = values.shape
        strata, row = stats.Strata.full(seeds, tasks), values.T.reshape(1, -1)
        for key, statistic in stats.STATISTICS.items():
            assert statistic(row, strata.once(), strata)[0, 0] == pytest.approx(oracle[name][key], abs=1e-12), (
                name,
                key,
            )
        profile = stats.performance_profile(row[0], strata.once(), strata, np.linspace(0, 1, 11))[:, 0]
        np.testing.assert_allclose(profile, oracle[name]["profile"], atol=1e-12)
        began = time.perf_counter()
        found = stats.estimate(row, strata, stats.iqm, np.random.default_rng(0), replicates)
        ours_s += time.perf_counter() - began
        theirs_s += oracle[name]["seconds"]
        low, high = oracle[name]["interval"]
        # Two bootstraps of 2,000 replicates: the ends differ by a few hundredths of the width.
        assert found.low[0] == pytest.approx(low, abs=0.08 * (high - low) + 1e-9), name
        assert found.high[0] == pytest.approx(high, abs=0.08 * (high - low) + 1e-9), name
    for one, other in (("a", "b"), ("dmc_hard multi", "dmc_hard single")):
        strata = [stats.Strata.full(*scores[name].shape) for name in (one, other)]
        flat = [scores[name].T.ravel() for name in (one, other)]
        by_task = stats.improvement_by_task(flat[0], strata[0].once(), strata[0], flat[1], strata[1].once(), strata[1])
        assert by_task.mean() == pytest.approx(oracle[one]["improvement"], abs=1e-12)
    print(f"IQM intervals: rliable {theirs_s:.2f} s, ours {ours_s:.3f} s, {theirs_s / ours_s:.0f} times faster")
    assert theirs_s / ours_s > SPEED_UP
