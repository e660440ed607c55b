"""From a number with its interval to a verdict in words. Pure functions."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Word = Literal["reproduced", "contradicted", "cannot be told", "not run"]
MOST_SEEDS = 1000
"""With more seeds than this, a difference is so small that nobody will look for it."""


class Measured(NamedTuple):
    """What the runs at hand say of a claim.

    Attributes:
      value: the number that is judged, and `low` and `high` the ends of its interval, NaN where there is none.
      seeds: the fewest seeds of any task of any side.
      env_steps: after how many env steps per task, or 0 where sides and benchmarks differ in that.
      differs: what the runs have another value of than the claim's recipe, in words; empty at the recipe's own size.
    """

    value: float
    low: float
    high: float
    seeds: int
    env_steps: int
    differs: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """A verdict, and how many more seeds of each side would tell, where that can be said."""

    word: Word
    more_seeds: int | None = None


def judge(measured: Measured | None, threshold: float) -> Verdict:
    """Judge a claim that a number is above a threshold.

    A claim is reproduced where the whole interval is above the threshold, and contradicted where all of it is below.

    Args:
      measured: the number with its interval; None where nothing was run.
      threshold: what the number must be above.
    """
    if measured is None:
        return Verdict("not run")
    if measured.low > threshold:
        return Verdict("reproduced")
    if measured.high < threshold:
        return Verdict("contradicted")
    return Verdict("cannot be told", more_seeds(measured, threshold))


def more_seeds(measured: Measured, threshold: float) -> int | None:
    """Return how many more seeds would move the threshold out of the interval, were the number to stay as it is.

    The interval's half that reaches over the threshold shrinks with the root of the number of seeds.

    Returns:
      None where no number of seeds below `MOST_SEEDS` would do; 1 where one seed leaves no interval at all.
    """
    value, low, high, seeds = measured[:4]
    if math.isnan(low) or math.isnan(high):
        return 1
    half = value - low if value > threshold else high - value
    distance = abs(value - threshold)
    if not math.isfinite(half) or distance == 0 or half / distance > math.sqrt(MOST_SEEDS):
        return None
    return max(1, math.floor(seeds * (half / distance) ** 2) + 1 - seeds)


def in_words(verdict: Verdict, measured: Measured | None) -> str:
    """Return the verdict as a sentence, which says first where the runs are not of the claim's own size."""
    text: str = verdict.word
    if verdict.word == "cannot be told":
        more = verdict.more_seeds
        text += " with any number of seeds that one would run" if more is None else f"; {_seeds(more)} would tell"
        if measured is not None and math.isnan(measured.low):
            text = f"cannot be told from one seed; at least {_seeds(1)} is needed"
    if measured is None or not measured.differs:
        return text
    return f"at another size ({', '.join(measured.differs)}): {text}"


def _seeds(count: int) -> str:
    return f"{count} more seed{'' if count == 1 else 's'}"
