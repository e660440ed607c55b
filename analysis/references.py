"""Published curves of other methods -> the tidy table. How their files look is in `analysis.layouts`.

Steps are taken as the files have them. In the csv, they are the simulator's, as ours are: where an action lasts for
two of them, a method has made half as many decisions.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.frames import distinct, groups_of
from analysis.layouts import Layout, layout_of
from analysis.protocol import Protocol
from analysis.table import LARGEST, Loaded, LoadError, Remark, empty_runs, typed
from analysis.variants import MULTI, SINGLE
from conf.benchmarks import listed_tasks
from conf.scores import score_constants

GRID = 25_000
"""Env steps between the points that are taken of curves whose seeds were evaluated at different steps."""
MAX_LISTED = 5


class Method(NamedTuple):
    """What is known of a method beside its curves.

    Attributes:
      name: what the method is called.
      action_repeat: how many steps of the simulator an action lasts for.
      note: a sentence that must stand below every figure that shows the method.
    """

    name: str
    action_repeat: str = "unknown"
    note: str = ""


NO_FALLS = "EZ-M's episodes do not end at a fall, so its scores compare with nobody else's."
METHODS = {
    "simbav2": Method("SimbaV2", "2"),
    "drq": Method("DR.Q", "2"),
    "fog": Method("FOG"),
    "xqc": Method("XQC"),
    "flashsac": Method("FlashSAC"),
    "tdmpc2": Method("TD-MPC2", "2"),
    "newt": Method("Newt"),
    **dict.fromkeys(("ez-m-st", "ez-m"), Method("EZ-M", note=NO_FALLS)),
}
"""The beginning of a name in a file, in small letters -> the method; the longest that fits counts."""
TOGETHER = ("ez-m", "newt")
"""The methods that learn all tasks with one agent."""
SUITES = ("dmc", "humanoidbench")
PREFIXES = {"mw-": "metaworld"}
"""The beginning of a task's name -> its suite; without one, the task is of one of `SUITES`."""
ALIASES = {"cup-": "ball-in-cup-"}
"""The beginning of a task's name at the authors' -> at ours, with dashes alone."""
ENDS = ("-v2-goal-observable", "-v2", "-v0")


def is_named(path: Path) -> bool:
    """Whether a path is in one of the layouts of other methods' repositories."""
    return layout_of(path) is not None


