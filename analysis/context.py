"""What every figure is made from: the evaluations of one benchmark, or of all benchmarks, selected once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import select
from analysis.captions import with_notes
from analysis.frames import distinct
from analysis.protocol import Protocols
from analysis.select import Selection
from analysis.stats import REPLICATES
from analysis.table import Loaded

ALL = "all benchmarks"
DIFFERENT_TASKS = "variants have different tasks, so their bars are no comparison"


@dataclass(frozen=True)
class Plot:
    """One figure that is not drawn yet, and the table that it is drawn from."""

    name: str
    """The name of the figure's files, without the benchmark."""
    group: str
    """The benchmark, or `ALL`."""
    title: str
    caption: str
    values: pd.DataFrame
    """The numbers that `draw` draws."""
    csv: pd.DataFrame
    """The same, with the column `analysis.protocol.COLUMN`."""
    summary: pd.DataFrame
    """The rows of `values` that a paper's table would show."""
    draw: Callable[[pd.DataFrame, Figure], None]
    size_in: tuple[float, float]


@dataclass(frozen=True)
class Context:
    """All that a figure may read. Each selection of the table is made when it is first asked for, and then kept."""

    loaded: Loaded
    group: str = ALL
    """The benchmark that `loaded` is narrowed to, or `ALL`."""
    seed: int = 0
    """The seed of the bootstrap."""
    replicates: int = REPLICATES
    """The number of bootstrap replicates."""

    @property
    def table(self) -> pd.DataFrame:
        """Every evaluation, with the columns `analysis.table.COLUMNS`."""
        return self.loaded.table

    @property
    def runs(self) -> pd.DataFrame:
        """Every run, with the columns `analysis.table.RUN_COLUMNS`."""
        return self.loaded.runs

    @cached_property
    def benchmarks(self) -> dict[str, Context]:
        """The context of each single benchmark, in the order of the table."""
        if self.group != ALL:
            return {self.group: self}
        return {name: self._of_benchmark(name) for name in distinct(self.table, "benchmark")}

    def _of_benchmark(self, name: str) -> Context:
        table, runs = (part.loc[part["benchmark"] == name] for part in (self.table, self.runs))
        return Context(self.loaded._replace(table=table, runs=runs), name, self.seed, self.replicates)

    @cached_property
    def protocols(self) -> Protocols:
        """How the scores of each variant were measured."""
        return Protocols(self.table, self.runs, self.loaded.published)

    @cached_property
    def scored(self) -> Selection:
        """The evaluations of tasks that have a normalised score."""
        return select.scored(self.table)

    @cached_property
    def common(self) -> Selection:
        """The scored evaluations that all runs of a variant have reached."""
        return select.common_steps(self.scored.table)

    @cached_property
    def common_of_all_tasks(self) -> Selection:
        """The evaluations that all runs of a variant have reached, of tasks with and without a score."""
        return select.common_steps(self.table) if self.scored.left_out else self.common

    @cached_property
    def ends(self) -> Selection:
        """One evaluation of each variant: the last at which all variants of a benchmark have learned equally long."""
        return select.at_end(self.common.table)

    @cached_property
    def shared(self) -> Selection:
        """The rows of `ends` on the tasks that all variants of a benchmark have."""
        return select.shared_tasks(self.ends.table)

    def narrowed(self, rows: pd.DataFrame) -> Context:
        """Returns the context of some rows of the table: evaluations are common, and ends equal, among these alone."""
        if len(rows) == len(self.table):
            return self
        return Context(self.loaded._replace(table=rows), self.group, self.seed, self.replicates)

    @property
    def unaveraged(self) -> list[str]:
        """One line for each thing that averages along training leave out."""
        return [*self.scored.left_out, *self.common.left_out]

    @property
    def uncompared(self) -> list[str]:
        """One line for each thing that comparisons at the end of training leave out."""
        tasks = self.shared.left_out
        return [*self.unaveraged, *self.ends.left_out, *([DIFFERENT_TASKS, *tasks] if tasks else [])]

    def omissions(self) -> list[str]:
        """Returns one line for each thing that some figure leaves out, and for figures that cannot be drawn."""
        lines = list(self.loaded.left_out)
        for name, part in self.benchmarks.items():
            lines += part.unaveraged
            if part.common.table.empty:
                lines.append(f"{name}: no aggregate and no scaling figure: no scores to average")
                continue
            lines += part.ends.left_out
            if len(distinct(part.table, "critic_params")) < 2:
                lines.append(f"{name}: no scaling figure: fewer than two critic sizes to compare")
        return lines

    def _remarks(self, named: set[Any]) -> list[str]:
        """The sentences on variants that a figure's values name, each once."""
        fitting = [one for one in self.loaded.remarks if self.group in (ALL, one.benchmark)]
        return list(dict.fromkeys(one.sentence for one in fitting if not named.isdisjoint(one.variants)))

    def plot(
        self,
        name: str,
        title: str,
        caption: str,
        values: pd.DataFrame,
        draw: Callable[[pd.DataFrame, Figure], None],
        size_in: tuple[float, float],
        *,
        notes: Sequence[str],
        summary: pd.DataFrame | None = None,
    ) -> Plot:
        """Returns a figure of this context; its caption ends with the protocol and with what the figure leaves out.

        Args:
          name: the name of the figure's files, without the benchmark.
          title: the heading on the page.
          caption: what the figure shows.
          values: the numbers that `draw` draws.
          draw: draws `values` into an empty figure.
          size_in: width and height in inches.
          notes: one line for each thing that the figure leaves out.
          summary: the rows of `values` that a paper's table would show; None: all of them.
        """
        words = values.select_dtypes(["object", "string", "category"])
        named = {name for column in words for name in distinct(words, column)}
        said = " ".join([caption, *self._remarks(named), self.protocols.of(named)]).strip()
        text = with_notes(said, notes, len(self.loaded.left_out))
        chosen = values if summary is None else summary
        return Plot(name, self.group, title, text, values, self.protocols.beside(values), chosen, draw, size_in)
