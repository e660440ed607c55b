"""Published curves -> the tidy table, so that they overlay our own.

    python -m analysis.import_reference PATH --out curves.csv

PATH is the authors' results folder, `<suite>/<method>_<mode>/<task>.npy` with an array of seeds and evaluations, or a
.csv (or .csv.gz) of `benchmark, mode, task, seed, eval_index, score`; or another method's file in a layout of
`analysis.references`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from conf.scores import score_constants
from records.command_line import Parser, at_least, exit_status

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from analysis.table import Loaded, Remark

COLUMNS = ("benchmark", "mode", "task", "seed", "eval_index", "score")
MODES = {"multitask": "multi-task", "singletask": "single-task"}
METHOD = "BRC"
MAX_LISTED = 5
MAX_VALUES = 10**6
"""Of one file of published curves; ten thousand times what there is."""


class Published(NamedTuple):
    """How a benchmark's published curves are to be read."""

    suite: str
    steps_per_point: int | None
    """Env steps per task between two evaluations, the first of which is not at 0; None: `SPACING`, or as one says."""
    metric: str
    """What the raw numbers are: "return" or "success"."""


PUBLISHED = {
    "dmc_hard": Published("dmc", None, "return"),
    "metaworld": Published("metaworld", None, "success"),
    "humanoidbench_medium": Published("humanoidbench", None, "return"),
    "humanoidbench_hard": Published("humanoidbench", None, "return"),
    "shadowhand": Published("shadowhand", 2_000, "success"),
}
"""Of Shadow Hand, 20 episodes of 100 steps are one point."""
SPACING = 50_000
"""Env steps per task between two published evaluations, as far as one can tell: the release's default."""
FOLDERS = {"dmc": "dmc_hard", "humanoidbench": "humanoidbench_medium", "shadow_hand": "shadowhand"}
"""The authors' names of folders that differ from the benchmark's."""
SUFFIXES = ("-v2-goal-observable", "-v0")
"""Ends of published task names that ours lack."""


def is_reference(path: Path) -> bool:
    """Whether a path holds published curves rather than runs."""
    if path.is_file():
        return path.name.endswith((".csv", ".csv.gz"))
    return any(path.glob("*/*/*.npy"))


def import_reference(path: Path | str, spacing: int | None = None) -> Loaded:
    """Published curves as a table of `analysis.table.COLUMNS`, with variants such as "BRC (published)".

    A curve with a missing, infinite or contradictory value is left out whole and named.

    Args:
      path: the authors' results folder, or a csv.
      spacing: env steps between two points, where the points do not say themselves; None: `SPACING`.
    Raises:
      LoadError: nothing can be read, a column is missing, or a benchmark or mode is unknown.
    """
    import pandas as pd

    from analysis.protocol import RELEASE
    from analysis.references import import_named, is_named
    from analysis.table import Loaded, LoadError, empty_runs

    path = Path(path)
    if is_named(path):
        return import_named(path)
    unreadable: list[str] = []
    try:
        if path.is_file():
            raw = pd.read_csv(path)
        else:
            raw, unreadable = _read_folders(path)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise LoadError(f"{path}: {str(error).splitlines()[0]}") from None
    missing = [column for column in COLUMNS if column not in raw]
    if missing:
        raise LoadError(f"{path}: no column {missing[0]}; there must be {', '.join(COLUMNS)}, or see docs/analysis.md")
    if raw.empty:
        raise LoadError(f"{path}: no rows")
    for column, allowed in (("benchmark", PUBLISHED), ("mode", MODES)):
        unknown = sorted({str(value) for value in raw[column].unique()} - set(allowed))
        if unknown:
            raise LoadError(f"{path}: {column} {unknown[0]}: allowed: {', '.join(allowed)}")
    curves, flawed = _sound(raw)
    left_out = unreadable + flawed
    if curves.empty:
        raise LoadError(f"{path}: none of its curves can be used: {'; '.join(left_out)}")
    table = _table(curves, spacing or SPACING)
    remarks = tuple(_remarks(table, spacing or SPACING))
    return Loaded(table, left_out, empty_runs(), [], remarks, {f"{METHOD} (published)": RELEASE})


