from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean, ttest_1samp, ttest_ind

from analysis import stats
from analysis.stats import Strata, estimate, iqm, mean


def one(values, strata: Strata, statistic=iqm) -> float:
    """A point estimate of one point."""
    return float(statistic(np.asarray(values, float)[None], strata.once(), strata)[0, 0])


def interval(values, strata: Strata, statistic=iqm, seed: int = 0, replicates: int = 2000, confidence: float = 0.95):
    """The ends of the interval of each point."""
    points = np.atleast_2d(np.asarray(values, float))
    found = estimate(points, strata, statistic, np.random.default_rng(seed), replicates, confidence)
    return np.stack([found.low, found.high], axis=-1)


def test_iqm_equals_the_trimmed_mean_of_hand_made_numbers():
    # 8 values: the two lowest (0, 1) and the two highest (7, 100) go; (2 + 3 + 5 + 6) / 4 = 4.
    assert one([7, 0, 3, 100, 2, 6, 1, 5], Strata.full(2, 4)) == 4.0


@pytest.mark.parametrize(("seeds", "tasks"), [(1, 1), (1, 3), (2, 3), (5, 7), (3, 85)])
def test_iqm_equals_scipys_trimmed_mean_at_sizes_that_four_does_not_divide(seeds: int, tasks: int):
    values = np.random.default_rng(0).normal(size=seeds * tasks)
    assert one(values, Strata.full(seeds, tasks)) == pytest.approx(trim_mean(values, 0.25), abs=1e-12)


def test_iqm_of_replicates_equals_the_trimmed_mean_of_what_was_drawn():
    rng = np.random.default_rng(0)
    strata = Strata(np.array([3, 5, 1, 4]))
    values = np.round(rng.normal(size=(2, 13)), 1)  # with ties
    counts = strata.resampled(rng, 50)
    drawn = [[trim_mean(np.repeat(row, count), 0.25) for count in counts] for row in values]
    np.testing.assert_allclose(iqm(values, counts, strata), drawn, atol=1e-12)


def test_iqm_does_not_trim_a_missing_score_away():
    assert np.isnan(one([np.nan, 1.0, 2.0, 3.0], Strata.full(1, 4)))


def test_statistics_of_hand_made_numbers():
    # Task means 0.3, 0.5 and 1.1; the last task has one seed.
    values, strata = [0.2, 0.4, 0.5, 0.5, 1.1], Strata(np.array([2, 2, 1]))
    assert one(values, strata, mean) == pytest.approx(1.9 / 3)
    assert one(values, strata, stats.median) == pytest.approx(0.5)
    # Short of 1: 0.7, 0.5 and, above it, 0.
    assert one(values, strata, stats.optimality_gap) == pytest.approx(1.2 / 3)


def test_replicates_draw_each_task_as_often_as_it_has_seeds():
    strata = Strata(np.array([3, 1, 5]))
    counts = strata.resampled(np.random.default_rng(0), 200)
    assert np.unique(np.add.reduceat(counts, strata.starts, axis=1), axis=0).tolist() == [[3, 1, 5]]
    assert counts[:, 3].tolist() == [1] * 200
    assert counts[:, 0].std() > 0


def test_interval_is_reproducible_from_its_seed():
    values = np.random.default_rng(0).normal(size=(4, 30))
    intervals = [interval(values, Strata.full(6, 5), seed=seed, replicates=200) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(intervals[0], intervals[1])
    assert (intervals[0] != intervals[2]).any()


def test_interval_resamples_seeds_within_each_task_alone():
    # Seeds agree within each task, so nothing varies, though tasks differ; pooled resampling would give a width.
    values = np.repeat([0.0, 1.0, 5.0], 4)
    np.testing.assert_allclose(interval(values, Strata.full(4, 3), mean, replicates=100), [[2.0, 2.0]])


def test_interval_draws_each_task_independently():
    # Of both tasks seed 0 scores 0 and seed 1 scores 1. Drawn independently, the mean is 0 in 1 of 16 replicates;
    # drawn as whole runs, in 1 of 4. At 80 % confidence only the latter puts the lower end at 0.
    ends = interval([0, 1, 0, 1], Strata.full(2, 2), mean, replicates=4000, confidence=0.8)
    np.testing.assert_allclose(ends, [[0.25, 0.75]])


def test_interval_covers_the_mean_of_normal_scores_as_theory_says():
    # 250 seeds of unit variance on one task: half-width 1.96 / sqrt(250) = 0.124.
    values = np.random.default_rng(0).normal(size=250)
    low, high = interval(values, Strata.full(250, 1), mean)[0]
    assert (high - low) / 2 == pytest.approx(0.124, rel=0.1)
    assert low < values.mean() < high


def test_interval_of_points_is_the_interval_of_each_point():
    values = np.random.default_rng(0).normal(size=(3, 8))
    strata = Strata.full(4, 2)
    together = interval(values, strata, seed=7, replicates=100)
    apart = np.concatenate([interval(point, strata, seed=7, replicates=100) for point in values])
    np.testing.assert_array_equal(together, apart)


def test_one_seed_of_each_task_has_no_interval():
    assert np.isnan(interval([0.1, 0.9, 0.4], Strata.full(1, 3))).all()


def test_performance_profile_is_the_fraction_of_runs_above_each_level():
    values, strata = np.array([0.1, 0.6, 0.9, 0.9]), Strata.full(2, 2)
    profile = stats.performance_profile(values, strata.once(), strata, np.array([0.0, 0.5, 0.6, 0.9]))
    assert profile[:, 0].tolist() == [1.0, 0.75, 0.5, 0.0]


def test_probability_of_improvement_counts_pairs_and_half_of_ties():
    # Task 1: 1 > 0 and 1 = 1, so 3/4. Task 2, with one seed of each: 0 < 2, so 0.
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0, 2.0])
    strata = Strata(np.array([1, 1])), Strata(np.array([2, 1]))
    by_task = stats.improvement_by_task(a, strata[0].once(), strata[0], b, strata[1].once(), strata[1])
    assert by_task.tolist() == [[0.75, 0.0]]
    with pytest.raises(ValueError, match="A has 2 tasks, B has 1"):
        stats.improvement_by_task(a, strata[0].once(), strata[0], b, strata[1].once(), Strata.full(3, 1))


