"""Figures of conflicting gradients, from measurements of our choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis import style
from analysis.context import Context
from analysis.load import load
from analysis.plots import conflict
from records.interference import Interference, place, write_interference


def measurement(run: Path, env_steps: int, cosine: float) -> None:
    matrix = np.array([[1, cosine], [cosine, 1]])
    ones = np.ones(2)
    write_interference(run, Interference(env_steps, 0, ("dmc/a-walk", "dmc/b-run"), matrix, ones, ones, ones, ones))


def test_conflict_rate_is_the_mean_over_seeds_and_maps_are_of_the_last_common_step(runs: Path, write_run):
    for width in (64, 128):
        for seed, cosine in ((0, -0.5), (1, 0.3)):
            run = write_run({0: [0.1, 0.2], 100: [0.3, 0.4]}, width=width, seed=seed)
            measurement(run, 50, 0.9)
            measurement(run, 100, cosine)
    measurement(run, 150, 0.1)  # only one seed is so far
    damaged = write_run({0: [0.1, 0.2]}, width=32)
    measurement(damaged, 50, 0.9)
    place(damaged, 50).write_bytes(b"PK")
    context = Context(load(runs, cache=False), "toy")
    found = conflict.measured(context)
    rates = conflict.compute(context, found)
    wide = rates.loc[rates["width"] == 128]
    assert wide[["env_steps", "value", "seeds"]].to_numpy().tolist() == [[50, 0, 2], [100, 0.5, 2], [150, 0, 1]]
    assert set(rates["width"]) == {64, 128}
    pairs = conflict.cosines(context, found)
    of_pair = pairs.loc[(pairs["task"] == "dmc/a-walk") & (pairs["other"] == "dmc/b-run")]
    assert of_pair["value"].tolist() == pytest.approx([-0.1, -0.1])
    assert set(of_pair["env_steps"]) == {100}
    plots = list(conflict.figures(context))
    assert [plot.name for plot in plots] == ["conflict", "gradients", "gradients-2"]
    for plot in plots:
        plot.draw(plot.values, style.new_figure(*plot.size_in))
