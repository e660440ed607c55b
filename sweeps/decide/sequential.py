"""Which of several variants differ, judged after each round of seeds: a sequential test with one error rate for all.

Each pair of variants has a group-sequential permutation test, as in AdaStop (Mathieu et al. 2023, arXiv:2306.10882). At
a look the statistic is the absolute difference of the two variants' sums of scores. The statistic is compared with what
it would have been had the scores of each round fallen to the two variants in another way. The test's error is spent in
proportion to the seeds: arrangements that have crossed the boundary at one look count at all later ones.

The comparisons are taken together by Shaffer's first procedure (1986, doi:10.1080/01621459.1986.10478341): a pair is
told apart where its test rejects at `alpha / m` for every number `m` of comparisons that may still be without a
difference. Equality is transitive, so of three variants of which two differ, at most one pair is equal.

Assumptions: where two variants do not differ, the scores of a round are exchangeable between them, which holds for
independent runs. Then the probability of telling any equal pair apart is at most `alpha`, for any number of seeds, any
distribution of scores and any other variants, and also where variants get no more seeds at any time, for any reason.
Runs that share a seed are taken as independent; if a common seed makes them alike, the test errs less. AdaStop's own
guarantee for several comparisons holds for many seeds only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Literal

import numpy as np

from conf.schema import DecideConfig

ARRANGEMENTS = 10_000
"""At most so many ways in which scores may have fallen are looked at: all of them, or some drawn at random."""
TIE = 1e-9
"""Statistics that differ by less than this part of the largest are equal, and differ by rounding."""

Pair = tuple[int, int]
State = Literal["open", "decided", "undecided", "hopeless", "moot", "held up"]


@dataclass(frozen=True)
class Comparison:
    """What is known of two variants.

    Attributes:
      a, b: the variants' numbers.
      state: open (further seeds are added), decided (they differ), undecided (the budget is spent), hopeless (the seeds
        that are left would hardly decide), moot (one of them is beaten, and only the best was asked for), or held up
        (a run of theirs has failed).
      seeds: of each of the two, at the last look.
      difference: a's mean score minus b's at that look; NaN before the first.
      p: the permutation test's at that look, for this comparison alone and without regard to earlier looks.
    """

    a: int
    b: int
    state: State = "open"
    seeds: int = 0
    difference: float = math.nan
    p: float = math.nan

    @property
    def better(self) -> int:
        """The variant that scores higher."""
        return self.a if self.difference > 0 else self.b

    @property
    def worse(self) -> int:
        """The variant that scores lower."""
        return self.b if self.difference > 0 else self.a


@dataclass(frozen=True)
class Verdict:
    """Where a decision stands.

    Attributes:
      comparisons: every pair of variants.
      seeds: `[V]`, how many seeds of each variant the decision has asked for so far.
    """

    comparisons: tuple[Comparison, ...]
    seeds: tuple[int, ...]

    @property
    def over(self) -> bool:
        """Whether no further run matters."""
        return all(one.state != "open" for one in self.comparisons)


def judge(scores: np.ndarray, failed: np.ndarray, settings: DecideConfig) -> Verdict:
    """Judges the variants round by round, as far as there are scores.

    The verdict depends on the scores alone, in the order of seeds, and not on the order in which runs ended.

    Args:
      scores: `[V, N]`, each variant's score with each seed up to the budget; NaN where there is none (yet).
      failed: `[V, N]`, which runs have failed and have no score.
      settings: the budget and the rules.
    """
    if settings.failed_score is not None:
        scores, failed = np.where(failed, settings.failed_score, scores), np.zeros_like(failed)
    ends = np.cumsum(round_sizes(settings))
    asked = np.zeros(len(scores), int)
    known = {pair: Comparison(*pair) for pair in itertools.combinations(range(len(scores)), 2)}
    paths: dict[Pair, np.ndarray] = {}
    for end in ends:
        active = sorted({variant for pair, one in known.items() if one.state == "open" for variant in pair})
        asked[active] = end
        seen, lost = scores[:, :end], np.any(failed[:, :end], axis=1)
        if not active or np.any(np.isnan(seen[active]) & ~failed[active, :end]):
            break
        for pair, one in known.items():
            if one.state == "open" and (lost[one.a] or lost[one.b]):
                known[pair] = replace(one, state="held up")
            elif one.state == "open":
                a, b = seen[list(pair)]
                paths[pair] = statistics(a, b, settings)
                difference, p = float(a.mean() - b.mean()), p_value(paths[pair][-1])
                known[pair] = replace(one, seeds=int(end), difference=difference, p=p)
        for pair in told_apart(known, paths, settings.alpha, ends / ends[-1]):
            known[pair] = replace(known[pair], state="decided")
        beaten = {one.worse for one in known.values() if one.state == "decided"}
        for pair, one in known.items():
            if one.state != "open":
                continue
            if settings.question == "best" and beaten & set(pair):
                known[pair] = replace(one, state="moot")
            elif end == ends[-1]:
                known[pair] = replace(one, state="undecided")
            elif chance(one.p, end / ends[-1], settings.alpha) < settings.futility:
                known[pair] = replace(one, state="hopeless")
    return Verdict(tuple(known.values()), tuple(int(count) for count in asked))


def told_apart(
    known: Mapping[Pair, Comparison], paths: Mapping[Pair, np.ndarray], alpha: float, shares: np.ndarray
) -> set[Pair]:
    """The pairs that differ, by Shaffer's procedure: each that does makes the boundary of the others easier to cross.

    Args:
      known: every pair, with what was known of the pair before the newest look.
      paths: the statistics `[K', P]` of the pairs that have been looked at.
      alpha: the error of all comparisons together.
      shares: `[K]`, increasing to 1: the part of the error that may be spent by each look.
    """
    counts = equal_pairs(max(b for _, b in known) + 1)
    found = {pair for pair, one in known.items() if one.state == "decided"}
    while True:
        possible = [count for count in counts if 0 < count <= len(known) - len(found)]
        levels = [alpha / count for count in reversed(possible)]
        new = {pair for pair in paths.keys() - found if all(crosses(paths[pair], level, shares) for level in levels)}
        if not new:
            return found
        found |= new


def round_sizes(settings: DecideConfig) -> tuple[int, ...]:
    """The number of seeds in each round; the last one takes what is left."""
    assert settings.max_seeds is not None
    full, rest = divmod(settings.max_seeds, settings.seeds_per_round)
    return (settings.seeds_per_round,) * full + ((rest,) if rest else ())


@cache
def equal_pairs(variants: int) -> tuple[int, ...]:
    """How many pairs may be equal, in increasing order: equal variants form groups, and are equal within them."""
    if variants < 2:
        return (0,)
    found = {
        group * (group - 1) // 2 + others
        for group in range(1, variants + 1)
        for others in equal_pairs(variants - group)
    }
    return tuple(sorted(found))


@cache
def splits(seeds: int) -> np.ndarray:
    """`[G, 2 * seeds]` of 1 and -1: all ways to deal a round's scores to two variants; the first is how they fell."""
    rows = -np.ones((math.comb(2 * seeds, seeds), 2 * seeds))
    for row, chosen in zip(rows, itertools.combinations(range(2 * seeds), seeds), strict=True):
        row[list(chosen)] = 1
    return rows