def test_steps_to_a_level_are_the_first_or_never():
    curves = np.array([[0.1, 0.1], [0.5, 0.2], [0.4, 0.3], [0.9, 0.4]])
    assert stats.steps_to(curves, np.array([10, 20, 30, 40]), 0.5).tolist() == [20, np.inf]


def test_differences_are_welchs_and_flagged_over_all_tasks():
    rng = np.random.default_rng(0)
    effects = np.array([3.0, 0.0, 0.0, 0.0, 2.5])
    a = (rng.normal(size=(5, 5)) * 0.5 + effects[:, None]).ravel()
    b = (rng.normal(size=(5, 3)) * 0.2).ravel()
    found = stats.differences(a, Strata.full(5, 5), b, Strata.full(3, 5))
    oracle = ttest_ind(a.reshape(5, 5), b.reshape(5, 3), axis=1, equal_var=False)
    np.testing.assert_allclose(found.p, oracle.pvalue)
    ends = oracle.confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [ends.low, ends.high])
    assert found.flagged.tolist() == [True, False, False, False, True]


def test_differences_without_spread_or_seeds_are_tested_only_where_they_can_be():
    a = np.array([1.0] * 5 + [0.5] * 5 + [1.0] * 5)
    b = np.array([0.0] * 3 + [0.5] * 3 + [0.9])
    found = stats.differences(a, Strata(np.array([5, 5, 5])), b, Strata(np.array([3, 3, 1])))
    # Of the 56 ways to split eight runs into five and three, one is as extreme.
    assert found.p[:2].tolist() == pytest.approx([1 / 56, 1.0])
    assert np.isnan(found.p[2])
    assert found.flagged.tolist() == [True, False, False]


def test_false_discovery_rate_is_benjamini_and_hochbergs():
    # Thresholds 0.01, 0.02, 0.03, 0.04, 0.05: the third passes, and takes with it the second, which alone would not.
    p = np.array([0.005, 0.025, 0.028, 0.2, 0.6])
    assert stats.false_discovery(p, 0.05).tolist() == [True, True, True, False, False]
    assert stats.false_discovery(np.array([0.03, 0.04, 0.045, 0.2, np.nan]), 0.05).tolist() == [False] * 5
    assert stats.false_discovery(np.array([]), 0.05).tolist() == []


def test_scaling_fit_finds_the_law_that_made_the_numbers():
    sizes = np.array([1e6, 1e7, 1e8, 1e9])
    log = stats.scaling_fit(sizes, 0.1 + 0.05 * np.log10(sizes))
    assert (log.law, log.slope, log.intercept) == ("log", pytest.approx(0.05), pytest.approx(0.1))
    power = stats.scaling_fit(sizes, 1 - 5 * sizes**-0.2)
    assert (power.law, power.slope) == ("power", pytest.approx(0.2))
    np.testing.assert_allclose(power(sizes), 1 - 5 * sizes**-0.2)
    assert np.isnan(power.low)


def test_scaling_fit_has_an_interval_from_replicates_and_needs_three_sizes():
    sizes = np.array([1e6, 1e7, 1e8])
    scores = 0.1 * np.log10(sizes)
    replicates = scores[:, None] + 0.01 * np.random.default_rng(0).normal(size=(3, 500))
    fit = stats.scaling_fit(sizes, scores, replicates)
    assert fit.low < 0.1 < fit.high
    assert fit.high - fit.low < 0.05
    assert stats.scaling_fit(sizes[:2], scores[:2]) is None
    assert stats.scaling_fit(sizes, np.array([0.9, 1.0, 1.2])).law == "log"  # a power law never passes 1


def test_wrong_shapes_and_settings_are_refused():
    with pytest.raises(ValueError, match="replicates=0"):
        Strata.full(2, 2).resampled(np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="confidence=1"):
        stats.percentile_interval(np.zeros((1, 10)), 1.5)


def test_paired_differences_are_the_one_sample_t_test():
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, 12)
    strata = stats.Strata(np.array([5, 4, 2, 1]))
    values[9:11] = 0.25  # a task whose pairs differ by the same
    found = stats.paired_differences(values, strata)
    for task, part in enumerate(np.split(values, [5, 9])[:2]):
        expected = ttest_1samp(part, 0)
        assert found.p[task] == pytest.approx(expected.pvalue)
        assert (found.low[task], found.high[task]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.value[2], found.p[2]) == (0.25, 0.5)
    assert np.isnan(found.p[3])
    assert np.isnan(found.low[2:]).all()
