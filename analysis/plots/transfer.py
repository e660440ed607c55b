"""Learning on tasks that were held out of another benchmark's training."""

from __future__ import annotations

from collections.abc import Iterator

from analysis import captions
from analysis.context import Context, Plot
from analysis.plots import aggregate

SUFFIX = "_transfer"
"""The end of the names of benchmarks of held-out tasks."""


def figures(context: Context) -> Iterator[Plot]:
    """Yields the aggregate curves of a benchmark of held-out tasks, where there are scores to average."""
    if not context.group.endswith(SUFFIX):
        return
    curves = aggregate.compute(context)
    if len(curves):
        yield context.plot(
            "transfer",
            "Transfer",
            f"Held-out tasks. {captions.iqm_over(curves)}",
            curves,
            aggregate.draw,
            aggregate.figure_size(curves),
            notes=context.unaveraged,
            summary=aggregate.last(curves),
        )