@cache
def arrangements(sizes: tuple[int, ...]) -> np.ndarray:
    """`[K, P]`, for each of `P` arrangements the number of its split in each of `K` rounds; the first is what happened.

    The first rounds' splits are combined in all ways, as many rounds as there is room for, each combination equally
    often. Those of later rounds are drawn at random and independently. So where two variants do not differ, what
    happened is as likely as any other of the arrangements, and the test is exact.
    """
    ways = [len(splits(size)) for size in sizes]
    whole = max(k for k in range(1, len(ways) + 1) if math.prod(ways[:k]) <= ARRANGEMENTS)
    combined = np.indices(ways[:whole], np.int32).reshape(whole, -1)
    copies = 1 if whole == len(ways) else ARRANGEMENTS // combined.shape[1]
    found = np.zeros((len(ways), combined.shape[1] * copies), np.int32)
    found[:whole] = np.repeat(combined, copies, axis=1)
    for k in range(whole, len(ways)):
        found[k, 1:] = np.random.default_rng(k).integers(ways[k], size=found.shape[1] - 1)
    return found


def statistics(a: np.ndarray, b: np.ndarray, settings: DecideConfig) -> np.ndarray:
    """The absolute difference of sums at each look so far, for every arrangement: `[K', P]`, the first what happened.

    Args:
      a, b: the scores of two variants `[n]`, up to the end of a round.
      settings: the rounds.
    """
    sizes = round_sizes(settings)
    total, result, start = np.zeros(()), [], 0
    for size, chosen in zip(sizes, arrangements(sizes), strict=True):
        if start == len(a):
            break
        both = np.concatenate([a[start : start + size], b[start : start + size]])
        total = total + (splits(size) @ both)[chosen]
        result.append(np.abs(total))
        start += size
    return np.stack(result)


def p_value(values: np.ndarray) -> float:
    """The share of arrangements `[P]` whose statistic is at least that of the first."""
    return float(np.mean(values >= values[0] - TIE * values.max()))


def crosses(paths: np.ndarray, level: float, shares: np.ndarray) -> bool:
    """Whether what happened crosses the boundary of a level at one of the looks so far.

    At each look, the arrangements with the highest statistics cross, as many as the level's part that may be spent by
    then allows. Arrangements that are tied cross together or not at all.

    Args:
      paths: `[K', P]`, each arrangement's statistic at each look.
      level: the part of all arrangements that may have crossed after the last look.
      shares: `[K]`, increasing to 1: the part of the level that may be spent by each look.
    """
    inside = np.ones(paths.shape[1], bool)
    for values, share in zip(paths, shares, strict=False):
        allowed = math.floor(level * share * len(inside) + TIE) - int((~inside).sum())
        if allowed <= 0:
            continue
        left = values[inside]
        if allowed >= len(left):
            return True
        bound = np.partition(left, -allowed - 1)[-allowed - 1]
        crossing = inside & (values > bound + TIE * values.max())
        if crossing[0]:
            return True
        inside &= ~crossing
    return False


def chance(p: float, share: float, alpha: float) -> float:
    """The predictive probability that a comparison's seeds, all in, tell the two variants apart at level `alpha`.

    The statistic is taken for a Brownian motion whose drift has a flat prior (Spiegelhalter et al. 1986,
    doi:10.1016/0197-2456(86)90003-6). To stop early where this chance is small never adds errors, as it can only keep a
    difference from being found.

    Args:
      p: the two-sided p-value so far.
      share: the part of the seeds that are in, in (0, 1).
      alpha: the level, of one comparison alone.
    """
    normal = NormalDist()
    needed, reached = -normal.inv_cdf(alpha / 2), -normal.inv_cdf(p / 2) / math.sqrt(share)
    spread = math.sqrt((1 - share) / share)
    return normal.cdf((reached - needed) / spread) + normal.cdf((-reached - needed) / spread)
