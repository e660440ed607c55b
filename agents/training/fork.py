"""Begins a fork: the run takes over its source's checkpoint, and the metrics that the checkpoint covers."""

from __future__ import annotations

from pathlib import Path

from agents.training.checkpoint import CheckpointStore, DamagedError, Manifest
from agents.training.clock import Clock
from conf.schema import SourceConfig
from records import layout
from records.files import open_file, write_atomic
from records.rows import expect_prefix
from records.run_record import Coverage, check_begins_nothing_anew


def check_source(source: Path, env_steps: int) -> tuple[Manifest, Coverage]:
    """Return the checkpoint that forks of a run would go on from, and what of the run's record it covers.

    Args:
      source: the directory of the run.
      env_steps: of the checkpoint.
    Raises:
      DamagedError: the checkpoint is not there, or not whole.
      LostRowsError: the metrics are not the ones that the checkpoint covers.
    """
    body = CheckpointStore(source / layout.CHECKPOINTS).verified(env_steps)
    try:
        covered = Coverage(**body.meta["covered"])
    except (KeyError, TypeError) as error:
        raise DamagedError(f"the checkpoint's manifest says not what it covers ({error})") from None
    expect_prefix(source / layout.METRICS, covered.metrics, covered.metrics_sha256)
    return body, covered


def begin_fork(run_dir: Path, store: CheckpointStore, source: SourceConfig) -> None:
    """Give a fork that has no checkpoint the one of its source, whose metrics become the fork's first.

    Where this is cut short there is no checkpoint yet, and the next call begins again. Seconds are counted anew: a fork
    has cost what it has computed itself.

    Args:
      run_dir: the directory of the fork.
      store: the fork's checkpoints.
      source: what the fork goes on from.
    Raises:
      DamagedError: the source's checkpoint is not there, or not whole.
      LostRowsError: the source's metrics are not the ones that its checkpoint covers, or the fork has others.
      OSError: something cannot be written.
    """
    assert source.run_dir is not None
    assert source.env_steps is not None
    theirs = Path(source.run_dir)
    body, covered = check_source(theirs, source.env_steps)
    with open_file(theirs / layout.METRICS) as file:
        shared = file.read(covered.metrics).decode()
    ours = run_dir / layout.METRICS
    if not ours.exists() or ours.read_bytes() != shared.encode():
        check_begins_nothing_anew(run_dir)
        write_atomic(ours, shared)
    clock = Clock(reported=(source.env_steps, 0.0))
    meta = body.meta | {"covered": covered._replace(timing=0)._asdict(), "clock": clock.to_json()}
    store.adopt(CheckpointStore(theirs / layout.CHECKPOINTS), body, meta)
