"""The layouts in which other methods' authors publish their curves, and a reader for each.

- A long csv: exp_name, env_name, seed, metric, env_step, value. SimbaV2, DR.Q, FOG and what these compare with.
- A csv a task, `<method>/<task>.csv`: step, reward or success, seed. TD-MPC2 and what it compares with.
- A json: task > method > seed > million_steps, return. EZ-M.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

CURVES = ("method", "task", "seed", "env_steps", "metric", "value")
"""A row for each evaluation of each seed; `metric` is "return" or "success", `task` as the authors write it."""
LONG = ("exp_name", "env_name", "seed", "metric", "env_step", "value")
LONG_METRICS = {"avg_return": "return", "avg_success": "success"}
SHORT_METRICS = {"reward": "return", "success": "success"}


class Layout(NamedTuple):
    """A layout of published files.

    Attributes:
      shape: what a file has, in words.
      fits: whether a path is in the layout: by its kind, and by the columns of a csv.
      read: returns the curves, with the columns `CURVES`.
      regular: whether all seeds of a task were evaluated at the same steps.
    """

    shape: str
    fits: Callable[[Path, set[str]], bool]
    read: Callable[[Path], pd.DataFrame]
    regular: bool = True


def layout_of(path: Path) -> Layout | None:
    """Return the layout of a path; None where it has another, or cannot be read."""
    try:
        columns = set(pd.read_csv(path, nrows=0)) if path.is_file() and ".csv" in path.suffixes else set()
    except (OSError, ValueError, EOFError, zlib.error):
        return None  # the error is that of the reader of BRC's csv
    return next((one for one in LAYOUTS if one.fits(path, columns)), None)


def _read_long(path: Path) -> pd.DataFrame:
    raw = pd.read_csv(path)
    return pd.DataFrame(
        {
            "method": raw["exp_name"].astype(str),
            "task": raw["env_name"].astype(str),
            "seed": raw["seed"],
            "env_steps": raw["env_step"],
            "metric": [LONG_METRICS.get(one) for one in raw["metric"]],
            "value": raw["value"],
        }
    )


def _read_short(path: Path) -> pd.DataFrame:
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    parts = []
    for file in files:
        raw = pd.read_csv(file)
        found = [name for name in SHORT_METRICS if name in raw]
        if not found or not {"step", "seed"} <= set(raw):
            raise ValueError(f"{file.name} has {', '.join(map(str, raw)) or 'no columns'}")
        parts += [
            pd.DataFrame(
                {
                    "method": file.parent.name,
                    "task": file.name.partition(".csv")[0],
                    "seed": raw["seed"],
                    "env_steps": raw["step"],
                    "metric": SHORT_METRICS[name],
                    "value": raw[name],
                }
            )
            for name in found
        ]
    return pd.concat(parts, ignore_index=True)


def _read_json(path: Path) -> pd.DataFrame:
    parts = []
    for task, methods in json.loads(path.read_text(encoding="utf-8")).items():
        for method, seeds in methods.items():
            for name, curve in seeds.items():
                steps, values = curve["million_steps"], curve["return"]
                if len(steps) != len(values):
                    raise ValueError(f"{task}, {method}, {name}: {len(steps)} steps and {len(values)} returns")
                seed = int(re.sub(r"\D", "", name))
                env_steps = np.round(np.asarray(steps, float) * 1e6)
                rows = {"method": method, "task": task, "seed": seed, "env_steps": env_steps, "value": values}
                parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True).assign(metric="return")


LAYOUTS = (
    Layout(f"of a csv with the columns {', '.join(LONG)}", lambda _, columns: set(LONG) <= columns, _read_long),
    Layout(
        "of a csv <method>/<task>.csv with the columns step, reward or success, seed; or a folder of these",
        lambda path, columns: (
            ({"step", "seed"} <= columns and bool(columns & set(SHORT_METRICS)))
            or (path.is_dir() and any(path.glob("*.csv")))
        ),
        _read_short,
    ),
    Layout(
        "of a json with task > method > seed > million_steps and return",
        lambda path, _: path.is_file() and path.suffix == ".json",
        _read_json,
        regular=False,
    ),
)
