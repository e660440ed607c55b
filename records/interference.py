"""How the tasks' gradients lie to each other: a file of arrays for each measurement, `interference/step-*.npz`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from records import layout
from records.decode import DamagedRecordError
from records.files import open_file, replacing

BY_TASK = ("grad_norm", "loss", "td_error", "td_spread")
TOLERANCE = 1e-3
"""Of cosines, which are float32."""


@dataclass(frozen=True)
class Interference:
    """One measurement.

    Attributes:
      env_steps, update_steps: when it was made.
      tasks: ids of the tasks, in order.
      cosine: `[T, T]`, between the tasks' gradients of the critic; 0 where a gradient is.
      grad_norm: `[T]`, norms of the gradients.
      loss: `[T]`, the critic's.
      td_error: `[T]`, mean magnitude of target minus value, in normalised return.
      td_spread: `[T]`, standard deviation of target minus value.
    """

    env_steps: int
    update_steps: int
    tasks: tuple[str, ...]
    cosine: np.ndarray
    grad_norm: np.ndarray
    loss: np.ndarray
    td_error: np.ndarray
    td_spread: np.ndarray

    @property
    def conflict_rate(self) -> float:
        """The share of pairs of tasks whose gradients point against each other; NaN where there is one task."""
        pairs = self.cosine[np.triu_indices(len(self.tasks), 1)]
        return float(np.mean(pairs < 0)) if len(pairs) else float("nan")


def place(run_dir: Path, env_steps: int) -> Path:
    """Return the file of the measurement at so many environment steps."""
    return run_dir / layout.INTERFERENCE / f"step-{env_steps:09d}.npz"


def write_interference(run_dir: Path, found: Interference) -> None:
    """Write a measurement, whole or not at all."""
    path = place(run_dir, found.env_steps)
    path.parent.mkdir(exist_ok=True)
    arrays = {name: getattr(found, name) for name in ("cosine", *BY_TASK)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, tasks=np.asarray(found.tasks), update_steps=np.asarray(found.update_steps), **arrays)


def read_interference(path: Path) -> Interference:
    """Return the measurement that a file holds.

    Raises:
      DamagedRecordError: the file cannot be read, or holds something else.
    """
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as loaded:
            arrays = dict(loaded)
        tasks = tuple(str(task) for task in arrays["tasks"])
        cosine, *others = (np.asarray(arrays[name], float) for name in ("cosine", *BY_TASK))
        steps = int(path.stem.removeprefix("step-")), int(arrays["update_steps"])
    except KeyError as error:
        raise DamagedRecordError(path, f"has no array {error}") from None
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DamagedRecordError(path, f"cannot be read ({error})") from None
    count = len(tasks)
    if count == 0 or cosine.shape != (count, count) or any(one.shape != (count,) for one in others):
        raise DamagedRecordError(path, f"has arrays of other lengths than its {count} tasks")
    if not all(np.isfinite(one).all() for one in (cosine, *others)):
        raise DamagedRecordError(path, "has a value that is no finite number")
    if np.abs(cosine).max() > 1 + TOLERANCE or not np.allclose(cosine, cosine.T, atol=TOLERANCE):
        raise DamagedRecordError(path, "has cosines above 1, or others for a pair than for the pair turned round")
    return Interference(*steps, tasks, cosine, *others)


def measurements(run_dir: Path) -> Iterator[Interference]:
    """Yield the measurements of a run, in order; none where there are none.

    Raises:
      DamagedRecordError: a file is damaged.
    """
    for path in sorted((run_dir / layout.INTERFERENCE).glob("step-*.npz")):
        yield read_interference(path)
