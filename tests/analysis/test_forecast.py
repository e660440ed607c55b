"""A forecast holds what its laws say, widens with distance and noise, and says what it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis.context import Context
from analysis.extrapolation import Forecast, forecast
from analysis.forecast import main
from analysis.load import load
from analysis.plots import scaling
from records.layout import ExitCode

SIZES = np.array([128.0, 32.0, 64.0])  # in any order


def made(scores: np.ndarray, at: float, noise: float = 0.0, seeds: int = 5) -> Forecast:
    rng = np.random.default_rng(0)
    found = forecast(SIZES, scores, scores[:, None] + noise * rng.normal(size=(3, 2000)), seeds, at, rng)
    assert found is not None
    return found


def test_a_forecast_spans_its_laws_and_widens_with_distance_and_noise():
    assert made(np.full(3, 0.4), 256) == pytest.approx((0.4, 0.4, 0.4))
    rising = 0.1 * np.log2(SIZES / 16)  # 0.1 at 32, 0.3 at 128
    near, far = made(rising, 256), made(rising, 1024)
    assert (near.low, near.high) == pytest.approx((0.3, 0.4))  # no more than the largest, or one step more
    assert (far.low, far.high) == pytest.approx((0.3, 0.6))
    assert near.low < made(rising, 64.0).value + 0.2 < near.high + 0.1
    noisy, few = made(rising, 256, noise=0.05), made(rising, 256, noise=0.05, seeds=2)
    assert few.low < noisy.low < near.low
    assert few.high > noisy.high > near.high
    assert forecast(SIZES[:2], rising[:2], np.zeros((2, 5)), 5, 256, np.random.default_rng(0)) is None
    assert forecast(SIZES, rising, np.zeros((3, 5)), 1, 256, np.random.default_rng(0)) is None


def test_a_power_law_stays_below_the_best_score():
    scores = 1 - 2 / np.sqrt(SIZES)
    laws = made(scores, 4096)
    assert laws.low == pytest.approx(scores.max())
    expected = {scores.max(), 1 - 2 / np.sqrt(4096)}
    assert all(laws.low <= one <= laws.high for one in expected)


@pytest.fixture
def sizes(runs: Path, write_run) -> Path:
    for width in (32, 64, 128):
        for seed in range(3):
            score = 0.1 * np.log2(width / 16) + seed / 100
            write_run({0: [0.0, 0.0], 500: [score, score]}, width=width, seed=seed)
    return runs


def test_the_command_forecasts_and_names_what_it_lacks(sizes: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(sizes), "--width", "256,64"]) == ExitCode.DONE
    forecasted, known = capsys.readouterr().out.splitlines()
    assert "toy, brc at width 256: IQM 0.3" in forecasted
    assert "at 500 env steps, with 3 seeds, from widths 32, 64, 128" in forecasted
    assert known == "left out: toy, brc: width 64 was run; its IQM is 0.210"
    shutil.rmtree(sizes / "toy" / "brc-w128-d0.99-t2-s0")
    shutil.rmtree(sizes / "toy" / "brc-w128-d0.99-t2-s1")
    assert main([str(sizes), "--width", "256"]) == ExitCode.BAD_CONFIG
    assert "3 widths and 1 seeds, where a forecast needs 3 and 2" in capsys.readouterr().err
    assert main([str(sizes), "--width", "wide"]) == ExitCode.BAD_CONFIG


def test_the_scaling_figure_shows_what_the_next_size_is_expected_to_score(sizes: Path):
    values = scaling.compute(Context(load(sizes)))
    (expected,) = scaling.expected_next(values).itertuples(index=False)
    assert expected.next_size == 256**2
    assert expected.next_low < 0.31 < expected.next_value < 0.41 < expected.next_high
    assert f"brc: {expected.next_value:.3f}" in scaling.describe_next(values)
    figure = plt.figure()
    scaling.draw(values, figure)
    assert any(line.get_xdata().tolist() == [256**2] for line in figure.axes[0].lines)
    plt.close(figure)
