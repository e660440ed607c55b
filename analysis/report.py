"""Figures and their tables from a folder of runs.

python -m analysis.report runs --out report
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time only after the arguments are known, so that --help is quick
    import pandas as pd
    from matplotlib.figure import Figure

EXIT_BAD_INPUT = 2

DESCRIPTION = """\
Draw learning curves of each task, the aggregate (interquartile mean) score of each variant, and, where runs differ in
size, the score against the critic's parameters. Each figure is a PNG beside a CSV of its numbers. Runs that differ in
anything but the seed are never averaged. Runs may still be in progress; what cannot be used yet is named."""

EPILOG = """\
examples:
  python -m analysis.report runs --out report
  python -m analysis.report runs/dmc_hard --out report --replicates 10000"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; the process's exit status."""
    arguments = parse(argv)
    import matplotlib as mpl

    mpl.use("Agg")
    from analysis.load import LoadError, load

    try:
        loaded = load(arguments.input)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for path in write(loaded.table, arguments.out, arguments.seed, arguments.replicates):
            print(path)
    except (LoadError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if loaded.left_out:
        print(f"left out {len(loaded.left_out)} run(s):")
    for line in loaded.left_out:
        print(f"  {line}")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", type=Path, help="runs folder, one benchmark's folder, or one run")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write to; made if missing")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--replicates", type=_at_least(1), default=2000, help="of the bootstrap (default: %(default)s)")
    return parser.parse_args(argv)


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return integer


@dataclass(frozen=True)
class Plot:
    """One figure, not yet drawn, and the table it is drawn from."""

    name: str
    values: pd.DataFrame
    draw: Callable[[pd.DataFrame, Figure], None]
    size_in: tuple[float, float]


def write(table: pd.DataFrame, out: Path, seed: int, replicates: int) -> Iterator[str]:
    """Write all figures and tables to `out`, one set a benchmark; yields a line for each file and each omission."""
    benchmarks = list(dict.fromkeys(table["benchmark"]))
    for benchmark in benchmarks:
        plots, left_out = figures(table.loc[table["benchmark"] == benchmark], seed, replicates)
        suffix = f"-{benchmark}" if len(benchmarks) > 1 else ""
        for plot in plots:
            yield _replace(out / f"{plot.name}{suffix}.png", _png(plot))
            yield _replace(out / f"{plot.name}{suffix}.csv", plot.values.to_csv(index=False).encode())
        yield from left_out


def figures(table: pd.DataFrame, seed: int, replicates: int) -> tuple[list[Plot], list[str]]:
    """The figures that one benchmark's table allows, and one line for all that is not in them."""
    from analysis.plots import aggregate, learning_curves, scaling
    from analysis.select import common_steps, last_shared_step, scored

    benchmark = table["benchmark"].iloc[0]
    curves = learning_curves.compute(table)
    plots = [Plot("learning_curves", curves, learning_curves.draw, learning_curves.figure_size(curves))]
    usable = scored(table)
    comparable = common_steps(usable.table)
    left_out = usable.left_out + comparable.left_out
    if comparable.table.empty:
        return plots, [*left_out, f"{benchmark}: no aggregate and no scaling figure: no scores to average"]
    plots.append(Plot("aggregate", aggregate.compute(table, seed, replicates), aggregate.draw, aggregate.SIZE_IN))
    points = scaling.compute(table, seed, replicates)
    if not scaling.has_sizes(points):
        return plots, [*left_out, f"{benchmark}: no scaling figure: fewer than two critic sizes to compare"]
    plots.append(Plot("scaling", points, scaling.draw, scaling.SIZE_IN))
    return plots, left_out + last_shared_step(comparable.table).left_out


def _png(plot: Plot) -> bytes:
    from analysis import style

    with style.look():
        figure = style.new_figure(*plot.size_in)
        plot.draw(plot.values, figure)
        image = io.BytesIO()
        figure.savefig(image, format="png")
    return image.getvalue()


def _replace(path: Path, content: bytes) -> str:
    """Write a file whole or not at all; its path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
