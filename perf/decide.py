"""How often a deciding sweep errs on published curves, and how many runs it saves against a fixed number of seeds.

    python perf/decide.py brc_published_curves.csv.gz

Draws experiments from published runs: the score of a run with a new seed is the interquartile mean of the tasks' final
scores, each task's drawn from the published seeds. Every experiment is judged twice, by a deciding sweep and with all
seeds of the budget at once, at the same error rate. Prints one line a set of variants and benchmark:

  errors     experiments that call two variants different which are drawn from the same runs, or the wrong one better
  equal      experiments in which both ways give the same verdict on every pair
  saved      runs that were not started, of those of the fixed number, over all experiments
  saved =    the same, over the experiments with equal verdicts
  found      pairs with a true difference that are told apart, by the deciding sweep and with all seeds
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.frames import groups_of
from analysis.load import load
from conf.compose import compose_many
from conf.schema import DecideConfig
from sweeps.decide.sequential import Comparison, judge, statistics, told_apart

MULTI, SINGLE = "multi-task", "single-task"
SETS: dict[str, tuple[tuple[str, float], ...]] = {
    "two equal": ((MULTI, 1.0), (MULTI, 1.0)),
    "four equal": ((MULTI, 1.0),) * 4,
    "multi- and single-task": ((MULTI, 1.0), (SINGLE, 1.0)),
    "both, twice": ((MULTI, 1.0), (MULTI, 1.0), (SINGLE, 1.0), (SINGLE, 1.0)),
    "100%, 80%, 60% of the steps": ((MULTI, 1.0), (MULTI, 0.8), (MULTI, 0.6)),
}
"""Each variant is published runs of a mode, scored at a part of their steps."""


class Outcome(NamedTuple):
    """What came of one experiment."""

    error: bool
    equal: bool
    saved: float
    found: int
    found_fixed: int


def pools(source: str) -> dict[tuple[str, str, float], np.ndarray]:
    """The published scores `[S, T]` of each benchmark, mode and part of the steps."""
    table = load(source).table
    found = {}
    for (benchmark, mode), rows in groups_of(table, "benchmark", "mode"):
        for part in {part for variants in SETS.values() for _, part in variants}:
            steps = np.unique(rows["env_steps"])
            at = steps[np.abs(steps - part * steps[-1]).argmin()]
            wide = rows[rows["env_steps"] == at].pivot(index="seed", columns="task", values="score").dropna(axis=1)
            found[str(benchmark), str(mode), part] = wide.to_numpy()
    return found


def draw(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The scores `[count]` of new runs."""
    tasks = pool.shape[1]
    scores = np.sort(pool[rng.integers(len(pool), size=(count, tasks)), np.arange(tasks)], axis=1)
    cut = tasks // 4
    return scores[:, cut : tasks - cut].mean(axis=1)


def experiment(means: np.ndarray, scores: np.ndarray, settings: DecideConfig) -> Outcome:
    """Judges the scores `[V, N]` of variants whose true means are `[V]`; equal means are the same runs."""
    verdict = judge(scores, np.zeros(scores.shape, bool), settings)
    decided = {(one.a, one.b): one.better for one in verdict.comparisons if one.state == "decided"}
    pairs = list(itertools.combinations(range(len(scores)), 2))
    at_once = {(a, b): statistics(scores[a], scores[b], settings)[-1:] for a, b in pairs}
    fixed = {
        (a, b): a if scores[a].mean() > scores[b].mean() else b
        for a, b in told_apart({pair: Comparison(*pair) for pair in pairs}, at_once, settings.alpha, np.ones(1))
    }
    different = {pair for pair in pairs if means[pair[0]] != means[pair[1]]}
    wrong = any(means[better] != max(means[list(pair)]) or pair not in different for pair, better in decided.items())
    return Outcome(
        error=wrong,
        equal=decided == fixed,
        saved=1 - sum(verdict.seeds) / scores.size,
        found=len(decided.keys() & different),
        found_fixed=len(fixed.keys() & different),
    )


def row(name: str, outcomes: list[Outcome], different: int) -> str:
    """A line of the table."""
    columns = np.array(outcomes, float)
    equal = columns[:, 1] == 1
    saved_equal = f"{columns[equal, 2].mean():8.1%}" if equal.any() else "       -"
    found = f"{columns[:, 3].sum() / different:6.1%} {columns[:, 4].sum() / different:6.1%}" if different else ""
    shown = f"{columns[:, 0].mean():7.1%} {columns[:, 1].mean():7.1%} {columns[:, 2].mean():7.1%} {saved_equal}"
    return f"{name:52s} {shown}  {found}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="published curves: a csv, or a folder that holds one")
    parser.add_argument("--resamples", type=int, default=1000, help="experiments in each line; default: 1000")
    parser.add_argument("--max-seeds", type=int, help="the budget; default: that of +sweep=decide")
    parser.add_argument("--seeds-per-round", type=int, help="seeds between two looks; default: that of +sweep=decide")
    arguments = parser.parse_args()
    source = arguments.source
    if source.is_dir() and (tables := sorted(source.glob("*curves.csv*"))):
        source = tables[0]
    settings = compose_many(["+sweep=decide", "seed=0"])[0].config.sweep.decide
    given = {"max_seeds": arguments.max_seeds, "seeds_per_round": arguments.seeds_per_round}
    settings = dataclasses.replace(settings, **{key: value for key, value in given.items() if value is not None})
    assert settings.max_seeds is not None
    print(f"{settings.max_seeds} seeds at most, {settings.seeds_per_round} a round, alpha {settings.alpha:g}\n")
    print(f"{'':52s} {'errors':>7s} {'equal':>7s} {'saved':>7s} {'saved =':>8s}  {'found':>6s} {'fixed':>6s}")
    published = pools(str(source))
    everything: list[Outcome] = []
    all_different = 0
    for name, variants in SETS.items():
        for benchmark in sorted({benchmark for benchmark, _, _ in published}):
            rng = np.random.default_rng(0)
            pool = {one: published[benchmark, *one] for one in variants}
            mean = {one: draw(values, 20_000, rng).mean() for one, values in pool.items()}
            means = np.array([mean[one] for one in variants])
            outcomes = [
                experiment(means, np.stack([draw(pool[one], settings.max_seeds, rng) for one in variants]), settings)
                for _ in range(arguments.resamples)
            ]
            different = sum(a != b for a, b in itertools.combinations(means, 2)) * len(outcomes)
            print(row(f"{name}, {benchmark}", outcomes, different), flush=True)
            everything += outcomes
            all_different += different
    print(row("all", everything, all_different))


if __name__ == "__main__":
    main()
