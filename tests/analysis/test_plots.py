from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import captions, style
from analysis.context import Context
from analysis.load import load
from analysis.plots import aggregate, learning_curves, scaling
from analysis.select import at_end, common_steps, scored


def test_learning_curve_is_the_mean_over_seeds_of_each_task(runs: Path, write_run):
    write_run({0: [0.0, 0.1], 500: [0.2, 0.3]}, seed=0)
    write_run({0: [0.2, 0.1], 500: [0.6, 0.7]}, seed=1)
    curves = learning_curves.compute(Context(load(runs)))
    means = curves.drop_duplicates(["task", "env_steps"]).set_index(["task", "env_steps"])["mean"]
    assert means.to_dict() == pytest.approx(
        {("dmc/a-walk", 0): 100, ("dmc/b-run", 0): 100, ("dmc/a-walk", 500): 400, ("dmc/b-run", 500): 500}
    )
    assert set(curves["seeds"]) == {2}
    at_500 = curves.loc[(curves["task"] == "dmc/a-walk") & (curves["env_steps"] == 500)]
    assert at_500[["seed 0", "seed 1"]].to_numpy().tolist() == [[200, 600]]


def test_learning_curve_of_a_success_task_shows_success(runs: Path, write_run):
    write_run({0: [0.4, 0.8]}, score_metric="success")
    curves = learning_curves.compute(Context(load(runs)))
    assert curves["seed 0"].tolist() == [0.2, 0.4]
    assert set(curves["metric"]) == {"success"}


def test_averages_end_where_a_seed_has_not_arrived_and_say_so(runs: Path, write_run):
    write_run({0: [0.1, 0.1], 500: [0.2, 0.2], 1000: [0.9, 0.9]}, seed=0)
    write_run({0: [0.3, 0.3], 500: [0.4, 0.4]}, seed=1)
    context = Context(load(runs))
    table, curves = context.table, learning_curves.compute(context)
    beyond = curves[curves["env_steps"] == 1000]
    assert np.isnan(beyond["mean"]).all()
    assert set(beyond["seeds"]) == {0}
    assert aggregate.compute(context)["env_steps"].tolist() == [0, 500]
    assert common_steps(table).left_out == [
        "toy, brc w64: averages up to env step 500; evaluations that not all runs have reached: 1 of seed 0"
    ]


def test_seed_that_has_only_just_started_does_not_end_the_curve(runs: Path, write_run):
    write_run({0: [0.1, 0.1], 500: [0.2, 0.2]}, seed=0)
    write_run({0: [0.3, 0.3]}, seed=1)
    context = Context(load(runs))
    table, points = context.table, aggregate.compute(context)
    assert points[["env_steps", "value", "seeds"]].to_numpy().tolist() == [[0, 0.1, 1], [500, 0.2, 1]]
    assert common_steps(table).left_out == ["toy, brc w64: seed 1 is not averaged: no evaluation after env step 0 yet"]


def test_aggregate_is_the_iqm_over_seeds_and_tasks_with_an_interval(runs: Path, write_run):
    # At 500: values 0, .2, .4, .9; one of four is cut at each end, so (.2 + .4) / 2 = .3.
    write_run({0: [0.0, 0.0], 500: [0.2, 0.9]}, seed=0)
    write_run({0: [0.0, 0.0], 500: [0.0, 0.4]}, seed=1)
    points = aggregate.compute(Context(load(runs), replicates=500))
    assert points["value"].tolist() == pytest.approx([0.0, 0.3])
    start, end = points.iloc[0], points.iloc[1]
    assert (start["low"], start["high"]) == (0, 0)
    # The lowest replicate is {0, 0, .4, .4}: .2; the highest {.2, .2, .9, .9}: .55; each 1 in 16, so both in the tails.
    assert (end["low"], end["high"]) == pytest.approx((0.2, 0.55))
    assert (end["seeds"], end["tasks"]) == (2, 2)


def test_interval_does_not_depend_on_which_other_variants_there_are(runs: Path, write_run):
    for seed in range(3):
        write_run({0: [0.1 * seed, 0.3 * seed]}, seed=seed)
    alone = aggregate.compute(Context(load(runs), replicates=50))
    for seed in range(3):
        write_run({0: [0.2, 0.5 * seed]}, seed=seed, width=32)
    together = aggregate.compute(Context(load(runs), replicates=50))
    numbers = ["value", "low", "high"]
    assert (
        together.loc[together["variant"] == "brc w64", numbers].to_numpy().tolist()
        == alone[numbers].to_numpy().tolist()
    )


def test_one_seed_has_no_interval_and_the_caption_says_so(runs: Path, write_run):
    write_run({0: [0.1, 0.2]})
    points = aggregate.compute(Context(load(runs)))
    assert points[["low", "high"]].isna().all(axis=None)
    assert captions.iqm_over(points) == (
        "IQM over 2 tasks and 1 seed. No interval: one seed says nothing about the spread over seeds."
    )


def test_task_without_a_score_is_not_aggregated(runs: Path, write_run):
    write_run({0: [0.1, 0.2]})
    context = Context(load(runs))
    table = context.table
    table.loc[table["task"] == "dmc/b-run", "score"] = float("nan")
    assert aggregate.compute(context)["value"].tolist() == [0.1]
    assert scored(table).left_out == ["toy: dmc/b-run has no score to average"]


def test_scaling_compares_sizes_at_the_last_step_they_share(runs: Path, write_run):
    write_run({0: [0.0, 0.0], 500: [0.2, 0.4], 1000: [0.9, 0.9]}, width=64)
    write_run({0: [0.0, 0.0], 500: [0.5, 0.7]}, width=128)
    write_run({0: [0.0, 0.0]}, width=256)
    context = Context(load(runs))
    table, points = context.table, scaling.compute(context)
    assert points[["size", "env_steps"]].to_numpy().tolist() == [[64**2, 500], [128**2, 500]]
    assert points["value"].tolist() == pytest.approx([0.3, 0.6])
    assert at_end(common_steps(table).table).left_out == [
        "toy, brc w256: not compared: no evaluation after env step 0 yet",
        "toy, brc w64: compared at env step 500 of its 1,000",
    ]


def test_sizes_of_different_discounts_are_different_lines(runs: Path, write_run):
    for width in (64, 128):
        for discount in (0.9, 0.99):
            write_run({0: [0.1, 0.2]}, width=width, discount=discount)
    points = scaling.compute(Context(load(runs)))
    assert scaling.has_sizes(points)
    assert points.groupby("family")["size"].apply(list).to_dict() == {
        "brc discount=0.9": [64**2, 128**2],
        "brc discount=0.99": [64**2, 128**2],
    }


def test_drawn_lines_are_the_computed_numbers(runs: Path, write_run):
    for width in (64, 128):
        for seed in range(2):
            write_run({0: [0.0, 0.1], 500: [0.2 + seed / 10, 0.3]}, width=width, seed=seed)
    points = aggregate.compute(Context(load(runs), replicates=20))
    figure = style.new_figure(*aggregate.figure_size(points))
    aggregate.draw(points, figure)
    drawn = pd.concat(pd.DataFrame(line.get_xydata()) for line in figure.axes[0].lines)
    assert drawn.to_numpy().tolist() == points[["env_steps", "value"]].to_numpy().tolist()
