"""The sequential test of a deciding sweep, against answers that can be counted by hand."""

import itertools
import math

import numpy as np
import pytest

from conf.schema import DecideConfig
from sweeps.decide.sequential import arrangements, chance, crosses, equal_pairs, judge, p_value, statistics

NOBODY = np.zeros((2, 100), bool)


def rules(max_seeds=15, seeds_per_round=3, alpha=0.05, futility=0.2, question="all", failed_score=None) -> DecideConfig:
    return DecideConfig(max_seeds, seeds_per_round, alpha, futility, question, failed_score)


def judged(scores, settings: DecideConfig, failed=None):
    """The verdict of scores `[V, n]`, which are the first of the budget's."""
    scores = np.asarray(scores, float)
    padded = np.full((len(scores), settings.max_seeds), np.nan)
    padded[:, : scores.shape[1]] = scores
    return judge(padded, np.zeros(padded.shape, bool) if failed is None else failed, settings)


def states(verdict) -> dict[tuple[int, int], str]:
    return {(one.a, one.b): one.state for one in verdict.comparisons}


def test_one_round_is_the_permutation_test_that_everybody_knows():
    a, b = np.array([3.0, 1.0, 4.0, 1.5]), np.array([2.0, 7.0, 1.0, 8.0])
    pooled, sums = np.concatenate([a, b]), []
    for chosen in itertools.combinations(range(8), 4):
        mine = pooled[list(chosen)].sum()
        sums.append(abs(mine - (pooled.sum() - mine)))
    expected = np.mean(np.array(sums) >= abs(a.sum() - b.sum()) - 1e-12)
    assert p_value(statistics(a, b, rules(4, 4))[-1]) == pytest.approx(expected)
    assert p_value(statistics(np.arange(4.0), np.arange(9.0, 13.0), rules(4, 4))[-1]) == 2 / math.comb(8, 4)


def test_the_test_is_exact_whatever_the_scores_are():
    """Every way in which two rounds could have fallen, by itself: those that would be called a difference."""
    settings, level = rules(4, 2), 0.2
    scores = np.array([[0.1, 0.9, 0.3, 0.7], [0.2, 5.0, 0.4, 0.8]])  # a at [0], b at [1]; rounds of two
    rejected, total = 0, 0
    for first, second in itertools.product(itertools.combinations(range(4), 2), repeat=2):
        sides: list[list[float]] = [[], []]
        for chosen, start in ((first, 0), (second, 2)):
            pooled = np.concatenate([scores[0, start : start + 2], scores[1, start : start + 2]])
            sides[0] += list(pooled[list(chosen)])
            sides[1] += [pooled[one] for one in range(4) if one not in chosen]
        paths = statistics(np.array(sides[0]), np.array(sides[1]), settings)
        rejected += crosses(paths, level, np.array([0.5, 1.0]))
        total += 1
    assert total == 36
    assert 0 < rejected <= level * total


def test_arrangements_begin_with_what_happened_and_combine_the_first_rounds_in_all_ways():
    few, many = arrangements((2, 2)), arrangements((3, 3, 3, 3, 3))
    assert len(set(map(tuple, few.T))) == few.shape[1] == 6 * 6
    assert not many[:, 0].any()
    assert (np.unique(many[0], return_counts=True)[1] == many.shape[1] / 20).all()
    assert set(map(tuple, many[:3].T)) == set(itertools.product(range(20), repeat=3))


def test_a_boundary_spends_no_more_than_its_level_and_keeps_ties_together():
    values = np.array([[5.0, 4.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    assert crosses(values, 0.1, np.ones(1))
    assert not crosses(values, 0.1, np.full(1, 0.5))  # not even one of ten
    third = values[:, [2, 0, 1, *range(3, 10)]]
    assert not crosses(third, 0.3, np.ones(1))  # would take its tie along: four of ten
    assert crosses(third, 0.4, np.ones(1))


@pytest.mark.parametrize(("variants", "counts"), [(2, (0, 1)), (3, (0, 1, 3)), (4, (0, 1, 2, 3, 6))])
def test_numbers_of_pairs_that_may_be_equal(variants, counts):
    assert equal_pairs(variants) == counts


def test_clear_differences_are_decided_soon_and_get_no_more_seeds():
    rng = np.random.default_rng(0)
    verdict = judged(rng.normal([[0], [9]], size=(2, 15)), rules())
    (one,) = verdict.comparisons
    assert (one.state, one.seeds, one.better, one.worse) == ("decided", 6, 1, 0)
    assert verdict.seeds == (6, 6)
    assert verdict.over


def test_only_variants_with_something_undecided_get_more_seeds():
    scores = np.random.default_rng(1).normal([[0], [0.1], [30]], size=(3, 15))
    verdict = judged(scores, rules(futility=0))
    assert verdict.seeds[2] < verdict.seeds[0] == verdict.seeds[1]
    waiting = judged(scores[:, :9], rules(futility=0))
    assert states(waiting) == {(0, 1): "open", (0, 2): "decided", (1, 2): "decided"}
    assert (waiting.seeds, waiting.over) == ((12, 12, waiting.seeds[2]), False)


def test_who_is_best_needs_no_seeds_of_variants_that_are_beaten():
    scores = np.random.default_rng(2).normal([[0], [0.5], [30]], size=(3, 15))
    every, best = judged(scores, rules(futility=0)), judged(scores, rules(futility=0, question="best"))
    assert states(best)[0, 1] == "moot"
    assert sum(best.seeds) < sum(every.seeds)


def test_equal_variants_are_given_up_where_the_seeds_left_would_hardly_decide():
    scores = [[1.0, 2.0, 3.0, 2.5, 1.5, 2.0, 1.0, 1.4, 2.0], [2.0, 1.0, 3.0, 1.5, 2.5, 2.0, 1.2, 1.0, 2.0]]
    assert states(judged(scores, rules()))[0, 1] == "hopeless"
    assert states(judged(scores, rules(futility=0)))[0, 1] == "open"
    assert states(judged(scores, rules(max_seeds=9, futility=0)))[0, 1] == "undecided"
    assert chance(1.0, 0.9, 0.05) < 1e-6 < chance(0.01, 0.5, 0.05) < chance(0.001, 0.5, 0.05)


def test_a_failed_run_holds_up_its_variant_alone_until_it_has_a_score():
    scores = np.random.default_rng(3).normal([[0], [20], [40]], size=(3, 15))
    failed = np.zeros((3, 15), bool)
    failed[1, 4] = True
    lacking = np.where(failed, np.nan, scores)
    held = judge(lacking, failed, rules())
    assert states(held) == {(0, 1): "held up", (0, 2): "decided", (1, 2): "held up"}
    assert states(judge(scores, NOBODY[:1, :15].repeat(3, 0), rules())) == dict.fromkeys(states(held), "decided")
    assert set(states(judge(lacking, failed, rules(failed_score=18.0))).values()) == {"decided"}


def test_of_variants_that_do_not_differ_few_are_told_apart():
    """Family-wise, any of three comparisons: 5% of 300 is 15, and 27 or more would come about once in 400 times."""
    rng, settings, nobody = np.random.default_rng(4), rules(8, 2), np.zeros((3, 8), bool)
    wrong = sum(
        "decided" in states(judge(rng.standard_t(3, size=(3, 8)), nobody, settings)).values() for _ in range(300)
    )
    assert 4 <= wrong <= 26
