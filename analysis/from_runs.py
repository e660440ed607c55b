"""Run directories -> what the tidy table is put together from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from analysis.cache import fingerprint, read_cache, write_cache
from analysis.table import LARGEST, Evaluations, Loaded, Run, assemble
from analysis.variants import AGENT, BENCHMARK, SEED, SOURCE, TASKS, WIDTH
from conf.identity import flat
from records import layout
from records.decode import DamagedRecordError
from records.entries import Manifest
from records.metrics import ENVIRONMENT_S, EVAL_NAMES, EVAL_PREFIX, EVAL_SCORE, TIME_PREFIX, eval_name
from records.rows import Row, last_rows, read_rows
from records.run_dir import RunDir
from records.sweep import read_sweep

EVALUATED = (f'"{EVAL_PREFIX}'.encode(),)
"""What the lines of an evaluation's rows have in them, and hardly any other."""
TIMING_TAIL = 20_000
"""Bytes at the end of a timing file that hold the newest value of each name."""
SCORE_TOLERANCE = 1e-6


class UnreadableRunError(ValueError):
    """One line: why one run cannot be used."""


def load_runs(root: Path, cache: bool) -> Loaded:
    """All evaluations of all runs below a folder.

    Raises:
      LoadError: no run can be used.
    """
    return _load(root, root, _run_dirs(root), cache)


def load_sweep(record: Path, cache: bool) -> Loaded:
    """All evaluations of the runs that a sweep's record lists.

    Raises:
      ConfigError: the record cannot be read.
      LoadError: no run can be used.
    """
    run_dirs = (member.run_dir for member in read_sweep(record.absolute()).members)
    return _load(record, record.absolute().parents[1], run_dirs, cache)


def _load(source: Path, root: Path, run_dirs: Iterable[Path], cache: bool) -> Loaded:
    """All evaluations of some runs below `root`; what was parsed is kept under the name of `source`."""
    known = read_cache(source) if cache else {}
    runs: list[Run] = []
    left_out: list[str] = []
    entries: dict[str, dict[str, Any]] = {}
    for path in run_dirs:
        key = os.path.relpath(path, root)
        state = fingerprint(path)
        entry = known.get(key)
        if entry is None or entry["fingerprint"] != state:
            entry = parsed(path) | {"fingerprint": state}
        entries[key] = entry
        if entry["problem"] is None:
            runs.append(_run(path, entry))
        else:
            left_out.append(f"{path.name}: {entry['problem']}")
    if cache and any(known.get(key) is not entry for key, entry in entries.items()):
        write_cache(source, entries)
    notes = [note for entry in entries.values() for note in entry.get("notes", ())]
    return assemble(str(source), runs, left_out, notes)


