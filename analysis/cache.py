"""What was parsed of run directories, kept in the user's cache folder: only runs that changed are read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from analysis.table import Evaluations
from records import layout
from records.metrics import EVAL_NAMES

VERSION = 5
WATCHED = (
    layout.MANIFEST,
    layout.TASKS,
    layout.METRICS,
    layout.DONE,
    layout.STATUS,
    layout.TIMING,
    layout.TRACKING,
)
"""The files of a run that the cache must notice changes of."""


def fingerprint(path: Path) -> list[list[int]]:
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


def read_cache(root: Path) -> dict[str, dict[str, Any]]:
    """What an earlier load of `root` parsed, by directory; empty where there is none or it cannot be read."""
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(_cache_path(root))
        outer = json.loads(table.schema.metadata[b"runs"])
        if outer["version"] != VERSION:
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


def write_cache(root: Path, entries: dict[str, dict[str, Any]]) -> None:
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
    runs = json.dumps({"version": VERSION, "entries": plain})
    path = _cache_path(root)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table.replace_schema_metadata({"runs": runs}), temporary)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
