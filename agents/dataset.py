"""Writes and reads trajectories: one Parquet file a task, and a description of all of them (dataset.json).

A row is a step: episode, step, observation, action, reward, terminated, truncated, success; the policy that acted,
where it is known, as teacher_mean and teacher_log_std (a Gaussian before tanh); source, the number of the run in
dataset.json; and final_observation, what followed the last step of an episode, empty elsewhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.replay.recorded import Trajectories
from conf.datasets import ABOUT, VERSION, Dataset, Origin, TaskFile
from conf.typed import ConfigError
from envs.spec import TaskSpec
from records.files import write_json

FLAGS = ("terminated", "truncated", "success")
TEACHER = {"mean": "teacher_mean", "log_std": "teacher_log_std"}


def write_dataset(
    folder: Path, specs: Sequence[TaskSpec], trajectories: Sequence[Trajectories], sources: Sequence[Origin]
) -> Dataset:
    """Write the trajectories of tasks into a folder, and return what the folder says of itself.

    Args:
      folder: is there already.
      specs: `[T]`, the tasks.
      trajectories: `[T]`, those of each.
      sources: the runs whose policies acted.
    """
    files = []
    for spec, one in zip(specs, trajectories, strict=True):
        name = f"{spec.id.replace('/', '-')}.parquet"
        pq.write_table(as_table(one), folder / name, compression="zstd")
        ends = np.cumsum(one.lengths)[:-1]
        files.append(
            TaskFile(
                id=spec.id,
                file=name,
                sha256=digest(one),
                obs_dim=one.obs.shape[1],
                action_dim=one.action.shape[1],
                episodes=len(one.lengths),
                transitions=len(one.obs),
                mean_return=float(np.mean([part.sum() for part in np.split(one.reward.astype(float), ends)])),
                success=float(np.mean([part.any() for part in np.split(one.success, ends)])),
                teacher=one.mean is not None,
            )
        )
    whole = hashlib.sha256("".join(sorted(f"{file.id} {file.sha256}\n" for file in files)).encode()).hexdigest()[:16]
    dataset = Dataset(VERSION, whole, tuple(files), tuple(sources))
    write_json(folder / ABOUT, dataclasses.asdict(dataset))
    return dataset


def as_table(one: Trajectories) -> pa.Table:
    """Return trajectories as a table."""
    episodes = np.repeat(np.arange(len(one.lengths), dtype=np.int32), one.lengths)
    starts = np.cumsum(one.lengths) - one.lengths
    columns: dict[str, pa.Array] = {
        "episode": pa.array(episodes),
        "step": pa.array((np.arange(len(one.obs)) - starts[episodes]).astype(np.int32)),
        "observation": vectors(one.obs),
        "action": vectors(one.action),
        "reward": pa.array(one.reward.astype(np.float32)),
        **{name: pa.array(getattr(one, name)) for name in FLAGS},
        "source": pa.array(one.source[episodes].astype(np.int32)),
    }
    for name, column in TEACHER.items():
        if getattr(one, name) is not None:
            columns[column] = vectors(getattr(one, name))
    width = np.zeros(len(one.obs) + 1, np.int32)
    width[starts + one.lengths] = one.obs.shape[1]
    finals = pa.array(one.final_obs.astype(np.float32).reshape(-1))
    columns["final_observation"] = pa.ListArray.from_arrays(pa.array(np.cumsum(width, dtype=np.int32)), finals)
    return pa.table(columns)


def vectors(values: np.ndarray) -> pa.Array:
    """Return the rows of `values` `[N, W]` as a column of lists of 32-bit numbers."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def digest(one: Trajectories) -> str:
    """Return the SHA-256 of what a student learns from: lengths, observations, actions and the policy that acted."""
    found = hashlib.sha256()
    found.update(np.ascontiguousarray(one.lengths, np.int64).tobytes())
    for values in (one.obs, one.action, one.mean, one.log_std):
        if values is not None:
            found.update(np.ascontiguousarray(values, np.float32).tobytes())
    return found.hexdigest()


def read_trajectories(folder: Path, file: TaskFile) -> Trajectories:
    """Read the trajectories of a task.

    Raises:
      ConfigError: the file is missing or damaged, or holds something else than its dataset says.
    """
    path = folder / file.file
    try:
        table = pq.read_table(path)
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}

        def rows(name: str, width: int) -> np.ndarray:
            return columns[name].flatten().to_numpy(zero_copy_only=False).reshape(-1, width)

        def numbers(name: str) -> np.ndarray:
            return columns[name].to_numpy(zero_copy_only=False)

        def teacher(name: str) -> np.ndarray | None:
            return rows(TEACHER[name], file.action_dim) if TEACHER[name] in columns else None

        episodes = numbers("episode")
        _, firsts, lengths = np.unique(episodes, return_index=True, return_counts=True)
        found = Trajectories(
            lengths=lengths,
            obs=rows("observation", file.obs_dim),
            final_obs=rows("final_observation", file.obs_dim),
            action=rows("action", file.action_dim),
            reward=numbers("reward"),
            source=numbers("source")[firsts],
            terminated=numbers("terminated"),
            truncated=numbers("truncated"),
            success=numbers("success"),
            mean=teacher("mean"),
            log_std=teacher("log_std"),
        )
        whole = len(found.obs) == len(found.action) == len(episodes) and digest(found) == file.sha256
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    if not whole:
        raise ConfigError(f"{path}: does not hold what {ABOUT} says; collect the dataset again")
    return found
