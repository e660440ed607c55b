"""Are two sets of runs different?

python -m analysis.compare A B
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.import_reference import add_spacing
from conf.uris import check_no_passwords
from records.command_line import Parser, at_least, exit_status
from records.output import add_json, print_json

if TYPE_CHECKING:
    import pandas as pd

EXIT_SAME, EXIT_DIFFERENT = 0, 1
FAIL_ON = ("different", "worse", "better")

DESCRIPTION = """\
Say in words whether the runs of B score differently from those of A, and draw the difference. A and B are each a runs
folder, one run, an MLflow tracking URI or published curves; they are compared on the benchmarks, tasks and length of
training that both have. Of several benchmarks each has equal weight. Forks of the same checkpoints are compared pair by
pair, and so are forks and the runs that they were forked from; what that gains is said too."""

EPILOG = """\
examples:
  python -m analysis.compare runs-before/ runs-after/
  python -m analysis.compare published.csv.gz runs/ --a "BRC (published)" --b "brc w4096" --fail-on worse

exit status: 0 not told apart (or not as --fail-on says), 1 B is different (worse, better) by the 95% interval,
2 bad input, or too few seeds to tell."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compares and prints, and returns the process's exit status; each mistake is one line on standard error."""
    return exit_status(lambda: compare(sys.argv[1:] if argv is None else argv))


