"""A run's directory, written: the run's rows, and the small files beside them."""

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
from records import files, layout
from records.files import append_to, write_atomic, write_json
from records.layout import RunOutcome
from records.lock import Kind, Lock
from records.provenance import provenance, slurm_ids
from records.rows import Crash, LostRowsError, Row, RowFile, cut
from records.run_dir import RunDir


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

    With `covered`, rows that came after the checkpoint that covers them are dropped; they will come again. With `lock`,
    `check_in_place` asks whether the caller still holds it.

    Raises:
      LostRowsError: the metrics are not the ones that `covered` says. Rows of timing may be missing.
    """

    def __init__(self, run_dir: Path, covered: Coverage | None = None, lock: Lock | None = None):
        self.run_dir, self._lock = run_dir, lock
        if covered is not None:
            try:
                cut(run_dir / layout.METRICS, covered.metrics, covered.metrics_sha256)
            except LostRowsError as error:
                cure = "put the file back as it was, or move the run's directory away to begin anew"
                raise LostRowsError(f"{error}; {cure}") from None
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
        """Look whether this process may still write the directory.

        Raises:
          RunDirGoneError: the directory is not the one that the run began in.
          LostLockError: another process holds the lock now.
        """
        if not self.metrics.in_place():
            raise RunDirGoneError(
                f"{self.run_dir}: was removed, moved or replaced while the run was writing it; the run has stopped"
            )
        if self._lock is not None:
            self._lock.check()

    def done(
        self, env_steps: int, score: float | None, rows: Sequence[Row], divergences: Mapping[str, int] | None = None
    ) -> None:
        """Mark the budget as reached.

        Args:
          env_steps: the budget.
          score: the last evaluation's.
          rows: the last evaluation's.
          divergences: by task id, how many training episodes ended because the simulation diverged; only tasks where
            one did.
        """
        values = {"env_steps": env_steps, "score": score, "evaluation": [row._asdict() for row in rows]}
        write_json(self.run_dir / layout.DONE, values | ({"divergences": dict(divergences)} if divergences else {}))

    def close(self) -> None:
        self.metrics.close()
        self.timing.close()


def check_begins_nothing_anew(run_dir: Path) -> None:
    """Refuse to begin at step 0 in a directory whose record goes further, though it has no checkpoint.

    Raises:
      LostRowsError: DONE or metrics beyond step 0 are there.
    """
    beginning = '{"env_steps":0,'
    lines = files.tail_lines(run_dir / layout.METRICS, 2)  # of which the last may be cut short
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
    """Write the resolved configuration of this start."""
    write_atomic(run_dir / layout.CONFIG, identity.config_to_json(config) + "\n")


def write_manifest(
    run_dir: Path,
    config: RunConfig,
    tasks: Sequence[Mapping[str, Any]],
    sizes: Mapping[str, int],
    device: str,
    lock: Kind,
    assets: Mapping[str, str],
    transfer: Mapping[str, Any] | None = None,
) -> None:
    """Write what the run is, and add one entry for this start.

    Args:
      run_dir: the run's directory.
      config: the resolved configuration.
      tasks: the specifications of the run's tasks, in order.
      sizes: numbers of parameters and bytes.
      device: number and kind of the accelerators.
      lock: what kind of lock the caller holds.
      assets: the SHA-256 of each file that shapes the physics of the tasks, by `suite/file`.
      transfer: what this start takes over from the networks of the run's source; None: what an earlier start wrote.
    """
    previous = RunDir(run_dir).manifest()
    starts = [dataclasses.asdict(start) for start in previous.starts] if previous else []
    write_json(run_dir / layout.TASKS, {"tasks": [dict(task) for task in tasks]})
    manifest = {
        "version": layout.VERSION,
        "identity": identity.hash_of(config),
        "identity_values": identity.values_of(config),
        "sizes": dict(sizes),
        "starts": [*starts, provenance(device, lock)],
        "assets": dict(assets),
    }
    if config.source.kind is not None:
        manifest["source"] = dataclasses.asdict(config.source)
    if transfer := transfer or (previous and previous.transfer):
        manifest["transfer"] = dict(transfer)
    write_json(run_dir / layout.MANIFEST, manifest)


def note_crash(run_dir: Path, reason: str) -> None:
    """Add to the run's crashes that its process died or failed just now."""
    row = Crash(time.time(), reason)
    with append_to(run_dir / layout.CRASHES) as file:
        file.write(json.dumps(row._asdict()).encode() + b"\n")
