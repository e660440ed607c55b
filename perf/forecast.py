"""How often forecasts hold what is measured: a width is left out, forecast from the others, and compared.

    python -m perf.forecast RUNS --width 256

A case is a set of tasks (each task alone, and all) at an evaluation after training began. Cases of one set of runs are
not independent of each other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.context import Context
from analysis.forecast import compute
from analysis.load import load
from analysis.select import points
from analysis.stats import iqm
from records.command_line import Parser, at_least, exit_status
from records.layout import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Prints every case and how many intervals held, and returns the exit status."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Does what `main` says."""
    parser = Parser(prog="python -m perf.forecast", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("runs", metavar="RUNS", help="a runs folder of one benchmark, of one family of sizes")
    parser.add_argument("--width", type=int, required=True, help="the width to leave out")
    parser.add_argument("--after", type=at_least(0), default=0, help="env steps up to which evaluations do not count")
    arguments = parser.parse_args(argv)
    loaded = load(arguments.runs)
    inside, widths = [], []
    for name, table in cases(loaded.table, arguments.after):
        without = Context(loaded._replace(table=table.loc[table["width"] != arguments.width]))
        values, left_out = compute(without, [arguments.width])
        if values.empty:
            print(f"{name}: {'; '.join(left_out)}")
            continue
        found = points(table.loc[table["width"] == arguments.width])
        measured = iqm(found.values, found.strata.once(), found.strata)[0, 0]
        made = values.iloc[0]
        inside.append(bool(made["low"] <= measured <= made["high"]))
        widths.append(made["high"] - made["low"])
        outside = "" if inside[-1] else " OUTSIDE"
        print(f"{name}: {made['low']:.3f} to {made['high']:.3f}, measured {measured:.3f}{outside}")
    if inside:
        print(f"{sum(inside)} of {len(inside)} intervals held what was measured; median width {np.median(widths):.3f}")
    return ExitCode.DONE


def cases(table: pd.DataFrame, after: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each case's name and rows: one evaluation of one task, or of all."""
    for env_steps in np.unique(table["env_steps"][table["env_steps"] > after]):
        rows = table.loc[table["env_steps"] == env_steps]
        for task in dict.fromkeys(table["task"]):
            yield f"{env_steps} {task}", rows.loc[rows["task"] == task]
        yield f"{env_steps} all", rows


if __name__ == "__main__":
    sys.exit(main())
