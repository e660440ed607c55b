"""Writes a run directory: configuration, manifest, append-only rows, status. The names are in `records.layout`."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import files, layout
from records.files import tail_lines, write_atomic, write_json
from records.layout import RunOutcome
from records.provenance import provenance, slurm_ids
from records.rows import LostRowsError, Row, RowFile, cut


class RunDirGoneError(RuntimeError):
    """The directory of a running run was removed, moved or replaced."""


class Coverage(NamedTuple):
    """What a checkpoint covers of the row files: bytes of each, and the SHA-256 of those of the metrics."""

    metrics: int
    timing: int
    metrics_sha256: str


NO_ROWS = Coverage(0, 0, hashlib.sha256().hexdigest())


class RunRecord:
    """One run's directory, held under its lock by the caller.

    With `covered`, rows that came after the checkpoint that covers them are dropped; they will come again.

    Raises:
      LostRowsError: the metrics are not the ones that `covered` says. Rows of timing may be missing.
    """

    def __init__(self, run_dir: Path, covered: Coverage | None = None):
        self.run_dir = run_dir
        if covered is not None:
            cut(run_dir / layout.METRICS, covered.metrics, covered.metrics_sha256)
            try:
                cut(run_dir / layout.TIMING, covered.timing)
            except LostRowsError as error:
                print(f"warning: {error}; rates and times before it are incomplete", file=sys.stderr)
        self.metrics = RowFile(run_dir / layout.METRICS)
        self.timing = RowFile(run_dir / layout.TIMING)
        if covered is not None:
            self.durable(self.positions())

    def coverage(self) -> Coverage:
        """What has been written durably so far, for a checkpoint."""
        return Coverage(self.metrics.position(), self.timing.position(), self.metrics.sha256())

    def positions(self) -> dict[str, int]:
        """Durable lengths of the row files."""
        return {"metrics": self.metrics.position(), "timing": self.timing.position()}

    def durable(self, positions: Mapping[str, int]) -> None:
        """Say that a checkpoint covers the row files up to these positions: what a mirror may send."""
        write_json(self.run_dir / layout.DURABLE, dict(positions))

    def check_in_place(self) -> None:
        """Raises RunDirGoneError where the directory is not the one that the run began in."""
        if not self.metrics.in_place():
            raise RunDirGoneError(
                f"{self.run_dir}: was removed, moved or replaced while the run was writing it; the run has stopped"
            )

    def done(self, env_steps: int, score: float | None, rows: Sequence[Row]) -> None:
        """Mark the budget as reached; `rows` are the last evaluation's."""
        values = {"env_steps": env_steps, "score": score, "evaluation": [row._asdict() for row in rows]}
        write_json(self.run_dir / layout.DONE, values)

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()


def check_begins_nothing_anew(run_dir: Path) -> None:
    """Refuse to begin at step 0 in a directory whose record goes further, though it has no checkpoint.

    Raises:
      LostRowsError: DONE or metrics beyond step 0 are there.
    """
    beginning = '{"env_steps":0,'
    lines = tail_lines(run_dir / layout.METRICS, 2)  # of which the last may be cut short
    if any(not beginning.startswith(line[: len(beginning)]) for line in lines) or (run_dir / layout.DONE).exists():
        raise LostRowsError(
            f"{run_dir}: holds the record of a run, but its {layout.CHECKPOINTS} are gone, and to begin at step 0 "
            "would overwrite it; put them back, move the directory away, or choose another paths.runs"
        )


def write_status(run_dir: Path, state: RunOutcome, **details: Any) -> None:
    """Say where the run stands; on a full disk without a traceback, in the place of what was said before."""
    origin = {"host": socket.gethostname(), "pid": os.getpid(), "slurm": slurm_ids()}
    value = {"state": state, "time": time.time()} | details | origin
    try:
        write_json(run_dir / layout.STATUS, value)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        value.pop("traceback", None)
        files.overwrite(run_dir / layout.STATUS, json.dumps(value) + "\n")


def write_config(run_dir: Path, config: RunConfig) -> None:
    write_atomic(run_dir / layout.CONFIG, identity.config_to_json(config) + "\n")


def write_manifest(
    run_dir: Path, config: RunConfig, tasks: Sequence[Mapping[str, Any]], sizes: Mapping[str, int], device: str
) -> None:
    """Identity, tasks with their scores' constants, sizes, and one entry for each start of the run."""
    path = run_dir / layout.MANIFEST
    previous = files.read_whole(path, "starts") or {"starts": []}
    manifest = {
        "version": layout.VERSION,
        "identity": identity.hash_of(config),
        "identity_values": identity.values_of(config),
        "tasks": [dict(task) for task in tasks],
        "sizes": dict(sizes),
        "starts": [*previous["starts"], provenance(device)],
    }
    write_json(path, manifest)


def recorded_config(run_dir: Path) -> RunConfig:
    """The configuration recorded in a run directory, which may have been moved.

    Raises:
      ConfigError: there is no run, or its record does not lead back to this directory's name.
    """
    path = run_dir.resolve() / layout.CONFIG
    try:
        config = identity.config_from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--run-dir {run_dir}: no run to continue ({error})") from None
    config = dataclasses.replace(
        config, plan=False, resume=True, paths=dataclasses.replace(config.paths, runs=str(path.parents[2]))
    )
    if identity.run_dir(config) != path.parent:
        raise ConfigError(f"--run-dir {run_dir}: its record belongs to {identity.run_dir(config)}; was it renamed?")
    return config
