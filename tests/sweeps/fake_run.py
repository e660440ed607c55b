"""A run in a tenth of a second: writes evaluations whose scores follow from its configuration, obeys the stop file.

The score grows with the steps, is best at agent.tau=0.01, and differs between seeds; a run whose agent.num_bins is 3
fails. Continues where it was; `starts` counts its starts. Like a real run's process it holds the lock while it lives.
"""

import json
import sys
import time
from pathlib import Path

from records import layout
from records.layout import ExitCode, RunOutcome
from records.lock import lock
from records.run_dir import RunDir
from records.run_record import write_status

EVERY = 100


def main() -> int:
    run_dir = Path(sys.argv[1])
    config = json.loads((run_dir / layout.CONFIG).read_text())
    with lock(run_dir):
        (run_dir / layout.STOP).unlink(missing_ok=True)
        write_status(run_dir, RunOutcome.RUNNING)
        with (run_dir / "starts").open("a") as file:
            file.write("start\n")
        if config["agent"]["num_bins"] == 3:
            write_status(run_dir, RunOutcome.FAILED, reason="three bins are too few", retry=False)
            return ExitCode.FAILED
        path = run_dir / layout.METRICS
        steps = len(path.read_text().splitlines()) // 3 * EVERY if path.exists() else 0
        while steps < config["train"]["env_steps"]:
            time.sleep(float(sys.argv[2]))
            steps += EVERY
            rows = evaluation(config, steps)
            with path.open("a") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))
            stop = RunDir(run_dir).stop()
            if stop is not None:
                write_status(run_dir, RunOutcome.STOPPED, by=stop.by, reason=stop.reason)
                return ExitCode.STOPPED
        done = {"env_steps": steps, "score": rows[-1]["value"], "evaluation": rows}
        (run_dir / layout.DONE).write_text(json.dumps(done))
        write_status(run_dir, RunOutcome.DONE)
    return ExitCode.DONE


def evaluation(config: dict, steps: int) -> list[dict]:
    score = steps / 1e6 - abs(config["agent"]["tau"] - 0.01) + luck(config["seed"])
    return [
        {"env_steps": steps, "update_steps": 0, "name": "eval/score", "task": task, "value": score + shift}
        for task, shift in (("dmc/a", -0.1), ("dmc/b", 0.1), (None, 0.0))
    ]


def luck(seed: int) -> float:
    """What a seed adds to each score; 0 for seed 0."""
    return seed * 37 % 11 / 1000


if __name__ == "__main__":
    sys.exit(main())