def _run_dirs(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        if {layout.CONFIG, layout.MANIFEST, layout.METRICS} & set(files):
            yield Path(folder)
            below.clear()  # checkpoints hold manifests of their own
        below[:] = sorted(name for name in below if name not in (layout.SWEEPS, layout.CODE))


def _run(path: Path, entry: dict[str, Any]) -> Run:
    """The run that an entry of the cache describes, at its present place."""
    facts = entry["facts"] | {"folder": str(path.resolve())}
    return Run(
        path.name,
        entry["identity"],
        entry["constants"],
        entry["critic_params"],
        entry["update_flops"],
        entry["evaluations"],
        facts,
    )


def parsed(path: Path) -> dict[str, Any]:
    """An entry of the cache: what can be used of a run directory, or its `problem`."""
    try:
        return _read(path) | {"problem": None}
    except UnreadableRunError as error:
        return {"problem": str(error)}


def _read(path: Path) -> dict[str, Any]:
    record = RunDir(path)
    try:
        manifest, tasks = record.require_manifest(), record.require_tasks()
        missing = [name for name, one in ((layout.MANIFEST, manifest), (layout.TASKS, tasks)) if one is None]
        if not (path / layout.METRICS).exists():
            missing.append(layout.METRICS)
        if missing or manifest is None or tasks is None:
            raise UnreadableRunError(f"no {missing[0]}")
        rows = [row for row, _ in read_rows(Row, path / layout.METRICS, having=EVALUATED) if row.name in EVAL_NAMES]
    except DamagedRecordError as error:
        raise UnreadableRunError(f"{error.path.name} {error.reason}") from None
    identity = identity_of(manifest.identity_values)
    constants = {task.id: [task.score_metric, task.norm_low, task.norm_high] for task in tasks}
    if "critic_params" not in manifest.sizes:
        raise UnreadableRunError(f"{layout.MANIFEST} has no critic_params")
    # An evaluation off the grid, at the end of the budget, is in DONE only.
    notes = []
    try:
        done = record.require_done()
        if done is not None:
            rows += done.evaluation
            notes += [
                f"{path.name}: {count:,} training episodes of {task} ended because the simulation diverged"
                for task, count in done.divergences.items()
            ]
    except DamagedRecordError as error:
        notes.append(f"{path.name}: {error.path.name} {error.reason}, so an evaluation off the grid may be missing")
    return {
        "identity": identity,
        "constants": constants,
        "critic_params": manifest.sizes["critic_params"],
        "update_flops": update_flops(manifest),
        "evaluations": checked(evaluations(rows, constants), constants),
        "facts": _facts(record, manifest),
        "notes": notes,
    }


def identity_of(values: dict[str, Any]) -> dict[str, Any]:
    """The flattened identity values, of which the ones that the analysis reads have the right type.

    Which run another was started from is no setting; at which step, and what kind of run that was, are.
    """
    identity = flat(values)
    kind, env_steps = (identity.pop(f"{SOURCE}.{name}", None) for name in ("kind", "env_steps"))
    identity.pop(f"{SOURCE}.identity", None)
    if kind is not None:
        identity[SOURCE] = f"{kind}@{env_steps}"
    identity.pop("init.old_tasks_every_steps", None)  # which looks on, and changes nothing
    kinds = {BENCHMARK: str, AGENT: str, WIDTH: int, SEED: int, TASKS: list}
    for key, kind in kinds.items():
        if type(identity.get(key)) is not kind:
            raise UnreadableRunError(f"{layout.MANIFEST}: {key} is {identity.get(key)!r:.40}")
    if not all(isinstance(task, str) for task in identity[TASKS]):
        raise UnreadableRunError(f"{layout.MANIFEST}: {TASKS} are no names")
    return identity


def evaluations(rows: Iterable[Row], constants: dict[str, list[Any]]) -> Evaluations:
    """A run's whole evaluations; the last one is ignored where it is still being written.

    Raises:
      UnreadableRunError: none yet, or a row contradicts another or is of a task that the run has not.
    """
    found: dict[int, dict[tuple[str, str], float]] = {}
    updates: dict[int, int] = {}
    for env_steps, update_steps, name, task, value in rows:
        updates[env_steps] = update_steps
        if task is None:
            continue
        if task not in constants:
            raise UnreadableRunError(f"{name} of {task}, which is not among the run's tasks")
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


def checked(evaluations: Evaluations, constants: dict[str, list[Any]]) -> Evaluations:
    """The same; raises UnreadableRunError where a score does not follow from the raw value and the task's constants."""
    values = evaluations.values
    if np.any(np.abs(values) >= LARGEST):
        raise UnreadableRunError(f"{layout.METRICS} has a return or score of {LARGEST:g} or more")
    for task, (metric, low, high) in enumerate(constants.values()):
        if low is None or high is None:
            continue
        follows = (values[:, task, EVAL_NAMES.index(eval_name(metric))] - low) / (high - low)
        if not np.allclose(follows, values[:, task, 2], rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE):
            raise UnreadableRunError(f"the scores of {list(constants)[task]} do not follow from its {metric}")
    return evaluations


def update_flops(manifest: Manifest) -> float:
    """The floating-point operations of one gradient update, as the run recorded them; NaN where it did not."""
    return float(manifest.sizes.get("update_flops", float("nan")))


def origin_of(manifest: Manifest) -> dict[str, str | None]:
    """The run's identity, and the identity and step of the checkpoint that the run was started from."""
    source = manifest.source
    return {"identity": manifest.identity, "source": f"{source.identity}@{source.env_steps}" if source.kind else None}


def _facts(record: RunDir, manifest: Manifest) -> dict[str, Any]:
    """What is known of how the run was made; nothing here is needed to use the run."""
    start = manifest.starts[-1] if manifest.starts else None
    status = record.status()
    devices, _, device = (start.device if start else "").partition(" x ")
    rows = last_rows(Row, record.path / layout.TIMING, TIMING_TAIL)
    newest = {row.name: row.value for row in rows}
    source = manifest.source
    begin = (source.env_steps or 0, source.update_steps or 0) if source.kind == "fork" else (0, 0)
    seconds = sum(value for name, value in newest.items() if name.startswith(TIME_PREFIX) and name != ENVIRONMENT_S)
    return {
        "state": status.state if status else None,
        "hours": seconds / 3600 if seconds else None,
        "devices": int(devices) if devices.isdigit() else None,
        "device": device or None,
        "env_steps_per_s": (rows[-1].env_steps - begin[0]) / seconds if seconds else None,
        "updates_per_s": (rows[-1].update_steps - begin[1]) / seconds if seconds else None,
        "commit": start.git_commit if start else None,
        "changed": start is not None and start.git_diff_sha256 is not None,
        "versions": start.versions if start else None,
        "stand_ins": manifest.stand_ins,
        **origin_of(manifest),
        "command": start.command if start else None,
        "mlflow": {uri: state.run_id for uri, state in record.mirrors().items() if state.run_id is not None},
    }
