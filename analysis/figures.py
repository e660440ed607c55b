"""The list of figures: a new figure is a module of `analysis.plots` and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from analysis.context import ALL, Context, Plot
from analysis.plots import (
    ablation,
    aggregate,
    conflict,
    differences,
    efficiency,
    embedding,
    final,
    improvement,
    interference,
    learning_curves,
    modes,
    overall,
    profile,
    scaling,
    transfer,
)

OF_ONE_BENCHMARK: tuple[Callable[[Context], Iterator[Plot]], ...] = (
    learning_curves.figures,
    aggregate.figures,
    final.figures,
    profile.figures,
    improvement.figures,
    efficiency.figures,
    differences.figures,
    scaling.figures,
    ablation.figures,
    transfer.figures,
    embedding.figures,
    interference.figures,
    conflict.figures,
)
OVER_ALL_BENCHMARKS: tuple[Callable[[Context], Iterator[Plot]], ...] = (overall.figures, modes.figures)


def figures(context: Context) -> Iterator[Plot]:
    """Yields the figures that the runs allow: those of the context's benchmark, or those over all benchmarks."""
    for make in OVER_ALL_BENCHMARKS if context.group == ALL else OF_ONE_BENCHMARK:
        yield from make(context)
