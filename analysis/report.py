"""One page, figures and tables from a folder of runs.

python -m analysis.report runs --out report
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time only after the arguments are known, so that --help is quick
    from analysis.figures import Plot
    from analysis.table import Loaded

EXIT_BAD_INPUT = 2
PAGE = "index.html"

DESCRIPTION = """\
Write one self-contained HTML page (DIR/index.html) with headline numbers, every figure that the runs allow and sortable
tables; beside it each figure as PNG and PDF, its numbers as CSV and a LaTeX table. INPUT is a runs folder, one
benchmark's folder, one run, an MLflow tracking URI, or published curves (csv, csv.gz, or the authors' results folder).
Runs that differ in anything but the seed are never averaged. Runs may still be in progress; what cannot be used is
named."""

EPILOG = """\
examples:
  python -m analysis.report runs --out report
  python -m analysis.report runs/dmc_hard --out report --reference published.csv.gz
  python -m analysis.report sqlite:///mlflow.db --out report --benchmarks dmc_hard metaworld"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; the process's exit status."""
    arguments = parse(argv)
    import matplotlib as mpl

    mpl.use("Agg")
    from analysis.table import LoadError

    try:
        loaded = gather(arguments.input, arguments.reference, arguments.benchmarks)
        arguments.out.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["python", "-m", "analysis.report", *(sys.argv[1:] if argv is None else argv)])
        page = write(loaded, arguments.out, arguments.seed, arguments.replicates, command)
    except (LoadError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(page)
    from analysis.figures import omissions

    lines = [*omissions(loaded), *loaded.notes]
    if lines:
        print("left out, or to be known:")
    for line in lines:
        print(f"  {line}")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="INPUT", help="runs, a tracking URI or published curves, see above")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write to; made if missing")
    parser.add_argument("--reference", metavar="CSV", type=Path, help="published curves to lay over the runs")
    parser.add_argument("--benchmarks", metavar="NAME", nargs="+", help="only these (default: all that INPUT has)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--replicates", type=at_least(1), default=2000, help="of the bootstrap (default: %(default)s)")
    return parser.parse_args(argv)


def at_least(least: int) -> Callable[[str], int]:
    """An argument's type: an integer that is not below `least`."""

    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return integer


def gather(source: str, reference: Path | None, benchmarks: Sequence[str] | None) -> Loaded:
    """What a report is of.

    Raises:
      LoadError: nothing to read, or a benchmark that is not there.
    """
    from analysis.import_reference import import_reference, overlay
    from analysis.load import load
    from analysis.table import LoadError

    loaded = load(source)
    if reference is not None:
        loaded = overlay(loaded, import_reference(reference))
    if benchmarks is None:
        return loaded
    known = list(dict.fromkeys(loaded.table["benchmark"]))
    unknown = [name for name in benchmarks if name not in known]
    if unknown:
        raise LoadError(f"--benchmarks {unknown[0]}: not in {source}, which has {', '.join(known)}")
    table, runs = (part.loc[part["benchmark"].isin(benchmarks)] for part in (loaded.table, loaded.runs))
    return loaded._replace(table=table, runs=runs)


def write(loaded: Loaded, out: Path, seed: int, replicates: int, command: str) -> Path:
    """Write the page, and every figure with its tables beside it; the page's path."""
    from analysis.figures import ALL, benchmarks_of
    from analysis.page import Shown, render

    several = len(benchmarks_of(loaded)) > 1
    shown = []
    for plot in _with_progress(loaded, seed, replicates):
        stem = f"{plot.name}-{plot.group}" if several and plot.group != ALL else plot.name
        png, pdf = images(plot)
        from analysis.latex import latex

        for suffix, content in (
            ("png", png),
            ("pdf", pdf),
            ("csv", plot.values.to_csv(index=False).encode()),
            ("tex", latex(plot.summary, f"{plot.title}, {plot.group}. {plot.caption}", f"tab:{stem}").encode()),
        ):
            _replace(out / f"{stem}.{suffix}", content)
        width_px, height_px = (int(size * 96) for size in plot.size_in)
        shown.append(Shown(plot, stem, base64.b64encode(png).decode(), width_px, height_px))
    page = render(loaded, shown, out, seed, replicates, command)
    return _replace(out / PAGE, page.encode())


def _with_progress(loaded: Loaded, seed: int, replicates: int) -> Iterator[Plot]:
    """All plots; those over benchmarks first. A bar shows how far it is, where someone looks on."""
    from rich.console import Console
    from rich.progress import track

    from analysis.figures import benchmarks_of, of_all, of_benchmark

    yield from of_all(loaded, seed, replicates)
    console = Console(stderr=True)
    for benchmark in track(benchmarks_of(loaded), "figures", console=console, disable=not console.is_terminal):
        yield from of_benchmark(loaded, benchmark, seed, replicates)


def images(plot: Plot) -> tuple[bytes, bytes]:
    """The figure as PNG and as PDF, without a date, so that equal numbers give equal files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    from analysis import style

    png, pdf = io.BytesIO(), io.BytesIO()
    with style.look():
        figure = style.new_figure(*plot.size_in)
        plot.draw(plot.values, figure)
        # By the canvas itself: savefig draws everything once more, only to lay it out.
        FigureCanvasAgg(figure).print_png(png)
        figure.set_layout_engine("none")  # solved by now
        FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})
    return png.getvalue(), pdf.getvalue()


def _replace(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all; its path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
