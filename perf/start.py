"""Times a run's start: from the command to the first update in the record, cold and warm.

    python -m perf.start benchmark=dmc_dogs model=l

Cold is with an empty compilation cache, warm with what the cold start has left there. Prints a JSON line for each:
seconds from the command until its first update's metrics are written, and those of a processor core that the run's
process has used, which other work on the machine does not lengthen. The run takes one random step first and evaluates
nothing worth the name, so that imports, environments, initial networks and compilation are what is timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from records import layout

STARTED = ["train.random_steps=1", "train.log_every_steps=1", "eval.episodes=1", "eval.max_episode_steps=1"]
WARM_STARTS = 2
POLL_S = 0.02
LIMIT_S = 1800.0


def first_update_s(folder: Path, overrides: Sequence[str]) -> tuple[float, float]:
    """Return the seconds from a run's command to its first update, and those of a core; the run is ended there.

    Raises:
      RuntimeError: the run ended before its first update, or took longer than `LIMIT_S`.
    """
    command = [sys.executable, "-m", "agents.run", *overrides, *STARTED, f"paths.runs={folder}", "tracking=off"]
    begun, before = time.perf_counter(), core_seconds()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not any('"critic/loss"' in path.read_text() for path in folder.glob(f"*/*/{layout.METRICS}")):
            if process.poll() is not None:
                assert process.stderr is not None
                raise RuntimeError(process.stderr.read())
            if time.perf_counter() - begun > LIMIT_S:
                raise RuntimeError(f"no update after {LIMIT_S:.0f} s")
            time.sleep(POLL_S)
        seconds = time.perf_counter() - begun
    finally:
        process.kill()
        process.communicate()
    return seconds, core_seconds() - before


def core_seconds() -> float:
    """Return the seconds of a processor core that processes which were begun here, and have ended, have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of the run, whose agent has a critic")
    overrides = parser.parse_args().overrides
    with tempfile.TemporaryDirectory() as name:
        cache = f"paths.compilation_cache={name}/cache"
        for start in ("cold", *["warm"] * WARM_STARTS):
            folder = Path(tempfile.mkdtemp(dir=name))
            seconds, of_core = first_update_s(folder, [*overrides, cache])
            print(json.dumps({"start": start, "seconds": round(seconds, 1), "core_s": round(of_core, 1)}), flush=True)


if __name__ == "__main__":
    main()
