"""What transfer saves and what it forgets, on runs whose numbers are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.context import Context
from analysis.load import load
from analysis.plots import transfer
from records import layout

SCRATCH = {0: [0.0, 0.0], 100: [0.2, 0.2], 200: [0.4, 0.4], 300: [0.8, 0.8]}
TRANSFER = {0: [0.2, 0.2], 100: [0.5, 0.5], 200: [0.6, 0.6], 300: [0.6, 0.6]}


def begin_from_another(run_dir: Path, seed: int) -> None:
    """Say in a run's record that the run began with another one's networks."""
    manifest = json.loads((run_dir / layout.MANIFEST).read_text())
    manifest["identity_values"] |= {
        "source": {"kind": "transfer", "identity": f"of seed {seed}", "env_steps": 500, "setting": "ab"},
        "init": {"new_rows": "mean"},
    }
    (run_dir / layout.MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture
def context(runs: Path, write_run) -> Context:
    for seed in range(2):
        write_run(SCRATCH, seed=seed)
        run = write_run(TRANSFER, seed=seed, name=f"transfer-s{seed}")
        begin_from_another(run, seed)
        with (run / layout.METRICS).open("a") as file:
            for env_steps, value in ((0, 0.9), (300, 0.5 + 0.1 * seed)):
                row = {
                    "env_steps": env_steps,
                    "update_steps": 0,
                    "name": "old/score",
                    "task": "dmc/old",
                    "value": value,
                }
                file.write(json.dumps(row) + "\n")
    return Context(load(runs, cache=False), "toy", replicates=20)


def test_runs_of_seeds_of_one_source_are_seeds_of_one_another(context: Context):
    assert sorted(context.runs.groupby("variant")["seed"].count()) == [2, 2]


def test_steps_to_a_level_are_compared_with_those_of_the_run_from_scratch(context: Context):
    ratios = transfer.compute(context)
    # Levels 0.2, 0.4, 0.6 and 0.8: from scratch after 100, 200, between 200 and 300, 300 steps.
    assert ratios["level"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert ratios["value"].tolist()[0] == np.inf
    assert 1 < ratios["value"].tolist()[1] < np.inf
    assert ratios["value"].tolist()[3] == 0
    assert set(ratios["seeds"]) == {2}


def test_what_is_forgotten_is_the_change_of_the_old_tasks_mean_over_seeds(context: Context):
    old = transfer.old_scores(context)
    assert old[["env_steps", "value", "change", "seeds"]].to_numpy().tolist() == [
        [0, 0.9, 0, 2],
        [300, pytest.approx(0.55), pytest.approx(-0.35), 2],
    ]
    assert "-0.350" in transfer.old_caption(old)


def test_a_ratio_of_nothing_to_nothing_or_of_never_to_never_is_one():
    steps = np.array([0, np.inf, 100, 100, 0])
    assert transfer.ratio(steps, np.array([0, np.inf, 50, np.inf, 10])).tolist() == [1, 1, 2, 0, 0]


def test_every_figure_is_named_and_drawn(context: Context):
    plots = list(transfer.figures(context))
    assert [plot.name for plot in plots] == ["transfer", "transfer_steps", "transfer_old"]
    from analysis import style

    for plot in plots:
        plot.draw(plot.values, style.new_figure(*plot.size_in))
