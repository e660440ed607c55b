"""Writes a run directory: configuration, manifest, append-only rows, status. The names are in `records.layout`."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import files, layout
from records.files import write_atomic, write_json
from records.layout import RunOutcome
from records.provenance import provenance, slurm_ids
from records.rows import Row, RowFile


class RunRecord:
    """One run's directory, held under its lock by the caller."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self.metrics = RowFile(run_dir / layout.METRICS)
        self.timing = RowFile(run_dir / layout.TIMING)

    def positions(self) -> dict[str, int]:
        """Durable lengths of the row files, for a checkpoint."""
        return {"metrics": self.metrics.position(), "timing": self.timing.position()}

    def durable(self, positions: Mapping[str, int]) -> None:
        """Say that a checkpoint covers the row files up to these positions: what a mirror may send."""
        write_json(self.run_dir / layout.DURABLE, dict(positions))

    def cut(self, positions: Mapping[str, int]) -> None:
        """Drop rows that came after a checkpoint; they will come again."""
        self.metrics.cut(positions["metrics"])
        self.timing.cut(positions["timing"])
        self.durable(positions)

    def status(self, state: RunOutcome, **details: Any) -> None:
        """Say where the run stands."""
        write_status(self.run_dir, state, **details)

    def done(self, env_steps: int, score: float | None, rows: Sequence[Row]) -> None:
        """Mark the budget as reached; `rows` are the last evaluation's."""
        values = {"env_steps": env_steps, "score": score, "evaluation": [row._asdict() for row in rows]}
        write_json(self.run_dir / layout.DONE, values)

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()


def write_status(run_dir: Path, state: RunOutcome, **details: Any) -> None:
    origin = {"host": socket.gethostname(), "pid": os.getpid(), "slurm": slurm_ids()}
    write_json(run_dir / layout.STATUS, {"state": state, "time": time.time()} | details | origin)


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
