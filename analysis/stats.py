"""Statistics of scores over few runs. Agarwal et al. 2021 (arXiv:2108.13264).

Scores of one variant are `values [P, N]`: `P` points (evaluations), `N` pairs of a task and a seed, where tasks may
have different numbers of seeds (`Strata`). A bootstrap replicate is a row of `counts [R, N]`: how often each pair was
drawn. Every statistic is a function of values and counts, so all replicates are computed at once; a point estimate is
the replicate that drew each pair once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy import special

CONFIDENCE = 0.95
REPLICATES = 2000
OPTIMUM = 1.0
"""The normalised score from which on the optimality gap is zero."""


@dataclass(frozen=True)
class Strata:
    """Which task each of `N` task-seed pairs is of: pairs of one task are neighbours.

    Attributes:
      sizes: `[T]`, the number of seeds of each task.
    """

    sizes: np.ndarray

    @classmethod
    def full(cls, seeds: int, tasks: int) -> Strata:
        """Every task with the same number of seeds."""
        return cls(np.full(tasks, seeds))

    @property
    def starts(self) -> np.ndarray:
        """`[T]`, the position of each task's first pair."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    @property
    def tasks(self) -> np.ndarray:
        """`[N]`, the number of each pair's task."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def once(self) -> np.ndarray:
        """Counts `[1, N]` of the sample itself."""
        return np.ones((1, int(self.sizes.sum())), np.uint8)

    def resampled(self, rng: np.random.Generator, replicates: int = REPLICATES) -> np.ndarray:
        """Counts `[R, N]` of a stratified bootstrap: each task's seeds are drawn with replacement, independently.

        Agarwal et al. 2021, section 4.1. With one seed per task all replicates are the sample itself.

        Raises:
          ValueError: fewer than one replicate, or a task with more than 255 seeds.
        """
        if replicates < 1 or self.sizes.max() > np.iinfo(np.uint8).max:
            raise ValueError(f"replicates={replicates} must be above 0, seeds={self.sizes.max()} at most 255")
        total = int(self.sizes.sum())
        drawn = rng.integers(np.repeat(self.sizes, self.sizes), size=(replicates, total), dtype=np.int64)
        drawn += np.repeat(self.starts, self.sizes) + total * np.arange(replicates)[:, None]
        return np.bincount(drawn.ravel(), minlength=replicates * total).reshape(replicates, total).astype(np.uint8)


class Statistic(Protocol):
    """One number for each point and replicate: values `[P, N]`, counts `[R, N]` -> `[P, R]`."""

    def __call__(self, values: np.ndarray, counts: np.ndarray, strata: Strata) -> np.ndarray: ...


def iqm(values: np.ndarray, counts: np.ndarray, strata: Strata) -> np.ndarray:
    """Interquartile mean: the mean of the middle half of all pairs' scores.

    Agarwal et al. 2021, section 4.3. As there, of `N` values the lowest and the highest `floor(N / 4)` are dropped.
    Values are sorted once, not once a replicate: a replicate's order is the same, only its counts differ.

    Returns:
      `[P, R]`; NaN at a point where a score is NaN, which sorting would otherwise take for a high one.
    """
    values = np.asarray(values, float)
    total = values.shape[-1]
    cut = total // 4
    by_pair = np.ascontiguousarray(counts.T).astype(np.int16 if total < 2**15 else np.int64)
    result = np.empty((len(values), len(counts)))
    for row, out in zip(values, result, strict=True):
        order = np.argsort(row, kind="stable")
        ordered = row[order]
        firsts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # equal values count together
        below = np.add.reduceat(by_pair[order], firsts, axis=0)  # [unique values, R]
        np.cumsum(below, axis=0, out=below)
        np.clip(below, cut, total - cut, out=below)
        kept = np.diff(below, axis=0, prepend=by_pair.dtype.type(cut))
        out[:] = ordered[firsts] @ kept / (total - 2 * cut)
        if np.isnan(row).any():
            out[:] = np.nan
    return result


def task_means(values: np.ndarray, counts: np.ndarray, strata: Strata) -> np.ndarray:
    """The mean over seeds of each task: `[P, R, T]`."""
    sums = [np.add.reduceat(row * counts, strata.starts, axis=1) / strata.sizes for row in np.asarray(values, float)]
    return np.stack(sums)


def mean(values: np.ndarray, counts: np.ndarray, strata: Strata) -> np.ndarray:
    """The mean over tasks of the mean over seeds."""
    weights = 1 / (np.repeat(strata.sizes, strata.sizes) * len(strata.sizes))
    return np.asarray(values, float) @ (counts * weights).T


def median(values: np.ndarray, counts: np.ndarray, strata: Strata) -> np.ndarray:
    """The median over tasks of the mean over seeds."""
    return np.stack([np.median(task_means(row[None], counts, strata)[0], axis=-1) for row in np.asarray(values, float)])


def optimality_gap(values: np.ndarray, counts: np.ndarray, strata: Strata) -> np.ndarray:
    """How far scores fall short of `OPTIMUM` on average; scores above it do not make up for others."""
    return OPTIMUM - mean(np.minimum(values, OPTIMUM), counts, strata)


STATISTICS: dict[str, Statistic] = {"iqm": iqm, "mean": mean, "median": median, "optimality_gap": optimality_gap}


class Estimate(NamedTuple):
    """Point estimates and the two ends of their intervals, each `[...]`; ends are NaN where nothing can vary."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def percentile_interval(replicates: np.ndarray, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of the interval that holds `confidence` of the replicates `[..., R]`.

    Raises:
      ValueError: confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must be in (0, 1)")
    low, high = np.percentile(replicates, [50 * (1 - confidence), 50 * (1 + confidence)], axis=-1)
    return low, high


