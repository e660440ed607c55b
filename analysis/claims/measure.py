"""What the runs at hand say of a claim: the runs of its sides, at the recipe's size or at the one that has most."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.claims.judge import Measured
from analysis.claims.listed import Claim, Side
from analysis.claims.sides import differences, in_words, recipe_of
from analysis.context import Context
from analysis.frames import groups_of, rows_of
from analysis.plots import transfer
from analysis.plots.comparison import A, B, comparable, compute
from analysis.select import SAME_END, points
from analysis.stats import Strata, estimate, iqm
from analysis.stats import differences as welch
from analysis.variants import SINGLE, TASKS, WIDTH, by_parts
from conf.benchmarks import wholes
from conf.yaml_groups import groups
from records.decode import DamagedRecordError
from records.interference import measurements

MOST_WORDS = 5


class Fitting(NamedTuple):
    """A variant of one benchmark whose runs are of a side of a claim.

    Attributes:
      benchmark, variant: as in the tables.
      width: of the critic.
      differs: what the runs have another value of than the recipe.
      budget: the recipe's env steps per task.
    """

    benchmark: str
    variant: str
    width: int
    differs: dict[str, Any]
    budget: int


def measure(claim: Claim, context: Context) -> Measured | None:
    """Measure what a claim is about; None where the runs of one of its sides are missing.

    Args:
      claim: one of `analysis.claims.listed`.
      context: of all benchmarks.
    """
    by_kind = {"level": _level, "order": _order, "growth": _growth, "transfer": _transfer, "conflict": _conflict}
    return by_kind[claim.kind](claim, context)


def fitting(side: Side, context: Context) -> list[Fitting]:
    """Find the variants whose runs are of a side of a claim, at whatever size."""
    known, found = groups()["benchmark"], []
    for run in rows_of(context.runs.drop_duplicates(["benchmark", "variant"])):
        if run.mode != side.mode or run.benchmark not in known:
            continue
        wanted = recipe_of(side, run.benchmark)
        differs = differences(side, run.settings, wanted.settings)
        if differs is not None:
            found.append(Fitting(run.benchmark, run.variant, run.width, differs, wanted.env_steps))
    return found


def _level(claim: Claim, context: Context) -> Measured | None:
    (benchmark,) = claim.benchmarks
    parts = wholes().get(benchmark, {})
    if benchmark not in context.benchmarks:
        return None
    table = context.benchmarks[benchmark].common.table
    best: Measured | None = None
    for one in fitting(claim.ours, context):
        variant = one.variant if one.benchmark == benchmark else by_parts(one.variant)
        rows = table.loc[table["variant"] == variant]
        if (one.benchmark != benchmark and one.benchmark not in parts) or rows.empty:
            continue
        rows = rows.loc[rows["env_steps"] == max(rows["env_steps"])]
        found = points(rows)
        rng = np.random.default_rng(context.seed)
        spread = estimate(found.values, found.strata, iqm, rng, context.replicates)
        seeds, steps = int(found.strata.sizes.min()), int(found.env_steps[-1])
        differs = _words(one.differs, {steps: one.budget})
        ours = Measured(float(spread.value[0]), float(spread.low[0]), float(spread.high[0]), seeds, steps, differs)
        if best is None or (len(ours.differs), -ours.seeds) < (len(best.differs), -best.seeds):
            best = ours
    return best


def _order(claim: Claim, context: Context) -> Measured | None:
    assert claim.other is not None
    ours, others = (_by_size(fitting(side, context)) for side in (claim.ours, claim.other))
    pairs = {}
    for size, members in ours.items():
        both = [(members[name], others[size][name]) for name in members if name in others.get(size, {})]
        if both:
            pairs[size] = both
    return _best(claim, context, pairs.values())


def _growth(claim: Claim, context: Context) -> Measured | None:
    return _best(claim, context, _widest_and_narrowest(claim, context))


def _conflict(claim: Claim, context: Context) -> Measured | None:
    for pairs in _widest_and_narrowest(claim, context):
        rates = [[_conflict_rates(one, context) for one in pair] for pair in pairs]
        usable = [(pair, rate) for pair, rate in zip(pairs, rates, strict=True) if all(len(one) for one in rate)]
        if not usable:
            continue
        (wide, narrow), (of_wide, of_narrow) = usable[0]
        sides = [(np.array([rate for rate, _ in one]), Strata.full(len(one), 1)) for one in (of_narrow, of_wide)]
        found = welch(*sides[0], *sides[1])
        steps = min(steps for _, steps in (*of_wide, *of_narrow))
        words = _difference_words(claim, [(wide, narrow)], {wide.benchmark: steps})
        ends = float(found.value[0]), float(found.low[0]), float(found.high[0])
        return Measured(*ends, min(len(of_wide), len(of_narrow)), steps, words)
    return None


def _conflict_rates(one: Fitting, context: Context) -> list[tuple[float, int]]:
    """Each seed's share of conflicting pairs at its last measurement, and the env steps then."""
    runs = context.runs.loc[(context.runs["benchmark"] == one.benchmark) & (context.runs["variant"] == one.variant)]
    found = []
    for run in rows_of(runs):
        try:
            series = [point for point in measurements(Path(run.folder or "/nonexistent")) if len(point.tasks) > 1]
        except DamagedRecordError:
            continue
        if series:
            found.append((series[-1].conflict_rate, series[-1].env_steps))
    return found


