"""Draw the interquartile mean of all runs below a folder, with its interval, into one PNG file.

python examples/own_figure.py runs/ curve.png
"""

import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from analysis import select, stats
from analysis.load import load

source, target = sys.argv[1:]
table = load(source).table
figure, ax = plt.subplots(figsize=(5, 3))
for (benchmark, variant), rows in table.groupby(["benchmark", "variant"]):
    found = select.points(rows)  # values [points, task-seed pairs], with the tasks as strata
    value, low, high = stats.estimate(found.values, found.strata, stats.iqm, np.random.default_rng(0))
    ax.plot(found.env_steps, value, label=f"{benchmark}, {variant}")
    ax.fill_between(found.env_steps, low, high, alpha=0.2)
ax.set_xlabel("env steps per task")
ax.set_ylabel("normalised score, IQM")
ax.legend()
figure.savefig(target, dpi=150, bbox_inches="tight")
print(target)
