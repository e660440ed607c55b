"""Train a tiny agent on two tasks from Python, and print how each task's return changed.

python examples/train_in_python.py
"""

import sys

from analysis.load import load
from conf.compose import compose, resolve_paths
from conf.identity import run_dir
from sweeps.command import main

OVERRIDES = [
    "benchmark.tasks=[cartpole-balance,ball_in_cup-catch]",
    "model.width=32",
    "train.env_steps=1000",
    "eval.every_steps=500",
    "eval.episodes=2",
    "tracking=off",
]

if __name__ == "__main__":  # the processes that step environments import this file too
    status = main(OVERRIDES)  # what `python -m agents.run` does with the same words
    if status != 0:
        sys.exit(status)
    table = load(run_dir(resolve_paths(compose(OVERRIDES)))).table
    print(table.pivot(index="env_steps", columns="task", values="return_").round(1))
