"""One page, figures and tables from a folder of runs.

python -m analysis.report runs --out report
"""

from __future__ import annotations

import argparse
import base64
import io
import multiprocessing
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.import_reference import add_spacing
from conf.typed import ConfigError
from conf.uris import check_no_passwords
from records.command_line import Parser, at_least, exit_status
from records.files import replacing

if TYPE_CHECKING:  # at run time only after the arguments are known, so that --help is quick
    import pandas as pd

    from analysis.context import Context, Plot
    from analysis.page import Shown
    from analysis.table import Loaded

PAGE = "index.html"
RUNS = "runs.csv"
CLAIMS = "claims.csv"
LISTED = (
    "benchmark",
    "variant",
    "mode",
    "run",
    "seed",
    "width",
    "critic_params",
    "env_steps",
    "state",
    "hours",
    "folder",
)
"""The columns of the table of runs (`analysis.table.RUN_COLUMNS`)."""
CSS_DPI = 96
ROWS_OF_ONE_PROCESS = 20_000
"""A smaller table is drawn sooner than other processes have started."""

DESCRIPTION = """\
Write one self-contained HTML page (DIR/index.html) with headline numbers, every figure that the runs allow and sortable
tables, the last of which says what the runs say of each of the paper's claims; beside it each figure as PNG and PDF,
its numbers as CSV and a LaTeX table, and the tables of runs and of claims. INPUT is a runs
folder, one benchmark's folder, one run, a sweep's record (runs/_sweeps/SWEEP.json), an MLflow tracking URI, or
published curves (csv, csv.gz, or the authors' results folder).
Runs that differ in anything but the seed are never averaged. Runs may still be in progress; what cannot be used is
named."""

EPILOG = """\
examples:
  python -m analysis.report runs --out report
  python -m analysis.report runs/dmc_hard --out report --reference published.csv.gz
  python -m analysis.report sqlite:///mlflow.db --out report --benchmarks dmc_hard metaworld"""


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report, and returns the process's exit status; each mistake is one line on standard error."""
    return exit_status(lambda: report(sys.argv[1:] if argv is None else argv))


def check_date(epoch: str | None) -> None:
    """Refuse a variable that matplotlib would fail at when it writes the first PDF.

    Raises:
      ConfigError: the variable is no number of seconds.
    """
    if epoch is not None and not epoch.isdecimal():
        raise ConfigError(f"SOURCE_DATE_EPOCH={epoch}: must be a whole number of seconds since 1970, or unset")


