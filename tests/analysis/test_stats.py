from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean

from analysis.stats import iqm, stratified_bootstrap


def mean(scores: np.ndarray) -> np.ndarray:
    return scores.mean(axis=(-2, -1))


def test_iqm_equals_the_trimmed_mean_of_hand_made_numbers():
    # 8 values: the two lowest (0, 1) and the two highest (7, 100) go; (2 + 3 + 5 + 6) / 4 = 4.
    assert iqm(np.array([[7.0, 0, 3, 100], [2, 6, 1, 5]])) == 4.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3), (5, 7)])
def test_iqm_equals_scipys_trimmed_mean_at_sizes_that_four_does_not_divide(shape: tuple[int, int]):
    scores = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(iqm(scores), trim_mean(scores, 0.25, axis=None))


def test_iqm_of_points_is_the_iqm_of_each_point():
    scores = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_array_equal(iqm(scores), [iqm(point) for point in scores])


def test_iqm_does_not_trim_a_missing_score_away():
    assert np.isnan(iqm(np.array([[np.nan, 1.0, 2.0, 3.0]])))


def test_interval_is_reproducible_from_its_seed():
    scores = np.random.default_rng(0).normal(size=(4, 6, 5))
    intervals = [stratified_bootstrap(scores, iqm, np.random.default_rng(seed), 200) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(intervals[0], intervals[1])
    assert (intervals[0] != intervals[2]).any()


def test_interval_resamples_seeds_within_each_task_alone():
    # Seeds agree within each task, so nothing varies, though tasks differ; pooled resampling would give a width.
    scores = np.tile([0.0, 1.0, 5.0], (4, 1))
    np.testing.assert_array_equal(stratified_bootstrap(scores, mean, np.random.default_rng(0), 100), [2.0, 2.0])


def test_interval_draws_each_task_independently():
    # Seed 0 scores (0, 0), seed 1 scores (1, 1). Drawn independently, the mean is 0 in 1 of 16 replicates; drawn as
    # whole runs, in 1 of 4. At 80 % confidence only the latter puts the lower end at 0.
    scores = np.array([[0.0, 0.0], [1.0, 1.0]])
    low, high = stratified_bootstrap(scores, mean, np.random.default_rng(0), 4000, confidence=0.8)
    assert (low, high) == (0.25, 0.75)


def test_interval_covers_the_mean_of_normal_scores_as_theory_says():
    # 400 seeds of unit variance on one task: half-width 1.96 / sqrt(400) = 0.098.
    scores = np.random.default_rng(0).normal(size=(400, 1))
    low, high = stratified_bootstrap(scores, mean, np.random.default_rng(0), 2000)
    assert (high - low) / 2 == pytest.approx(0.098, rel=0.1)
    assert low < scores.mean() < high


def test_interval_of_points_is_the_interval_of_each_point():
    scores = np.random.default_rng(0).normal(size=(3, 4, 2))
    together = stratified_bootstrap(scores, iqm, np.random.default_rng(7), 100)
    apart = [stratified_bootstrap(point, iqm, np.random.default_rng(7), 100) for point in scores]
    np.testing.assert_array_equal(together, apart)


def test_interval_of_one_seed_has_no_width():
    low, high = stratified_bootstrap(np.array([[0.1, 0.9, 0.4]]), iqm, np.random.default_rng(0), 50)
    assert low == high