def _transfer(claim: Claim, context: Context) -> Measured | None:
    (benchmark,) = claim.benchmarks
    if benchmark not in context.benchmarks:
        return None
    part = context.benchmarks[benchmark]
    alone = fitting(replace(claim.ours, mode=SINGLE), part)  # where the benchmark was narrowed to one task
    single = [one._replace(differs=one.differs | {TASKS: "single"}) for one in alone]
    known = {one.variant: one for one in [*fitting(claim.ours, part), *single]}
    ratios = transfer.compute(part)
    ratios = ratios.loc[ratios["scratch"].isin(list(known)) & (ratios["fraction"] == max(transfer.FRACTIONS))]
    if ratios.empty:
        return None
    chosen = min(rows_of(ratios), key=lambda row: (len(known[row.scratch].differs), -row.seeds))
    rows = part.common.table
    steps = int(max(rows.loc[rows["variant"] == chosen.scratch, "env_steps"]))
    words = _words(known[chosen.scratch].differs, {steps: known[chosen.scratch].budget})
    return Measured(chosen.value, chosen.low, chosen.high, int(chosen.seeds), steps, words)


def _by_size(found: list[Fitting]) -> dict[str, dict[str, Fitting]]:
    """Variants of one size (all that differs from the recipe), by benchmark."""
    sizes: dict[str, dict[str, Fitting]] = {}
    for one in found:
        sizes.setdefault(json.dumps(one.differs, sort_keys=True), {})[one.benchmark] = one
    return sizes


def _widest_and_narrowest(claim: Claim, context: Context) -> Iterator[list[tuple[Fitting, Fitting]]]:
    """The claim's own two widths and then, of each other size, the two furthest apart; by benchmark."""
    assert claim.other is not None
    wide, narrow = (
        {one.benchmark: one for one in fitting(side, context) if not one.differs} for side in (claim.ours, claim.other)
    )
    own = [(wide[name], narrow[name]) for name in wide if name in narrow]
    if own:
        yield own
    families: dict[str, dict[str, list[Fitting]]] = {}
    for one in fitting(claim.ours, context):
        left = json.dumps({key: value for key, value in one.differs.items() if key != WIDTH}, sort_keys=True)
        families.setdefault(left, {}).setdefault(one.benchmark, []).append(one)
    for by_benchmark in families.values():
        pairs = []
        for members in by_benchmark.values():
            ordered = sorted(members, key=lambda one: one.width)
            if len(ordered) > 1:
                pairs.append((ordered[-1], ordered[0]))
        if pairs:
            yield pairs


def _best(claim: Claim, context: Context, candidates: Iterable[list[tuple[Fitting, Fitting]]]) -> Measured | None:
    """The candidate that differs least from the recipe; among equals, the one of most seeds."""
    found = [one for pairs in candidates if (one := _compared(claim, context, pairs)) is not None]
    return min(found, key=lambda one: (len(one.differs), -one.seeds), default=None)


def _compared(claim: Claim, context: Context, pairs: list[tuple[Fitting, Fitting]]) -> Measured | None:
    """The first of each pair minus the second in interquartile means, as a mean over benchmarks of equal weight."""
    listed = [pair for pair in pairs if pair[0].benchmark in claim.benchmarks] or pairs
    parts = []
    for ours, other in listed:
        table = context.benchmarks[ours.benchmark].table
        for letter, one in ((B, ours), (A, other)):
            parts.append(table.loc[table["variant"] == one.variant].assign(variant=letter))
    usable = comparable(pd.concat(parts)).table
    if usable.empty:
        return None
    last = compute(usable, context.seed, context.replicates).iloc[-1]
    steps = {str(name): int(max(rows["env_steps"])) for name, rows in groups_of(usable, "benchmark")}
    once = usable.drop_duplicates(["benchmark", "variant", "task", "seed"])
    seeds = min(once.groupby(["benchmark", "variant", "task"]).size().tolist())
    words = _difference_words(claim, [pair for pair in listed if pair[0].benchmark in steps], steps)
    at = max(steps.values()) if len(set(steps.values())) == 1 else 0
    return Measured(float(last["value"]), float(last["low"]), float(last["high"]), seeds, at, words)


def _difference_words(claim: Claim, pairs: list[tuple[Fitting, Fitting]], steps: Mapping[str, int]) -> tuple[str, ...]:
    """What the runs differ in from the recipe: settings, widths, env steps, and benchmarks."""
    first, second = pairs[0]
    differs = dict(first.differs)
    words = []
    if differs != second.differs:
        differs.pop(WIDTH, None)
        words.append(f"width {second.width} to {first.width}")
    words += _words(differs, {steps[one.benchmark]: one.budget for one, _ in pairs})
    if set(steps) != set(claim.benchmarks):
        words.append(f"on {' and '.join(steps)}{' alone' if set(steps) < set(claim.benchmarks) else ''}")
    return tuple(words)


def _words(differs: Mapping[str, Any], budgets: Mapping[int, int]) -> tuple[str, ...]:
    """Settings that differ, and the env steps where a budget has not been used up."""
    words = in_words(differs)
    more = [f"{len(words) - MOST_WORDS} more settings"] if len(words) > MOST_WORDS else []
    short = sorted(steps for steps, budget in budgets.items() if steps < budget * (1 - SAME_END))
    if short or words:
        short = short or sorted(budgets)
    ends = [f"{short[0]:,} steps" if short[0] == short[-1] else f"{short[0]:,} to {short[-1]:,} steps"] if short else []
    return (*words[:MOST_WORDS], *more, *ends)