def import_named(path: Path) -> Loaded:
    """Published curves of other methods as a table of `analysis.table.COLUMNS`; variants as "DR.Q (published)".

    Curves stand once in each benchmark that has their task.

    Raises:
      LoadError: the file is not what its layout says, or no curve can be used.
    """
    layout = layout_of(path)
    assert layout is not None
    try:
        curves = layout.read(path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LoadError(f"{path}: is not of the layout {layout.shape} ({str(error).splitlines()[0]})") from None
    known, left_out = _with_ids(_named(curves))
    sound, flawed = _sound(known, layout.regular)
    left_out += flawed
    if sound.empty:
        raise LoadError(f"{path}: none of its curves can be used: {'; '.join(left_out) or 'no rows'}")
    table = _table(sound if layout.regular else _on_grid(sound))
    methods = distinct(table, "agent")
    note = f"{path}: published curves of {', '.join(methods)}, at commit {commit_of(path) or 'unknown'}"
    published = {one: Protocol(action_repeat=_method(one).action_repeat) for one in methods}
    return Loaded(table, left_out, empty_runs(), [note], tuple(_remarks(table, layout)), published)


def commit_of(path: Path) -> str | None:
    """Return the commit that changed a file or folder last, where git has it in the folder that it lies in."""
    command = ["git", "-C", str(path.parent), "log", "-1", "--format=%H", "--", path.name]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _method(name: str) -> Method:
    """The method that a name in a file begins with; what follows stays a part of the name."""
    name = name.removesuffix(" (published)")
    for start in sorted(METHODS, key=len, reverse=True):
        method = METHODS[start]
        if name == method.name or name.startswith(f"{method.name} "):
            return method._replace(name=name)
        if name.lower().startswith(start):
            rest = name[len(start) :].strip("_- ")
            return method._replace(name=f"{method.name} {rest}" if rest else method.name)
    return Method(name)


def _named(curves: pd.DataFrame) -> pd.DataFrame:
    """The curves with their methods' names and modes."""
    names = {name: _method(name).name for name in distinct(curves, "method")}
    modes = {name: MULTI if name.lower() in TOGETHER else SINGLE for name in names}
    methods = curves["method"]
    return curves.assign(method=[names[one] for one in methods], mode=[modes[one] for one in methods])


def task_id(name: str, ids: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return our id of a task as authors write it; None where no benchmark has the task.

    Args:
      name: such as `h1hand_sit_hard_v0`, `dog-run` or `mw-hammer`.
      ids: suite -> name with dashes alone -> id.
    """
    plain = name.lower().replace("_", "-")
    for end in ENDS:
        plain = plain.removesuffix(end)
    suites = SUITES
    for start, suite in PREFIXES.items():
        if plain.startswith(start):
            plain, suites = plain.removeprefix(start), (suite,)
    for start, ours in ALIASES.items():
        if plain.startswith(start):
            plain = ours + plain.removeprefix(start)
    return next((ids[suite][plain] for suite in suites if plain in ids.get(suite, {})), None)


def _ids() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for tasks in listed_tasks().values():
        for task in tasks:
            suite, _, name = task.partition("/")
            found.setdefault(suite, {})[name.lower().replace("_", "-")] = task
    return found


def _with_ids(curves: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The curves of tasks that we have, by what these are judged by; and a line for those that we have not."""
    ids = _ids()
    names = {name: task_id(str(name), ids) for name in distinct(curves, "task")}
    unknown = [str(name) for name, task in names.items() if task is None]
    more = f" and {len(unknown) - MAX_LISTED} more" if len(unknown) > MAX_LISTED else ""
    lines = [f"published curves of tasks that no benchmark has: {', '.join(unknown[:MAX_LISTED])}{more}"]
    known = curves.assign(task=[names[one] for one in curves["task"]]).dropna(subset="task")
    judged = np.where(known["task"].str.startswith("metaworld/"), "success", "return")
    return known.loc[known["metric"] == judged], lines if unknown else []


CURVE = ["method", "mode", "task", "seed"]


def _sound(curves: pd.DataFrame, regular: bool) -> tuple[pd.DataFrame, list[str]]:
    """Curves of numbers with one score an evaluation, and a line for each kind of flaw."""
    numbers = {name: pd.to_numeric(curves[name], errors="coerce") for name in ("seed", "env_steps", "value")}
    given = curves.assign(**numbers)
    given = given.drop_duplicates([*CURVE, "env_steps", "value"])
    # Where steps are irregular, a run that had ended was evaluated at its last step again: there the first counts.
    flaws = {
        "two scores for one evaluation": given.duplicated([*CURVE, "env_steps"], keep=False) & regular,
        "a value that is no number": given[list(numbers)].isna().any(axis=1) | ~(given["value"].abs() < LARGEST),
        "a step or a seed that is no whole number": (given["env_steps"] % 1 != 0) | (given["seed"] % 1 != 0),
    }
    lines = []
    for flaw, rows in flaws.items():
        bad = given.loc[rows.reindex(given.index), CURVE].drop_duplicates()
        if len(bad):
            lines.append(f"{len(bad)} published curves with {flaw}, such as {' '.join(map(str, bad.iloc[0]))}")
            keys = set(map(tuple, bad.astype(str).to_numpy()))
            given = given.loc[[tuple(one) not in keys for one in given[CURVE].astype(str).to_numpy()]]
    once = given.drop_duplicates([*CURVE, "env_steps"])
    return once.astype({"seed": int, "env_steps": int}), lines


def _on_grid(curves: pd.DataFrame) -> pd.DataFrame:
    """Each curve at multiples of `GRID`: the last evaluation at or before each."""
    parts = []
    for _, curve in groups_of(curves, *CURVE):
        curve = curve.sort_values("env_steps")
        steps = curve["env_steps"].to_numpy()
        grid = np.arange(0, math.floor(steps[-1] / GRID) + 1) * GRID
        grid = grid[grid >= steps[0]]
        at = np.searchsorted(steps, grid, side="right") - 1
        parts.append(curve.iloc[at].assign(env_steps=grid))
    return pd.concat(parts, ignore_index=True)


def _table(curves: pd.DataFrame) -> pd.DataFrame:
    """The tidy table: each curve once in each benchmark that has its task."""
    constants = score_constants()
    parts = []
    for benchmark, tasks in listed_tasks().items():
        rows = curves.loc[curves["task"].isin(tasks)].sort_values(["method", "task", "seed", "env_steps"])
        if rows.empty:
            continue
        success = rows["metric"] == "success"
        low, high = np.array([_scale(task, constants) for task in rows["task"]]).T
        single = np.where(rows["mode"] == SINGLE, f" {SINGLE}", "")
        agent = rows["method"] + " (published)"
        parts.append(
            pd.DataFrame(
                {
                    "benchmark": benchmark,
                    "task": rows["task"],
                    "agent": agent,
                    "mode": rows["mode"],
                    "width": pd.NA,
                    "critic_params": pd.NA,
                    "seed": rows["seed"],
                    "variant": agent + single,
                    "family": agent + single,
                    "run": agent + np.where(single == "", "", " " + rows["task"]) + " seed " + rows["seed"].astype(str),
                    "env_steps": rows["env_steps"],
                    "train_flops": np.nan,
                    "return_": rows["value"].where(~success),
                    "success": rows["value"].where(success),
                    "score": (rows["value"] - low) / (high - low),
                    "score_metric": rows["metric"],
                }
            )
        )
    return typed(pd.concat(parts, ignore_index=True))


def _scale(task: str, constants: Mapping[str, Any]) -> tuple[float, float]:
    """The raw values of score 0 and of score 1."""
    if task in constants:
        return tuple(constants[task])
    return 0.0, 1.0 if task.startswith("metaworld/") else 1000.0


def _remarks(table: pd.DataFrame, layout: Layout) -> Iterator[Remark]:
    """What captions say of each method."""
    for (benchmark, agent, variant), _ in groups_of(table, "benchmark", "agent", "variant"):
        method = _method(str(agent))
        sentences = [method.note] if method.note else []
        if method.action_repeat not in ("1", "unknown"):
            sentences.append(
                f"{agent}: steps are the simulator's, and an action lasts for {method.action_repeat} of them."
            )
        if not layout.regular:
            sentences.append(f"{agent}: at multiples of {GRID:,} steps, the last evaluation at or before each.")
        yield from (Remark(str(benchmark), (str(variant),), one) for one in sentences)