def report(argv: Sequence[str]) -> int:
    """Writes the report that a command line asks for.

    Raises:
      ConfigError: the command line makes no sense, or nothing in the input can be used.
      OSError: the report cannot be written.
    """
    check_no_passwords(argv)
    check_date(os.environ.get("SOURCE_DATE_EPOCH"))
    arguments = parse(argv)
    from analysis.context import ALL, Context

    loaded = gather(arguments.input, arguments.reference, arguments.benchmarks, arguments.reference_spacing)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out={arguments.out}: {error.strerror}") from None
    command = shlex.join(["python", "-m", "analysis.report", *argv])
    context = Context(loaded, ALL, arguments.seed, arguments.replicates)
    print(write(context, arguments.out, command))
    lines = [*context.omissions(), *loaded.notes]
    if lines:
        print("left out, or to be known:")
    for line in lines:
        print(f"  {line}")
    return 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the command's arguments; raises ConfigError where they make no sense."""
    parser = Parser(prog="python -m analysis.report", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("input", metavar="INPUT", help="runs, a tracking URI or published curves, see above")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write to; made if missing")
    parser.add_argument(
        "--reference",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="published curves to lay over the runs, of BRC or of other methods (docs/analysis.md); may be repeated",
    )
    add_spacing(parser)
    parser.add_argument("--benchmarks", metavar="NAME", nargs="+", help="only these (default: all that INPUT has)")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--replicates", type=at_least(1), default=2000, help="of the bootstrap (default: %(default)s)")
    return parser.parse_args(argv)


def gather(
    source: str, references: Sequence[Path], benchmarks: Sequence[str] | None, spacing: int | None = None
) -> Loaded:
    """What a report is of.

    Args:
      source: the report's INPUT.
      references: published curves to lay over the runs.
      benchmarks: the benchmarks to narrow to; None: all.
      spacing: env steps between two published points; None: what is most likely.
    Raises:
      LoadError: nothing to read, or a benchmark that is not there.
    """
    from analysis.import_reference import import_reference, overlay
    from analysis.load import load
    from analysis.table import LoadError

    loaded = load(source, spacing=spacing)
    for reference in references:
        loaded = overlay(loaded, import_reference(reference, spacing))
    if benchmarks is None:
        return loaded
    known = list(dict.fromkeys(loaded.table["benchmark"]))
    unknown = [name for name in benchmarks if name not in known]
    if unknown:
        raise LoadError(f"--benchmarks {unknown[0]}: not in {source}, which has {', '.join(known)}")
    table, runs = (part.loc[part["benchmark"].isin(benchmarks)] for part in (loaded.table, loaded.runs))
    return loaded._replace(table=table, runs=runs)


def write(context: Context, out: Path, command: str) -> Path:
    """Write the page, and every figure with its tables beside it; return the page's path."""
    from analysis.claims import table as claims
    from analysis.page import render

    several = len(context.benchmarks) > 1
    jobs = [(part, several, out) for part in context.benchmarks.values()]
    shown = draw_group(context, False, out)
    for found in _with_progress(jobs, len(context.table) > ROWS_OF_ONE_PROCESS):
        shown += found
    judged = claims.compute(context)
    if len(context.runs):
        _replace(
            out / RUNS,
            context.protocols.beside(context.runs.reindex(columns=list(LISTED))).to_csv(index=False).encode(),
        )
        _replace(out / CLAIMS, context.protocols.beside(judged).to_csv(index=False).encode())
    return _replace(out / PAGE, render(context, shown, judged, out, command).encode())


def _with_progress(jobs: Sequence[tuple], parallel: bool) -> Iterator[list[Shown]]:
    """What `draw_group` returns for each job; with a bar of how far it is, where someone looks on."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    options: dict = {"console": console, "disable": not console.is_terminal, "total": len(jobs)}
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    if not parallel or workers == 1:
        yield from track((draw_group(*job) for job in jobs), "figures", **options)
        return
    # Spawned, because a fork of a process with threads may hang. The largest first, so that none is left for the end.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {
            at: pool.submit(draw_group, *jobs[at]) for at in sorted(range(len(jobs)), key=lambda at: -_rows(jobs[at]))
        }
        yield from track((futures[at].result() for at in range(len(jobs))), "figures", **options)


def _rows(job: tuple[Context, bool, Path]) -> int:
    return len(job[0].table)


def draw_group(context: Context, named: bool, out: Path) -> list[Shown]:
    """Draw and write the figures of one benchmark, or those over all.

    Args:
      context: what the figures are of.
      named: whether file names carry the benchmark, because there are several.
      out: the folder to write to.
    """
    os.environ["MPLBACKEND"] = "agg"  # matplotlib refuses to be imported where this names no back end
    import matplotlib as mpl

    mpl.use("Agg")
    from analysis import figures
    from analysis.latex import latex
    from analysis.page import Shown

    shown = []
    for plot in figures.figures(context):
        stem = f"{plot.name}-{plot.group}" if named else plot.name
        png, pdf = images(plot)
        table = latex(plot.summary, f"{plot.title}, {plot.group}. {plot.caption}", f"tab:{stem}")
        files = {"png": png, "pdf": pdf, "csv": plot.csv.to_csv(index=False).encode(), "tex": table.encode()}
        for suffix, content in files.items():
            _replace(out / f"{stem}.{suffix}", content)
        width, height = (int(size * CSS_DPI) for size in plot.size_in)
        shown.append(Shown(plot, stem, base64.b64encode(png).decode(), width, height))
    return shown


def images(plot: Plot) -> tuple[bytes, bytes]:
    """The figure as PNG and as PDF, without a date, so that equal numbers give equal files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    from analysis import style

    png, pdf = io.BytesIO(), io.BytesIO()
    with style.look():
        figure = style.new_figure(*plot.size_in)
        plot.draw(_literal(plot.values), figure)
        # By the canvas itself: savefig draws everything once more, only to lay it out.
        FigureCanvasAgg(figure).print_png(png)
        figure.set_layout_engine("none")  # solved by now
        FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})
    return png.getvalue(), pdf.getvalue()


def _literal(values: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with names as matplotlib shows them letter for letter: between dollars would be mathematics."""
    names = values.select_dtypes(["object", "string", "category"]).columns
    return values.assign(**{name: values[name].astype(object).replace(r"\$", r"\\$", regex=True) for name in names})


def _replace(path: Path, content: bytes) -> Path:
    """Writes a file whole or not at all, and returns its path; an OSError names the file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


if __name__ == "__main__":
    sys.exit(main())
