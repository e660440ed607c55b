"""What would a size that was not run score?

python -m analysis.forecast RUNS --width 4096
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from conf.uris import check_no_passwords
from records.command_line import Parser, at_least, exit_status
from records.layout import ExitCode

if TYPE_CHECKING:
    import pandas as pd

    from analysis.context import Context

DESCRIPTION = """\
Forecast the score of a width that was not run, from runs of at least three others that differ in width alone: the
interquartile mean that as many seeds would be measured to have, with a 95% interval. docs/analysis.md says what the
forecast assumes, and how often such intervals held what was then measured."""

EPILOG = """\
examples:
  python -m analysis.forecast runs/ --width 4096
  python -m analysis.forecast runs/dmc_hard --width 2048,4096"""


def main(argv: Sequence[str] | None = None) -> int:
    """Forecasts and prints, and returns the exit status; each mistake is one line on standard error."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Prints a line for each forecast that the command line asks for.

    Raises:
      ConfigError: the command line makes no sense, or there are too few sizes or seeds.
    """
    check_no_passwords(argv)
    arguments = parse(argv)
    from analysis.context import Context
    from analysis.frames import rows_of
    from analysis.load import load
    from analysis.table import LoadError

    loaded = load(arguments.runs)
    values, left_out = compute(Context(loaded, seed=arguments.seed, replicates=arguments.replicates), arguments.width)
    if values.empty:
        raise LoadError(f"{arguments.runs}: nothing to forecast from: {'; '.join(left_out) or 'no sizes'}")
    for one in rows_of(values):
        print(
            f"{one.benchmark}, {one.family} at width {one.width}: IQM {one.value:.3f} (95% interval {one.low:.3f} to "
            f"{one.high:.3f}) at {one.env_steps:,} env steps, with {one.seeds} seeds, from widths "
            f"{', '.join(map(str, one.widths))}"
        )
    for line in [*loaded.left_out, *left_out]:
        print(f"left out: {line}")
    return ExitCode.DONE


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the command's arguments; raises ConfigError where they make no sense."""
    parser = Parser(prog="python -m analysis.forecast", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("runs", metavar="RUNS", help="a runs folder or an MLflow tracking URI")
    parser.add_argument("--width", metavar="N", type=listed, required=True, help="the widths to forecast, with commas")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--replicates", type=at_least(1), default=2000, help="of the bootstrap (default: %(default)s)")
    return parser.parse_args(argv)


def listed(text: str) -> list[int]:
    """Returns the widths that an argument lists."""
    return [at_least(1)(one) for one in text.split(",")]


def compute(context: Context, wanted: Sequence[int]) -> tuple[pd.DataFrame, list[str]]:
    """Forecasts widths for every benchmark and family that has enough of others.

    Args:
      context: of one or more benchmarks.
      wanted: the widths.
    Returns:
      One row a forecast: benchmark, family, width, value, low, high, env_steps, seeds, widths (those forecast from);
      and a line for each family that is left out.
    """
    import numpy as np
    import pandas as pd

    from analysis.extrapolation import forecast
    from analysis.frames import groups_of
    from analysis.plots.scaling import measured
    from analysis.stats import MIN_SIZES

    rows, left_out = [], []
    for (benchmark, family), of_family in groups_of(context.table, "benchmark", "family"):
        name, ends = f"{benchmark}, {family}", context.narrowed(of_family.dropna(subset="width")).ends.table
        if ends.empty:
            left_out.append(f"{name}: no evaluation of a known width")
            continue
        found, spreads = measured(ends, "width", context.seed, context.replicates)
        known, scores, seeds = (
            found["size"].to_numpy(float),
            found["value"].to_numpy(float),
            int(found["seeds"].to_numpy(int).min()),
        )
        if len(np.unique(known)) < MIN_SIZES or seeds < 2:
            left_out.append(
                f"{name}: {len(np.unique(known))} widths and {seeds} seeds, where a forecast needs {MIN_SIZES} and 2"
            )
            continue
        for width in wanted:
            if width in known:
                left_out.append(f"{name}: width {width} was run; its IQM is {scores[known == width][0]:.3f}")
                continue
            made = forecast(known, scores, spreads, seeds, width, np.random.default_rng([context.seed, width]))
            assert made is not None
            widths = tuple(sorted({int(one) for one in known}))
            rows.append((benchmark, family, width, *made, int(found["env_steps"].to_numpy(int).max()), seeds, widths))
    columns = ["benchmark", "family", "width", "value", "low", "high", "env_steps", "seeds", "widths"]
    return pd.DataFrame(rows, columns=columns), left_out


if __name__ == "__main__":
    sys.exit(main())
