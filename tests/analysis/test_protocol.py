"""How scores were measured stands below every figure and in every csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import figures
from analysis.context import Context
from analysis.import_reference import overlay
from analysis.load import load
from analysis.protocol import COLUMN, RELEASE, protocol_of, sentence
from analysis.report import main
from conf import identity
from conf.compose import compose
from tests.analysis.test_published import write_curves

FRESH = "goals fresh, success any step, checkpoint last, action repeat 1, episodes 10, actions deterministic"


def of(*overrides: str):
    return protocol_of(identity.flat(identity.values_of(compose(overrides))))


def test_the_protocol_follows_from_what_a_run_recorded():
    assert sentence([of("benchmark=metaworld")]) == f"Protocol: {FRESH}."
    fixed = of("benchmark=metaworld", "env.metaworld.goal_sampling=fixed")
    assert fixed == of("benchmark=metaworld")._replace(goals="fixed")
    assert of("benchmark=dmc_dogs", "env.metaworld.goal_sampling=fixed").goals == "fresh"  # which has no such goals
    assert of("benchmark=atari").action_repeat == "4"
    cut = of("benchmark=dmc_dogs", "eval.max_episode_steps=50", "eval.episodes=2")
    assert cut.episodes == "2 of at most 50 steps"


def test_what_is_not_the_same_for_all_is_said_to_be_mixed():
    fixed = of("benchmark=metaworld", "env.metaworld.goal_sampling=fixed", "eval.episodes=3")
    assert sentence([of("benchmark=metaworld"), fixed, fixed]) == (
        "Protocol: goals mixed (fixed, fresh), success any step, checkpoint last, action repeat 1, "
        "episodes mixed (10, 3), actions deterministic."
    )
    assert "goals unknown, success any step" in sentence([RELEASE])


def test_every_caption_and_every_csv_has_the_protocol_of_what_it_shows(runs: Path, tmp_path: Path, write_run):
    for seed in range(2):
        write_run({0: [0.1, 0.2], 500: [0.3 + seed / 10, 0.4]}, seed=seed)
    assert main([str(runs), "--out", str(tmp_path / "out"), "--replicates", "20"]) == 0
    tables = sorted((tmp_path / "out").glob("*.csv"))
    assert {"claims.csv", "runs.csv", "aggregate.csv", "learning_curves.csv"} <= {path.name for path in tables}
    expected = f"Protocol: {FRESH.replace('10', 'unknown')}."
    for path in tables:
        assert set(pd.read_csv(path)[COLUMN]) == {expected}, path.name
    for plot in figures.figures(Context(load(runs), replicates=20).benchmarks["toy"]):
        assert expected in plot.caption, plot.name


def test_each_row_of_a_csv_has_the_protocol_of_its_own_variant(tmp_path: Path, runs: Path, write_run):
    curves = write_curves(tmp_path / "curves.csv", "dmc_hard", ["dog-run", "dog-walk"])
    write_run({50_000: [0.1] * 2}, benchmark="dmc_hard", tasks=("dmc/dog-walk", "dmc/dog-run"))
    context = Context(overlay(load(runs), load(curves)), replicates=20).benchmarks["dmc_hard"]
    plot = next(one for one in figures.figures(context) if one.name == "learning_curves")
    by_variant = plot.csv.groupby("variant")[COLUMN].agg(set).to_dict()
    assert by_variant["BRC (published)"] == {sentence([RELEASE])}
    assert "goals mixed (fresh, unknown)" in plot.caption
    assert all("goals fresh" in one for one in by_variant["brc w64"])