def compare(argv: Sequence[str]) -> int:
    """Compares the two sets of runs that a command line names.

    Raises:
      ConfigError: the command line makes no sense, nothing can be compared, or the figure cannot be written.
    """
    check_no_passwords(argv)
    arguments = parse(argv)
    os.environ["MPLBACKEND"] = "agg"  # matplotlib refuses to be imported where this names no back end
    import matplotlib as mpl

    mpl.use("Agg")
    from analysis.plots import comparison
    from analysis.table import LoadError

    table, names, left_out, paired, protocols = gather(arguments)
    usable = comparison.comparable(table)
    if usable.table.empty:
        raise LoadError(f"nothing that A and B share: {'; '.join(usable.left_out) or 'no benchmark'}")
    values = comparison.compute(usable.table, arguments.seed, arguments.replicates, paired)
    try:
        draw(values, arguments.figure)
    except OSError as error:
        raise LoadError(f"--figure={arguments.figure}: {error.strerror or error}") from None
    verdict = verdict_of(values)
    missing = [*left_out, *usable.left_out]
    if arguments.json:
        print_json("compare", comparison_values(values, names, verdict, missing, arguments.figure))
    else:
        lines = [*sentences(values, names, verdict), *protocols, f"figure: {arguments.figure}"]
        print("\n".join([*lines, *(f"left out: {line}" for line in missing)]))
    if verdict == "unknown":
        raise LoadError("one seed of each task says nothing about chance; run at least two")
    fails = verdict == arguments.fail_on or (arguments.fail_on == "different" and verdict != "same")
    return EXIT_DIFFERENT if fails else EXIT_SAME


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the command's arguments; raises ConfigError where they make no sense."""
    parser = Parser(prog="python -m analysis.compare", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("sets", metavar="A B", nargs=2, help="two sets of runs; A is the one to compare with")
    for name in ("a", "b"):
        parser.add_argument(f"--{name}", metavar="VARIANT", help=f"which variant of {name.upper()}, if it has several")
    parser.add_argument(
        "--fail-on", choices=FAIL_ON, default=FAIL_ON[0], help="status 1 if B is (default: %(default)s)"
    )
    parser.add_argument("--figure", metavar="FILE", type=Path, default=Path("compare.png"), help="png or pdf to write")
    add_spacing(parser)
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--replicates", type=at_least(1), default=2000, help="of the bootstrap (default: %(default)s)")
    add_json(parser)
    return parser.parse_args(argv)


def gather(arguments: argparse.Namespace) -> tuple[pd.DataFrame, list[str], list[str], list[str], list[str]]:
    """Reads both sets of runs.

    Returns:
      one table with variants A and B, what they are called, what could not be read, the benchmarks on which runs of A
      and B are pairs, and how the scores of each were measured.
    Raises:
      LoadError: nothing to read, or a set has several variants and none is named.
    """
    import pandas as pd

    from analysis.import_reference import short_name
    from analysis.load import load
    from analysis.pairs import paired_benchmarks
    from analysis.plots.comparison import A, B
    from analysis.protocol import Protocols

    tables, runs, names, left_out, protocols = [], [], [], [], []
    for source, letter, wanted in zip(arguments.sets, (A, B), (arguments.a, arguments.b), strict=True):
        loaded = load(source, spacing=arguments.reference_spacing)
        variant = one_variant(loaded.table, f"{letter} ({source})", f"--{letter.lower()}", wanted)
        rows = loaded.table.loc[loaded.table["variant"] == variant]
        # Published curves may be one of the two: their tasks' names are ours but for an ending.
        tables.append(rows.assign(variant=letter, task=[short_name(task) for task in rows["task"]]))
        runs.append(loaded.runs.loc[loaded.runs["variant"] == variant])
        names.append(f"{letter}: {variant} of {source}")
        left_out += [f"{letter}: {line}" for line in loaded.left_out]
        protocols.append(f"{letter}: {Protocols(loaded.table, loaded.runs, loaded.published).of([variant])}")
    paired, unpaired = paired_benchmarks(*runs)
    return pd.concat(tables, ignore_index=True), names, [*left_out, *unpaired], paired, protocols


def one_variant(table: pd.DataFrame, source: str, option: str, wanted: str | None) -> str:
    """Returns the variant to compare.

    Args:
      table: the rows of one source.
      source: the name of the source, for errors.
      option: the option that chooses a variant, for errors.
      wanted: the option's value, or None.
    Raises:
      LoadError: none or several fit.
    """
    from analysis.table import LoadError

    known = list(dict.fromkeys(table["variant"]))
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted in known:
        return str(wanted)
    problem = f"{option} {wanted}: no such variant" if wanted is not None else f"several variants, choose with {option}"
    raise LoadError(f"{source}: {problem}: {', '.join(known)}")


def verdict_of(values: pd.DataFrame) -> str:
    """What the last row, over all benchmarks, says of B: "better", "worse", "same" or "unknown"."""
    low, high = float(values["low"].iloc[-1]), float(values["high"].iloc[-1])
    if low != low:
        return "unknown"
    return "better" if low > 0 else "worse" if high < 0 else "same"


def comparison_values(
    values: pd.DataFrame, names: Sequence[str], verdict: str, left_out: Sequence[str], figure: Path
) -> dict[str, Any]:
    """The comparison as `--json` says it.

    Args:
      values: one row a benchmark, and one over all of several.
      names: what A and B are.
      verdict: as `verdict_of` says.
      left_out: what could not be read or compared.
      figure: the file of the figure.
    """
    from analysis.frames import rows_of

    return {
        "a": names[0],
        "b": names[1],
        "verdict": verdict,
        "benchmarks": [
            {
                "benchmark": one.benchmark,
                "tasks": int(one.tasks),
                "env_steps": int(one.env_steps),
                "iqm_a": float(one.iqm_a),
                "iqm_b": float(one.iqm_b),
                "difference": float(one.value),
                "low": float(one.low),
                "high": float(one.high),
                "improvement": float(one.improvement),
                "better_tasks": int(one.better),
                "worse_tasks": int(one.worse),
                "pairs": int(one.pairs),
                "narrower": float(one.narrower),
            }
            for one in rows_of(values)
        ],
        "left_out": list(left_out),
        "figure": figure,
    }


def sentences(values: pd.DataFrame, names: Sequence[str], verdict: str) -> list[str]:
    """The comparison in words."""
    from analysis.frames import rows_of

    meaning = {
        "better": "B scores higher than A.",
        "worse": "B scores lower than A.",
        "same": "A and B cannot be told apart.",
        "unknown": "Whether A and B differ cannot be told from one seed.",
    }
    return [*names, *(_sentence(one) for one in rows_of(values)), meaning[verdict]]


def _sentence(one: Any) -> str:
    interval = f" (95% interval {one.low:+.3f} to {one.high:+.3f})" if one.low == one.low else ""
    return (
        f"{one.benchmark}: IQM {one.iqm_a:.3f} for A, {one.iqm_b:.3f} for B, at {one.env_steps:,} env steps on "
        f"{one.tasks} tasks: difference {one.value:+.3f}{interval}; a run of B is above one of A with probability "
        f"{one.improvement:.2f}; allowing for how many tasks there are, B is better on {one.better} and worse on "
        f"{one.worse}.{_of_pairs(one)}"
    )


def _of_pairs(one: Any) -> str:
    if not one.pairs:
        return ""
    pairs = f" Compared pair by pair: {one.pairs} runs of A share their history with one of B each"
    if one.narrower != one.narrower:
        return f"{pairs}."
    change = "narrower" if one.narrower >= 0 else "wider"
    return f"{pairs}, and the interval is {abs(one.narrower):.0%} {change} than with independent seeds."


def draw(values: pd.DataFrame, path: Path) -> None:
    """Write the figure."""
    from analysis import style
    from analysis.plots import comparison

    with style.look():
        figure = style.new_figure(*comparison.figure_size(values))
        comparison.draw(values, figure)
        try:
            figure.savefig(path)
        except ValueError as error:  # an ending that is no format
            raise OSError(str(error).splitlines()[0]) from None


if __name__ == "__main__":
    sys.exit(main())
