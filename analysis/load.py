"""Run directories, an MLflow tracking URI or published curves -> one tidy table of evaluations."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from analysis.table import COLUMNS, RUN_COLUMNS, Evaluations, Loaded, LoadError, Run, assemble
from analysis.variants import AGENT, BENCHMARK, SEED, TASKS, WIDTH
from conf.identity import flat
from records import layout
from records.files import read_json
from records.metrics import ENVIRONMENT_S, EVAL_NAMES, EVAL_SCORE, TIME_PREFIX, eval_name

__all__ = ["COLUMNS", "RUN_COLUMNS", "LoadError", "Loaded", "load"]

INTERFERENCE = "interference/cosine"
"""Rows of the cosine between two tasks' gradients; their task is "a|b"."""
CACHE_VERSION = 1
WATCHED = (layout.MANIFEST, layout.METRICS, layout.DONE, layout.STATUS, layout.TIMING, layout.TRACKING)
"""The files of a run that the cache must notice changes of."""
SCORE_TOLERANCE = 1e-6


class UnreadableRunError(ValueError):
    """One line: why one run cannot be used."""


def load(source: Path | str, cache: bool = True) -> Loaded:
    """All evaluations of all runs that `source` holds.

    Runs may be in progress: an evaluation that is not wholly written is ignored.

    Args:
      source: a runs folder, one benchmark's folder, one run directory, an MLflow tracking URI, or published curves
        (`analysis.import_reference`).
      cache: keep what was parsed of run directories in the user's cache folder; only runs that changed are read again.
    Raises:
      LoadError: `source` does not exist, or nothing in it has an evaluation.
    """
    if re.match(r"[a-z][a-z0-9+-]*://?", str(source)):
        from analysis.from_mlflow import load_mlflow

        return load_mlflow(str(source))
    root = Path(source)
    if not root.exists():
        raise LoadError(f"{root}: no such folder or file")
    from analysis.import_reference import import_reference, is_reference

    if is_reference(root):
        return import_reference(root)
    if not root.is_dir():
        raise LoadError(f"{root}: not a folder of runs, nor a .csv or .csv.gz of curves")
    known = _read_cache(root) if cache else {}
    runs: list[Run] = []
    left_out: list[str] = []
    entries: dict[str, dict[str, Any]] = {}
    for path in _run_dirs(root):
        key = str(path.relative_to(root))
        fingerprint = _fingerprint(path)
        entry = known.get(key)
        if entry is None or entry["fingerprint"] != fingerprint:
            entry = _parsed(path) | {"fingerprint": fingerprint}
        entries[key] = entry
        if entry["problem"] is None:
            runs.append(_run(path, entry))
        else:
            left_out.append(f"{path.name}: {entry['problem']}")
    if cache and any(known.get(key) is not entry for key, entry in entries.items()):
        _write_cache(root, entries)
    return assemble(str(root), runs, left_out)


