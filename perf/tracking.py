"""Times what mirroring to MLflow costs a run: `python perf/tracking.py [OVERRIDES...]`.

Whole runs at default settings with `tracking=mlflow` and `tracking=off` alternate, each in a new folder with the same
compilation cache; every other pair is turned round. Prints a JSON line for each run: seconds of the whole command, of
the training loop (the sum of its phases), what tracking takes of the run's own process (`waiting_s`, `processor_s`),
which is to start the mirror and, at the end, to wait for it, and the processor time of the mirror, whose priority is
low. The last line has the ratios of medians, that waiting as a part of the run, and the mirror's processor time as a
part of all that the cores had: together the most that tracking can have cost, whatever else the machine did meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agents.training.clock import PHASES
from records import layout
from records.metrics import seconds_of

# Runs as `python -m agents.run` does, and says what the process spent on the mirror.
RUN = """
import json, resource, sys, time
from tracking import mirror as tracking
spent = {"waiting_s": 0.0, "processor_s": 0.0, "mirror_processor_s": 0.0}

def timed(function):
    def call(*arguments):
        wall, processor, others = time.perf_counter(), time.process_time(), of_children()
        try:
            return function(*arguments)
        finally:
            spent["waiting_s"] += time.perf_counter() - wall
            spent["processor_s"] += time.process_time() - processor
            spent["mirror_processor_s"] += of_children() - others  # it is the one that ends meanwhile
    return call

def of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

tracking.Follower.__init__ = timed(tracking.Follower.__init__)
tracking.Follower.finish = timed(tracking.Follower.finish)
if __name__ == "__main__":
    from sweeps.command import main
    status = main(sys.argv[2:])
    open(sys.argv[1], "w").write(json.dumps(spent))
    sys.exit(status)
"""


def timed_run(folder: Path, overrides: list[str]) -> dict[str, float]:
    """Seconds of one run in a new folder."""
    folder.mkdir()
    script, spent = folder / "run.py", folder / "spent.json"
    script.write_text(RUN)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, str(script), str(spent), *overrides],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall_s = time.perf_counter() - began
    (timing,) = folder.glob(f"runs/*/*/{layout.TIMING}")
    last = {row["name"]: row["value"] for row in map(json.loads, timing.read_text().splitlines())}
    loop_s = sum(last[seconds_of(phase)] for phase in PHASES)
    return {"wall_s": wall_s, "loop_s": loop_s} | json.loads(spent.read_text())


def show(values: dict[str, Any]) -> None:
    """Print one measurement as a line of JSON."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps(rounded), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of both runs, such as train.env_steps=5000")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: 3)")
    parser.add_argument("--tracking", nargs="+", default=["tracking=mlflow"], help="overrides of the run with tracking")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = [*arguments.overrides, f"paths.compilation_cache={folder / 'cache'}"]
        timed_run(folder / "warm", [*common, "tracking=off", "train.env_steps=1000"])  # fills the cache
        for pair in range(arguments.repeats):
            order = ("with", "without") if pair % 2 == 0 else ("without", "with")
            for which in order:
                tracked = arguments.tracking if which == "with" else ["tracking=off"]
                times = timed_run(folder / f"{which}{pair}", [*common, *tracked])
                found[which].append(times)
                show({"tracking": which} | times)
    middle = {
        which: {key: statistics.median(one[key] for one in times) for key in times[0]} for which, times in found.items()
    }
    wall_s = middle["with"]["wall_s"]
    parts = {
        "waiting": middle["with"]["waiting_s"] / wall_s,
        "mirror": middle["with"]["mirror_processor_s"] / (wall_s * len(os.sched_getaffinity(0))),
    }
    ratios = {key: middle["with"][key] / middle["without"][key] for key in ("wall_s", "loop_s")}
    show({f"{key} with/without": ratio for key, ratio in ratios.items()} | parts)


if __name__ == "__main__":
    main()