def estimate(
    values: np.ndarray,
    strata: Strata,
    statistic: Statistic,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Computes a statistic at each point `[P]`, with its stratified-bootstrap interval over seeds.

    Every point sees the same draws, so an interval along a curve is one of whole runs. Where no task has two seeds
    nothing can be resampled, and the ends are NaN.

    Args:
      values: scores `[P, N]`.
      strata: which of the `N` scores are seeds of which task.
      statistic: one of `STATISTICS`.
      rng: draws the replicates.
      replicates: the number of bootstrap replicates.
      confidence: of the interval, in (0, 1).
    """
    value = statistic(values, strata.once(), strata)[:, 0]
    if strata.sizes.max() < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    spread = statistic(values, strata.resampled(rng, replicates), strata)
    return Estimate(value, *percentile_interval(spread, confidence))


def performance_profile(values: np.ndarray, counts: np.ndarray, strata: Strata, levels: np.ndarray) -> np.ndarray:
    """Computes the fraction of runs whose score is above each level, averaged over tasks, `[L, R]`.

    Agarwal et al. 2021, section 4.2 (score distributions).

    Args:
      values: scores `[N]`.
      counts: `[R, N]`, how often each replicate has each score.
      strata: which of the `N` scores are seeds of which task.
      levels: `[L]`.
    """
    return mean(values[None, :] > levels[:, None], counts, strata)


def improvement_by_task(
    a: np.ndarray, counts_a: np.ndarray, strata_a: Strata, b: np.ndarray, counts_b: np.ndarray, strata_b: Strata
) -> np.ndarray:
    """Computes P(a run of A scores above one of B) on each task, `[R, T]`; a tie counts half.

    Agarwal et al. 2021, section 4.3. The mean over tasks is the probability of improvement.

    Args:
      a, b: scores `[N_a]` and `[N_b]`.
      counts_a, counts_b: `[R, N_a]` and `[R, N_b]`, how often each replicate has each score.
      strata_a, strata_b: which scores are seeds of which task.
    Raises:
      ValueError: A and B have different numbers of tasks.
    """
    if len(strata_a.sizes) != len(strata_b.sizes):
        raise ValueError(f"A has {len(strata_a.sizes)} tasks, B has {len(strata_b.sizes)}")
    result = np.empty((len(counts_a), len(strata_a.sizes)))
    for task, (start_a, size_a, start_b, size_b) in enumerate(
        zip(strata_a.starts, strata_a.sizes, strata_b.starts, strata_b.sizes, strict=True)
    ):
        of_a, of_b = slice(start_a, start_a + size_a), slice(start_b, start_b + size_b)
        higher = (np.sign(a[of_a, None] - b[None, of_b]) + 1) / 2
        result[:, task] = ((counts_a[:, of_a] @ higher) * counts_b[:, of_b]).sum(axis=1) / (size_a * size_b)
    return result


def steps_to(curves: np.ndarray, env_steps: np.ndarray, level: float) -> np.ndarray:
    """The first env step at which a curve is at or above a level: curves `[P, R]` -> `[R]`, infinite where never."""
    reached = curves >= level
    return np.where(reached.any(axis=0), env_steps[reached.argmax(axis=0)].astype(float), np.inf)


class Difference(NamedTuple):
    """A minus B on each task, each field `[T]`."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    flagged: np.ndarray
    """Whether the difference stands when all tasks are looked at together (Benjamini and Hochberg 1995)."""


def differences(
    a: np.ndarray, strata_a: Strata, b: np.ndarray, strata_b: Strata, confidence: float = CONFIDENCE
) -> Difference:
    """Computes the difference of means over seeds on each task.

    Welch's t-test and interval: a percentile bootstrap of three to five seeds is far too narrow for one task. Where
    no side has any spread (all seeds solve a task, or none does) p is the exact permutation test's and there is no
    interval. With one seed on a side there is no test at all: p is NaN. Tasks are flagged at a false-discovery rate
    of `1 - confidence` over all tasks that have a test.

    Args:
      a, b: scores `[N_a]` and `[N_b]`.
      strata_a, strata_b: which scores are seeds of which task.
      confidence: of the intervals, in (0, 1).
    Raises:
      ValueError: A and B have different numbers of tasks.
    """
    if len(strata_a.sizes) != len(strata_b.sizes):
        raise ValueError(f"A has {len(strata_a.sizes)} tasks, B has {len(strata_b.sizes)}")
    (mean_a, error_a), (mean_b, error_b) = _mean_and_error(a, strata_a), _mean_and_error(b, strata_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(error_a + error_b)
        freedom = (error_a + error_b) ** 2 / (error_a**2 / (strata_a.sizes - 1) + error_b**2 / (strata_b.sizes - 1))
        value = mean_a - mean_b
        # Rounding leaves identical scores with a spread of the order of the last digit.
        error = np.where(error > 1e-9 * np.maximum(np.abs(mean_a), np.abs(mean_b)), error, np.nan)
        p = 2 * special.stdtr(freedom, -np.abs(value) / error)
    p = np.where((error_a + error_b >= 0) & np.isnan(error), _separated(value, strata_a.sizes, strata_b.sizes), p)
    half = special.stdtrit(freedom, (1 + confidence) / 2) * error
    return Difference(value, value - half, value + half, p, false_discovery(p, 1 - confidence))


def paired_differences(values: np.ndarray, strata: Strata, confidence: float = CONFIDENCE) -> Difference:
    """Computes the mean difference within pairs on each task, with its t-test, as `differences` of what is unpaired.

    Where all pairs of a task differ by the same, p is that of the exact test that flips signs.

    Args:
      values: `[N]`, each pair's difference.
      strata: which of them are seeds of which task.
      confidence: of the intervals, in (0, 1).
    """
    means, error = _mean_and_error(values, strata)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(error)
        error = np.where(error > 1e-9 * np.abs(means), error, np.where(np.isnan(error), np.nan, 0.0))
        p = np.where(error > 0, 2 * special.stdtr(strata.sizes - 1, -np.abs(means) / error), np.nan)
    same = error == 0
    p = np.where(same, np.where(means == 0, 1.0, 2.0 ** (1 - strata.sizes)), p)
    half = np.where(same, np.nan, special.stdtrit(strata.sizes - 1, (1 + confidence) / 2) * error)
    return Difference(means, means - half, means + half, p, false_discovery(p, 1 - confidence))


def _separated(value: np.ndarray, size_a: np.ndarray, size_b: np.ndarray) -> np.ndarray:
    """Permutation test of two samples without spread: only the observed split, or its mirror, is as extreme."""
    return np.where(value == 0, 1.0, (1 + (size_a == size_b)) / special.binom(size_a + size_b, size_a))


def _mean_and_error(values: np.ndarray, strata: Strata) -> tuple[np.ndarray, np.ndarray]:
    """Each task's mean and the squared standard error of it; NaN with one seed."""
    means = np.add.reduceat(values, strata.starts) / strata.sizes
    squares = np.add.reduceat((values - np.repeat(means, strata.sizes)) ** 2, strata.starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return means, np.where(strata.sizes > 1, squares / (strata.sizes - 1) / strata.sizes, np.nan)


def false_discovery(p: np.ndarray, rate: float = 1 - CONFIDENCE) -> np.ndarray:
    """Which of many p-values `[M]` to believe, so that of those at most `rate` are expected to be wrong.

    Benjamini and Hochberg 1995. NaN is no test: it neither counts nor is flagged.
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    passed = p[order] <= rate * np.arange(1, len(order) + 1) / max(len(order), 1)
    flagged = np.zeros(len(p), bool)
    flagged[order[: np.flatnonzero(passed).max(initial=-1) + 1]] = True
    return flagged


class Fit(NamedTuple):
    """A fitted law of the score over sizes."""

    law: str
    """"log": score = a + b log10(size); "power": 1 - score = c size^-b."""
    slope: float
    """`b`: score per decade of size, or the exponent."""
    low: float
    high: float
    intercept: float
    """`a`, or log10 of `c`."""
    residual: float
    """Root mean square of the scores' residuals."""

    def __call__(self, sizes: np.ndarray) -> np.ndarray:
        """The fitted score at each size."""
        if self.law == "log":
            return self.intercept + self.slope * np.log10(sizes)
        return 1 - 10 ** (self.intercept - self.slope * np.log10(sizes))


MIN_SIZES = 3
"""Two points lie on every line."""


def scaling_fit(sizes: np.ndarray, scores: np.ndarray, replicates: np.ndarray | None = None) -> Fit | None:
    """The law that describes scores best: linear in log size, or a power law of what is missing to 1.

    Args:
      sizes: `[K]`, above 0.
      scores: `[K]`.
      replicates: `[K, R]` bootstrap replicates of the scores, for the slope's interval; None: no interval.
    Returns:
      The fit of least squared error in the score; None with fewer than `MIN_SIZES` sizes. A power law is considered
      where all scores (and replicates) are below 1.
    """
    if len(np.unique(sizes)) < MIN_SIZES:
        return None
    spread = np.empty((len(sizes), 0)) if replicates is None else replicates
    fits = [_fit("log", sizes, scores, spread)]
    if scores.max() < OPTIMUM and spread.max(initial=0) < OPTIMUM:
        fits.append(_fit("power", sizes, scores, spread))
    return min(fits, key=lambda one: one.residual)


def _fit(law: str, sizes: np.ndarray, scores: np.ndarray, replicates: np.ndarray) -> Fit:
    x = np.log10(np.asarray(sizes, float))
    y = np.column_stack([scores, replicates])
    if law == "power":
        y = np.log10(OPTIMUM - y)
    centred = x - x.mean()
    slopes = centred @ (y - y.mean(axis=0)) / (centred @ centred)
    intercept = float(y[:, 0].mean() - slopes[0] * x.mean())
    sign = -1 if law == "power" else 1
    ends = percentile_interval(sign * slopes[1:]) if replicates.shape[1] else (np.nan, np.nan)
    fit = Fit(law, float(sign * slopes[0]), float(ends[0]), float(ends[1]), intercept, 0.0)
    return fit._replace(residual=float(np.sqrt(np.mean((fit(np.asarray(sizes, float)) - scores) ** 2))))


def mean_of_benchmarks(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One number over benchmarks, each of equal weight whatever its number of tasks: `B` arrays of one shape."""
    return np.mean(np.stack(parts), axis=0)