def _read_folders(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """Reads the authors' files, and returns their curves and one line for each file that is none."""
    import numpy as np
    import pandas as pd

    parts, unreadable = [], []
    for file in sorted(root.glob("*/*/*.npy")):
        method, _, mode = file.parent.name.rpartition("_")
        folder = file.parent.parent.name
        try:
            array = _array(file)
        except (OSError, ValueError, EOFError, ArithmeticError) as error:
            unreadable.append(f"{file}: {str(error).splitlines()[0]}")
            continue
        # Seeds are few, evaluations many; which axis is which differs from file to file.
        curves = array if array.shape[0] < array.shape[1] else array.T
        seeds, count = curves.shape
        parts.append(
            pd.DataFrame(
                {
                    "benchmark": FOLDERS.get(folder, folder),
                    "method": method,
                    "mode": mode,
                    "task": file.stem,
                    "seed": np.repeat(np.arange(seeds), count),
                    "eval_index": np.tile(np.arange(1, count + 1), seeds),
                    "score": curves.ravel(),
                }
            )
        )
    if not parts:
        raise ValueError("; ".join(unreadable) or "no <suite>/<method>_<mode>/<task>.npy below it")
    return pd.concat(parts, ignore_index=True), unreadable


def _array(file: Path) -> np.ndarray:
    """Reads one file of scores, seeds by evaluations or the other way round.

    Raises:
      ValueError: the array is something else.
      OSError, EOFError, ArithmeticError: the file is no array.
    """
    import numpy as np

    if not file.is_file():  # a pipe would be waited for
        raise ValueError("is no ordinary file")
    with np.errstate(over="raise"):
        array = np.load(file, mmap_mode="r", allow_pickle=False)  # which takes no memory for what the file has not
    if array.dtype.kind not in "iuf":
        raise ValueError(f"has values of the type {array.dtype}; must be numbers")
    if array.ndim != 2 or array.shape[0] == array.shape[1] or not 0 < array.size <= MAX_VALUES:
        raise ValueError(f"shape {list(array.shape)}; must be seeds by evaluations, and more of the latter")
    return np.asarray(array)


CURVE = ["benchmark", "method", "mode", "task", "seed"]


def _sound(raw: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Curves without a flaw, and one line for each kind of flaw."""
    import pandas as pd

    from analysis.table import LARGEST

    given = raw if "method" in raw else raw.assign(method=METHOD)
    numbers = {name: pd.to_numeric(given[name], errors="coerce") for name in ("seed", "eval_index", "score")}
    given = given.assign(**numbers, curve=given.groupby(CURVE, dropna=False, sort=False).ngroup())
    curves = given.drop_duplicates(["curve", "eval_index", "score"])
    left_out = [f"{len(given) - len(curves)} rows that are there twice"] if len(curves) < len(given) else []
    points = curves.groupby("curve")["eval_index"]
    whole = (curves["eval_index"] >= 1) & (curves["eval_index"] % 1 == 0) & (curves["seed"] % 1 == 0)
    flaws = {
        "no task": curves["task"].isna(),
        f"a score that is no number below {LARGEST:g}": ~(curves["score"].abs() < LARGEST),
        "an evaluation or a seed that is no whole number": ~whole,
        "two scores for one evaluation": curves.duplicated(["curve", "eval_index"], keep=False),
        "missing evaluations": points.transform("max") != points.transform("size"),
    }
    bad: set[int] = set()
    for flaw, rows in flaws.items():
        flawed = curves.loc[rows & ~curves["curve"].isin(list(bad))].drop_duplicates("curve")
        names = _names(flawed)
        if names:
            more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
            left_out.append(f"{len(names)} published curves with {flaw}: {', '.join(names[:MAX_LISTED])}{more}")
            bad |= set(flawed["curve"])
    return curves.loc[~curves["curve"].isin(list(bad))].astype({"eval_index": int, "seed": int}), left_out


def _names(rows: pd.DataFrame) -> list[str]:
    from analysis.frames import rows_of

    return [f"{one.benchmark} {one.mode} {one.task} seed {one.seed:g}" for one in rows_of(rows)]


def _remarks(table: pd.DataFrame, spacing: int) -> Iterator[Remark]:
    """What captions say of how far the published points of each benchmark lie apart."""
    from analysis.frames import distinct, groups_of
    from analysis.table import Remark

    for benchmark, rows in groups_of(table, "benchmark"):
        known = PUBLISHED[str(benchmark)].steps_per_point
        sentence = (
            f"Published points are taken to lie {spacing:,} env steps apart, which is not certain: {SPACING:,} is the "
            "release's default, and a reproduction of one seed fits 25,000 (--reference-spacing)."
            if known is None
            else f"Published points lie {known:,} env steps apart, as the scores' fractions tell."
        )
        yield Remark(str(benchmark), tuple(distinct(rows, "variant")), sentence)


def _table(curves: pd.DataFrame, spacing: int) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    from analysis.frames import groups_of
    from analysis.table import typed

    parts = []
    for (benchmark, method, mode), group in groups_of(curves, "benchmark", "method", "mode"):
        known = PUBLISHED[str(benchmark)]
        group = group.sort_values(["task", "seed", "eval_index"], kind="stable")
        names = {task: short_name(task) for task in group["task"].unique()}
        task: Any = group["task"]
        task = task.map(names)
        constants = _constants(known, list(names.values()))
        low, high = (task.map({name: pair[end] for name, pair in constants.items()}) for end in (0, 1))
        variant = f"{method} (published){' single-task' if MODES[str(mode)] == 'single-task' else ''}"
        single = " " + task if MODES[str(mode)] == "single-task" else ""
        parts.append(
            pd.DataFrame(
                {
                    "benchmark": benchmark,
                    "task": f"{known.suite}/" + task,
                    "agent": f"{method} (published)",
                    "mode": MODES[str(mode)],
                    "width": pd.NA,
                    "critic_params": pd.NA,
                    "seed": group["seed"],
                    "variant": variant,
                    "family": variant,
                    "run": f"published {mode}" + single + " seed " + group["seed"].astype(str),
                    "env_steps": group["eval_index"] * (known.steps_per_point or spacing),
                    "train_flops": np.nan,
                    "return_": group["score"] if known.metric == "return" else np.nan,
                    "success": group["score"] if known.metric == "success" else np.nan,
                    "score": (group["score"] - low) / (high - low),
                    "score_metric": known.metric,
                }
            )
        )
    return typed(pd.concat(parts, ignore_index=True))


def short_name(task: str) -> str:
    """A published task's name without the ends that ours lack."""
    for suffix in SUFFIXES:
        task = task.removesuffix(suffix)
    return task


def _constants(known: Published, tasks: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Each task's raw value of score 0 and of score 1; NaN where no constants exist."""
    if known.suite == "humanoidbench":
        constants = score_constants()
        return {task: constants.get(f"{known.suite}/{task}", (float("nan"), float("nan"))) for task in tasks}
    return dict.fromkeys(tasks, (0.0, 1000.0 if known.metric == "return" else 1.0))


def overlay(ours: Loaded, reference: Loaded) -> Loaded:
    """Our runs and, of the benchmarks they are on, the published curves; published tasks take our ids.

    Curves end where our longest run does not reach them only in comparisons, never here. Over a part of a published
    benchmark (`conf.benchmarks.wholes`) lie the curves of the part's tasks.
    """
    import pandas as pd

    from analysis.frames import rows_of

    reference = _with_parts(reference)

    ids: dict[tuple[str, str], str] = {}
    for benchmark, task in rows_of(ours.table.drop_duplicates(["benchmark", "task"]).filter(["benchmark", "task"])):
        ids[benchmark, short_name(task.split("/", 1)[-1])] = task
    benchmarks = list(dict.fromkeys(ours.table["benchmark"]))
    known = reference.table.loc[reference.table["benchmark"].isin(benchmarks)]
    remarks = [one for one in reference.remarks if one.benchmark in benchmarks]
    keys = zip(known["benchmark"], known["task"].str.split("/", n=1).str[-1], known["task"], strict=True)
    renamed = known.assign(task=[ids.get((benchmark, short), task) for benchmark, short, task in keys])
    left_out = [*ours.left_out, *reference.left_out]
    table = pd.concat([ours.table, renamed], ignore_index=True)
    published = {**ours.published, **reference.published}
    more = {"notes": [*ours.notes, *reference.notes], "published": published, "remarks": (*ours.remarks, *remarks)}
    return ours._replace(table=table, left_out=left_out, **more)


def _with_parts(reference: Loaded) -> Loaded:
    """The published curves, and those of the tasks of each part of a benchmark once more, as that part's."""
    import pandas as pd

    from analysis.table import Remark
    from conf.benchmarks import wholes

    tables, remarks, table = [reference.table], list(reference.remarks), reference.table
    known = {*PUBLISHED, *table["benchmark"].unique()}
    for whole, parts in wholes().items():
        rows = table.loc[table["benchmark"] == whole]
        for part, tasks in parts.items():
            if whole not in PUBLISHED or rows.empty or part in known:
                continue
            tables.append(rows.loc[rows["task"].isin(tasks)].assign(benchmark=part))
            sentence = f"Published curves are those of {whole}, narrowed to these tasks."
            of_whole = [one for one in reference.remarks if one.benchmark == whole]
            remarks += [Remark(part, one.variants, text) for one in of_whole for text in (sentence, one.sentence)]
    return reference._replace(table=pd.concat(tables, ignore_index=True), remarks=tuple(remarks))


def add_spacing(parser: Parser) -> None:
    """Give a command the option of how far published points lie apart."""
    parser.add_argument(
        "--reference-spacing",
        metavar="STEPS",
        type=at_least(1),
        help=f"env steps between two published points, where the points do not say (default: {SPACING})",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Writes published curves as one tidy csv, and returns the process's exit status."""
    return exit_status(lambda: write_csv(sys.argv[1:] if argv is None else argv))


def write_csv(argv: Sequence[str]) -> int:
    """Writes the csv that a command line asks for.

    Raises:
      ConfigError: the command line makes no sense, or no curve can be used.
      OSError: the csv cannot be written.
    """
    from analysis.protocol import UNKNOWN, Protocols
    from analysis.references import commit_of

    parser = Parser(prog="python -m analysis.import_reference", description=str(__doc__))
    parser.add_argument("path", metavar="PATH", type=Path, help="the authors' results folder, or a file of curves")
    parser.add_argument("--out", metavar="CSV", type=Path, required=True, help="csv to write, with normalised scores")
    add_spacing(parser)
    arguments = parser.parse_args(argv)
    loaded = import_reference(arguments.path, arguments.reference_spacing)
    protocols = Protocols(loaded.table, loaded.runs, loaded.published)
    methods = loaded.table["agent"].str.removesuffix(" (published)")
    table = loaded.table.assign(method=methods, commit=commit_of(arguments.path) or UNKNOWN)
    protocols.beside(table).to_csv(arguments.out, index=False)
    for line in _summary(loaded):
        print(line)
    return 0


def _summary(loaded: Loaded) -> Iterator[str]:
    from analysis.frames import groups_of

    for (benchmark, variant), group in groups_of(loaded.table, "benchmark", "variant"):
        tasks, seeds = group["task"].nunique(), group["seed"].nunique()
        yield f"{benchmark}, {variant}: {tasks} tasks, {seeds} seeds, {max(group['env_steps']):,} env steps"
    yield from (f"left out: {line}" for line in loaded.left_out)


if __name__ == "__main__":
    sys.exit(main())
