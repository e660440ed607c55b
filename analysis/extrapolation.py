"""What a size that was not run would score: an interval from the sizes that were.

Nobody knows by which law scores follow size, least of all beyond the largest. So several laws are fitted, each has the
same weight, and the interval is that of all of them together: it widens where they part. Seeds are resampled at every
size, and the noise of measuring the new size with a few seeds is added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis.stats import MIN_SIZES, OPTIMUM, percentile_interval


class Forecast(NamedTuple):
    """What is expected of a size: the median, and the ends of the interval."""

    value: float
    low: float
    high: float


def forecast(
    sizes: np.ndarray, scores: np.ndarray, replicates: np.ndarray, seeds: int, at: float, rng: np.random.Generator
) -> Forecast | None:
    """Forecast the score that a size would be measured to have, with as many seeds as the others.

    Args:
      sizes: `[K]`, above 0, such as widths.
      scores: `[K]`.
      replicates: `[K, R]`, bootstrap replicates of the scores over seeds, independent for each size.
      seeds: the smallest number of seeds of a task and size.
      at: the size to forecast, above 0.
      rng: draws the laws.
    Returns:
      The forecast; None with fewer than `MIN_SIZES` sizes or two seeds.
    """
    if len(np.unique(sizes)) < MIN_SIZES or seeds < 2:
        return None
    order = np.argsort(sizes)
    x, target = np.log(np.asarray(sizes, float)[order]), np.log(at)
    # Drawing from n seeds varies less than drawing from all that there could be, by this factor.
    noise = np.sqrt(seeds / (seeds - 1)) * (replicates - scores[:, None])[order]
    y = scores[order, None] + noise
    first, *others = np.argsort(np.abs(x - target), kind="stable")
    two = [first, next(one for one in others if x[one] != x[first])]
    laws = np.stack([y[first], _line(x, y, target), _line(x[two], y[two], target), _power(x, y, target)])
    drawn = laws[rng.integers(len(laws), size=y.shape[1]), np.arange(y.shape[1])]
    measured = drawn + rng.permutation(noise[first])
    low, high = percentile_interval(measured)
    return Forecast(float(np.median(measured)), float(low), float(high))


def _line(x: np.ndarray, y: np.ndarray, target: float) -> np.ndarray:
    """The values `[R]` at `target` of the lines that fit `y` `[K, R]` over `x` `[K]` best."""
    centred = x - x.mean()
    return y.mean(axis=0) + centred @ y / (centred @ centred) * (target - x.mean())


def _power(x: np.ndarray, y: np.ndarray, target: float) -> np.ndarray:
    """The same of power laws of what is missing to the best score; of lines where a score is the best or above."""
    below = (y < OPTIMUM).all(axis=0)
    missing = np.log(np.where(below, OPTIMUM - y, 1.0))
    return np.where(below, OPTIMUM - np.exp(_line(x, missing, target)), _line(x, y, target))
