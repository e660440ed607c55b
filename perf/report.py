"""Times what takes time in a report: loading, IQM intervals along curves, and the whole command.

    python perf/report.py published.csv.gz
    python perf/report.py published.csv.gz --rliable /path/to/python-with-rliable

Prints one JSON line per measurement. rliable is measured on the same final scores in the same run, by a Python that has
it (it cannot be imported beside pandas 3).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analysis.load import load
from analysis.select import at_end, common_steps, points, scored
from analysis.stats import estimate, iqm

REPEATS = 3
RLIABLE = """
import json, sys, time
import numpy as np
from rliable import library, metrics
scores = [np.asarray(values) for values in json.load(open(sys.argv[1]))]
statistic = lambda x: np.array([metrics.aggregate_iqm(x)])
began = time.perf_counter()
for values in scores:
    library.get_interval_estimates({"one": values}, statistic, reps=int(sys.argv[2]))
print(time.perf_counter() - began)
"""


def timed(what: Callable[[], object]) -> float:
    """The least of a few wall-clock times, in seconds."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def show(name: str, **values: float) -> None:
    """Print one measurement as a line of JSON."""
    print(json.dumps({"name": name, **{key: round(value, 4) for key, value in values.items()}}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="published curves, or anything else that a report can be made of")
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--rliable", metavar="PYTHON", help="an interpreter that can import rliable")
    arguments = parser.parse_args()
    replicates = arguments.replicates

    show("load", seconds=timed(lambda: load(arguments.source)))
    curves = common_steps(scored(load(arguments.source).table).table).table
    found = [points(rows) for _, rows in curves.groupby(["benchmark", "variant"])]
    ends = [points(rows) for _, rows in at_end(curves).table.groupby(["benchmark", "variant"])]

    def intervals(of) -> None:
        for one in of:
            estimate(one.values, one.strata, iqm, np.random.default_rng(0), replicates)

    show("iqm intervals along all curves", seconds=timed(lambda: intervals(found)), curves=len(found))
    ours_s = timed(lambda: intervals(ends))
    show("iqm intervals of final scores", seconds=ours_s, aggregates=len(ends))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rliable:
            # rliable takes a full matrix of seeds and tasks.
            full = [one for one in ends if len(set(one.strata.sizes)) == 1]
            scores = [one.values[0].reshape(len(one.tasks), -1).T.tolist() for one in full]
            path = Path(folder) / "scores.json"
            path.write_text(json.dumps(scores))
            command = [arguments.rliable, "-c", RLIABLE, str(path), str(replicates)]
            theirs_s = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            ours_s = timed(lambda: intervals(full))
            show("rliable on the same", seconds=theirs_s, ours=ours_s, times_faster=theirs_s / ours_s)
        command = [sys.executable, "-m", "analysis.report", arguments.source, "--out", folder]
        began = time.perf_counter()
        subprocess.run([*command, "--replicates", str(replicates)], check=True, stdout=subprocess.DEVNULL)
        show("whole report", seconds=time.perf_counter() - began)


if __name__ == "__main__":
    main()