def _run_dirs(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        if {layout.CONFIG, layout.MANIFEST, layout.METRICS} & set(files):
            yield Path(folder)
            below.clear()  # checkpoints hold manifests of their own
        below[:] = sorted(name for name in below if name != layout.SWEEPS)


def _run(path: Path, entry: dict[str, Any]) -> Run:
    """The run that an entry of the cache describes, at its present place."""
    facts = entry["facts"] | {"folder": str(path.resolve())}
    return Run(path.name, entry["identity"], entry["constants"], entry["critic_params"], entry["evaluations"], facts)


def _parsed(path: Path) -> dict[str, Any]:
    """An entry of the cache: what can be used of a run directory, or its `problem`."""
    try:
        return _read(path) | {"problem": None}
    except UnreadableRunError as error:
        return {"problem": str(error)}


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path / layout.MANIFEST)
        lines = (path / layout.METRICS).read_bytes().split(b"\n")
        done = read_json(path / layout.DONE) or {}
    except FileNotFoundError as error:
        raise UnreadableRunError(f"no {Path(error.filename).name}") from None
    except (OSError, ValueError) as error:
        raise UnreadableRunError(str(error)) from None
    if manifest is None:
        raise UnreadableRunError(f"no readable {layout.MANIFEST}")
    if manifest.get("version") != layout.VERSION:
        raise UnreadableRunError(f"record version {manifest.get('version')}, not {layout.VERSION}")
    try:
        identity = flat(manifest["identity_values"])
        for key in (BENCHMARK, AGENT, WIDTH, SEED, TASKS):
            identity[key]
        constants = {
            task["id"]: [task["score_metric"], task["norm_low"], task["norm_high"]] for task in manifest["tasks"]
        }
        critic_params = int(manifest["sizes"]["critic_params"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableRunError(f"{layout.MANIFEST} lacks {error}") from None
    rows = list(_rows(lines))
    # An evaluation off the grid, at the end of the budget, is in DONE only.
    evaluated = [*(row for row in rows if row.get("name") in EVAL_NAMES), *done.get("evaluation", [])]
    return {
        "identity": identity,
        "constants": constants,
        "critic_params": critic_params,
        "evaluations": _checked(evaluations(evaluated, constants), constants),
        "facts": _facts(path, manifest) | {"interference": _interference(rows)},
    }


def _rows(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """The rows that the analysis reads."""
    for number, line in enumerate(lines, 1):
        # Nearly all rows are of training; parsing them would take most of the time.
        if b'"eval/' not in line and b'"interference/' not in line:
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield row
        elif number < len(lines):  # only the last line may be cut off
            raise UnreadableRunError(f"{layout.METRICS}, line {number}: not a row")


def evaluations(rows: Iterable[dict[str, Any]], constants: dict[str, list[Any]]) -> Evaluations:
    """A run's whole evaluations; the last one is ignored where it is still being written.

    Raises:
      UnreadableRunError: none yet, or a row is damaged, contradicts another or is of a task that the run has not.
    """
    found: dict[int, dict[tuple[str, str], float]] = {}
    updates: dict[int, int] = {}
    for row in rows:
        try:
            env_steps, name, task, value = row["env_steps"], row["name"], row["task"], row["value"]
            updates[env_steps] = row["update_steps"]
        except KeyError as error:
            raise UnreadableRunError(f"a row of an evaluation is damaged: {error}") from None
        if task is None:
            continue
        if type(env_steps) is not int or type(updates[env_steps]) is not int:
            raise UnreadableRunError(f"{name} of {task}: steps that are no integer")
        if task not in constants:
            raise UnreadableRunError(f"{name} of {task}, which is not among the run's tasks")
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UnreadableRunError(f"{name} of {task} at {env_steps:,} env steps is {value}, not a finite number")
        if found.setdefault(env_steps, {}).setdefault((name, task), float(value)) != value:
            raise UnreadableRunError(f"{name} of {task} at {env_steps:,} env steps has two values")
    scaled = {task for task, (_, low, high) in constants.items() if low is not None and high is not None}
    expected = {(name, task) for task in constants for name in EVAL_NAMES if name != EVAL_SCORE or task in scaled}
    partial = [steps for steps, values in found.items() if not expected <= values.keys()]
    if partial and partial != [max(found)]:
        raise UnreadableRunError(f"{layout.METRICS}: the evaluation at {min(partial)} env steps lacks rows")
    env_steps = sorted(found.keys() - partial)
    if not env_steps:
        raise UnreadableRunError("no evaluation yet")
    values = np.array(
        [[[found[at].get((name, task), np.nan) for name in EVAL_NAMES] for task in constants] for at in env_steps]
    )
    return Evaluations(np.array(env_steps), np.array([updates[at] for at in env_steps]), values)


def _checked(evaluations: Evaluations, constants: dict[str, list[Any]]) -> Evaluations:
    """The same; raises UnreadableRunError where a score does not follow from the raw value and the task's constants."""
    values = evaluations.values
    for task, (metric, low, high) in enumerate(constants.values()):
        if low is None or high is None:
            continue
        follows = (values[:, task, EVAL_NAMES.index(eval_name(metric))] - low) / (high - low)
        if not np.allclose(follows, values[:, task, 2], rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE):
            raise UnreadableRunError(f"the scores of {list(constants)[task]} do not follow from its {metric}")
    return evaluations


def _facts(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What is known of how the run was made; nothing here is needed to use it."""
    start = (manifest.get("starts") or [{}])[-1]
    status = read_json(path / layout.STATUS) or {}
    devices, _, device = str(start.get("device", "")).partition(" x ")
    last = _last_timing(path / layout.TIMING)
    seconds = sum(value for name, value in last.items() if name.startswith(TIME_PREFIX) and name != ENVIRONMENT_S)
    return {
        "state": status.get("state"),
        "hours": seconds / 3600 if seconds else None,
        "devices": int(devices) if devices.isdigit() else None,
        "device": device or None,
        "env_steps_per_s": last["env_steps"] / seconds if seconds else None,
        "updates_per_s": last["update_steps"] / seconds if seconds else None,
        "commit": start.get("git_commit"),
        "changed": start.get("git_diff_sha256") is not None,
        "versions": start.get("versions"),
        "command": start.get("command"),
        "mlflow": {
            uri: state["run_id"]
            for uri, state in (read_json(path / layout.TRACKING) or {}).items()
            if "run_id" in state
        },
    }


def _last_timing(path: Path) -> dict[str, float]:
    """The newest values of a timing file by name, beside its env_steps and update_steps."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    found: dict[str, float] = {}
    for line in lines:
        try:
            row = json.loads(line)
            found |= {row["name"]: row["value"], "env_steps": row["env_steps"], "update_steps": row["update_steps"]}
        except (ValueError, KeyError, TypeError):  # the first and the last line may be cut off
            continue
    return found


def _interference(rows: list[dict[str, Any]]) -> dict[str, float] | None:
    """The mean over training of the cosine between the gradients of each pair of tasks, where a run records it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.get("name") == INTERFERENCE and isinstance(row.get("value"), int | float) and "|" in str(row["task"]):
            values.setdefault(row["task"], []).append(row["value"])
    return {pair: float(np.mean(found)) for pair, found in values.items()} or None


def _fingerprint(path: Path) -> list[list[int]]:
    """Changes when a file that the table depends on does."""
    found = []
    for name in WATCHED:
        try:
            stat = (path / name).stat()
            found.append([stat.st_size, stat.st_mtime_ns])
        except OSError:
            found.append([-1, -1])
    return found


def _cache_path(root: Path) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "brc-multitask" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.parquet"


def _read_cache(root: Path) -> dict[str, dict[str, Any]]:
    """What an earlier load of `root` parsed, by directory; empty where there is none or it cannot be read."""
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(_cache_path(root))
        outer = json.loads(table.schema.metadata[b"runs"])
        if outer["version"] != CACHE_VERSION:
            return {}
        columns = {name: table[name].to_numpy() for name in table.column_names}
        entries = outer["entries"]
        for entry in entries.values():
            if entry["problem"] is None:
                first, last, tasks = entry["first"], entry["last"], len(entry["constants"])
                values = np.stack([columns[name][first:last] for name in EVAL_NAMES], axis=-1).reshape(-1, tasks, 3)
                steps = slice(first, last, tasks)
                entry["evaluations"] = Evaluations(columns["env_steps"][steps], columns["update_steps"][steps], values)
        return entries
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_cache(root: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Keep the entries for the next load; a cache that cannot be written is no reason to fail."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    usable = [entry for entry in entries.values() if entry["problem"] is None]
    plain: dict[str, Any] = {}
    first = 0
    for key, entry in entries.items():
        plain[key] = {name: value for name, value in entry.items() if name != "evaluations"}
        if entry["problem"] is None:
            plain[key] |= {"first": first, "last": first + entry["evaluations"].values[..., 0].size}
            first = plain[key]["last"]
    evaluated = [entry["evaluations"] for entry in usable]
    columns = {
        "env_steps": [np.repeat(one.env_steps, one.values.shape[1]) for one in evaluated],
        "update_steps": [np.repeat(one.update_steps, one.values.shape[1]) for one in evaluated],
        **{name: [one.values[..., at].ravel() for one in evaluated] for at, name in enumerate(EVAL_NAMES)},
    }
    table = pa.table({name: np.concatenate(parts or [np.empty(0)]) for name, parts in columns.items()})
    runs = json.dumps({"version": CACHE_VERSION, "entries": plain})
    path = _cache_path(root)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table.replace_schema_metadata({"runs": runs}), temporary)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
