"""Statistics of scores over few runs. Agarwal et al. 2021 (arXiv:2108.13264). `S` seeds, `T` tasks, `P` points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CONFIDENCE = 0.95


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean: the mean of the middle half of all runs' scores on all tasks.

    Agarwal et al. 2021, section 4.3 (arXiv:2108.13264). As there, of `n = S T` values the lowest and the highest
    `floor(n / 4)` are dropped.

    Args:
      scores: `[..., S, T]`.
    Returns:
      `[...]`; NaN where a score is NaN, which sorting would otherwise take for a high one.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim < 2 or scores.shape[-1] * scores.shape[-2] == 0:
        raise ValueError(f"scores must be [..., S, T] with S and T above 0, not {list(scores.shape)}")
    values = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    count = values.shape[-1]
    cut = count // 4
    # NaN sorts to the end, where it would be cut off.
    return np.where(np.isnan(values[..., -1]), np.nan, values[..., cut : count - cut].mean(axis=-1))


def stratified_bootstrap(
    scores: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    replicates: int = 2000,
    confidence: float = CONFIDENCE,
) -> np.ndarray:
    """Percentile interval of a statistic over resampled seeds.

    Agarwal et al. 2021, section 4.1 (arXiv:2108.13264): in each replicate, `S` seeds are drawn with replacement for
    each task independently. Every point sees the same draws, so an interval along a curve is one of whole runs. With
    one seed all replicates are equal and the interval has no width: it then says nothing about seeds.

    Args:
      scores: `[S, T]` or, for several points, `[P, S, T]`.
      statistic: `[R, S, T]` -> `[R]`.
      rng: the only source of randomness.
      replicates: `R`.
      confidence: the probability that the interval covers, in (0, 1).
    Returns:
      `[2]` or `[P, 2]`: lower and upper end.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim not in (2, 3):
        raise ValueError(f"scores must be [S, T] or [P, S, T], not {list(scores.shape)}")
    if replicates < 1 or not 0 < confidence < 1:
        raise ValueError(f"replicates={replicates} must be above 0, confidence={confidence} in (0, 1)")
    seeds, tasks = scores.shape[-2:]
    drawn = rng.integers(seeds, size=(replicates, seeds, tasks))
    percent = 50 * (1 - confidence), 50 * (1 + confidence)
    points = scores.reshape(-1, seeds, tasks)
    # Point by point: all at once would hold P R S T numbers.
    ends = [np.percentile(statistic(point[drawn, np.arange(tasks)]), percent) for point in points]
    return np.reshape(ends, (*scores.shape[:-2], 2))
