"""Puts the networks of another run into a fresh learner's state, segment by segment.

What the source has is taken over as it is: of observations and actions the leading components that both runs have, of
tasks the embeddings (or heads, or one-hot columns) by task. What the source lacks stays as in a fresh run. Optimisers
stay fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from agents.learner.critic import CriticSettings
from agents.learner.parts import ACTOR_HEADS, path_of

State = TypeVar("State")
NETWORKS = ("actor", "critic", "target_critic")
FRESH, MEAN = -1, -2
"""Instead of the number of a task of the source: begin as a fresh run, or as the mean of the source's tasks."""


class ArchitectureError(ValueError):
    """The source's networks are of another form than this run's."""


@dataclass(frozen=True)
class Segments:
    """How the two runs' inputs, outputs and tasks lie; pairs are what the source has and what this run has.

    Attributes:
      obs: widths of observations.
      action: widths of actions, or numbers of discrete ones.
      tasks: numbers of tasks.
      rows: `[T]`, the number of the source's task that each task of this run begins as, or `FRESH` or `MEAN`.
    """

    obs: tuple[int, int]
    action: tuple[int, int]
    tasks: tuple[int, int]
    rows: Sequence[int]


def leading(fresh: np.ndarray, source: np.ndarray, axis: int) -> np.ndarray:
    """Return `fresh` with what `source` has at the beginning of an axis, as far as both reach."""
    result, entries = np.moveaxis(fresh.copy(), axis, 0), np.moveaxis(source, axis, 0)
    common = min(len(result), len(entries))
    result[:common] = entries[:common]
    return np.moveaxis(result, 0, axis)


def by_task(fresh: np.ndarray, source: np.ndarray, axis: int, rows: Sequence[int]) -> np.ndarray:
    """Return `fresh` with the entries of `source` along an axis of tasks.

    Args:
      fresh, source: arrays of the two runs.
      axis: the axis of tasks.
      rows: as `Segments.rows`.
    """
    result, entries = np.moveaxis(fresh.copy(), axis, 0), np.moveaxis(source, axis, 0)
    for task, row in enumerate(rows):
        if row != FRESH:
            result[task] = entries.mean(axis=0) if row == MEAN else entries[row]
    return np.moveaxis(result, 0, axis)


def first_layer(
    settings: CriticSettings,
    fresh: np.ndarray,
    source: np.ndarray,
    inputs: Sequence[tuple[int, int]],
    rows: Sequence[int],
) -> np.ndarray:
    """Return a first layer's kernel `[..., I, W]`, whose inputs are segments one after another, the task's last.

    Args:
      settings: of this run.
      fresh, source: the kernels of the two runs.
      inputs: widths, at the source and here, of the segments before the task's.
      rows: as `Segments.rows`.
    """
    theirs = np.split(source, np.cumsum([there for there, _ in inputs]), axis=-2)
    ours = np.split(fresh, np.cumsum([here for _, here in inputs]), axis=-2)
    parts = [leading(one, other, -2) for one, other in zip(ours[:-1], theirs[:-1], strict=True)]
    one_hot = settings.conditioning == "one_hot"
    task = by_task(ours[-1], theirs[-1], -2, rows) if one_hot else theirs[-1]  # of an embedding, equally wide
    return np.concatenate([*parts, task], axis=-2)


def last_layer(
    settings: CriticSettings, fresh: np.ndarray, source: np.ndarray, outputs: tuple[int, int], segments: Segments
) -> np.ndarray:
    """Return a last layer's kernel `[..., W, H * F * K]` or bias `[..., H * F * K]`.

    Args:
      settings: of this run.
      fresh, source: the arrays of the two runs.
      outputs: `F` at the source and here, such as the numbers of actions. `K`, such as the return bins of each, is one.
      segments: how the `H` heads of tasks lie, where each task has its own.
    """
    several = settings.conditioning == "heads"
    heads, rows = (segments.tasks, segments.rows) if several else ((1, 1), (0,))
    theirs = source.reshape(*source.shape[:-1], heads[0], outputs[0], -1)
    ours = fresh.reshape(*fresh.shape[:-1], heads[1], outputs[1], -1)
    common = min(outputs)
    found = by_task(ours[..., :common, :], theirs[..., :common, :], -3, rows)
    return np.concatenate([found, ours[..., common:, :]], axis=-2).reshape(fresh.shape)


def transferred(settings: CriticSettings, state: State, arrays: Mapping[str, np.ndarray], segments: Segments) -> State:
    """Return a fresh state with the networks, the temperature and the tasks' entropies of another run.

    Args:
      settings: of this run.
      state: a fresh state of the learner `brc` or `brc_discrete`.
      arrays: the learner's state of the other run, by path: `critic/...`, `actor/...`.
      segments: how the two runs' inputs, outputs and tasks lie.
    Raises:
      ArchitectureError: the other run's networks are of another form.
    """
    fields: dict[str, Any] = state._asdict()  # type: ignore[attr-defined]
    discrete = "actor" not in fields
    changed: dict[str, Any] = {}
    for network in NETWORKS:
        if network in fields:
            changed[network] = jax.tree_util.tree_map_with_path(
                lambda path, leaf, network=network: _leaf(
                    settings, np.asarray(leaf), arrays, (network, *path_of(path)), discrete, segments
                ),
                fields[network],
            )
    if "log_temperature" in fields:
        changed["log_temperature"] = _source_array(arrays, ("log_temperature",), 0)
    if "entropy" in fields:
        entropy = _source_array(arrays, ("entropy",), 1)
        changed["entropy"] = by_task(np.asarray(fields["entropy"]), entropy, 0, segments.rows)
    return state._replace(**changed)  # type: ignore[attr-defined]


def _source_array(arrays: Mapping[str, np.ndarray], path: tuple[str, ...], ndim: int) -> np.ndarray:
    name = "/".join(path)
    if name not in arrays or arrays[name].ndim != ndim:
        raise ArchitectureError(f"the source's networks have no array {name} of {ndim} axes")
    return arrays[name]


def _leaf(
    settings: CriticSettings,
    fresh: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    path: tuple[str, ...],
    discrete: bool,
    segments: Segments,
) -> np.ndarray:
    """One array of the networks, from the fresh one and the source's."""
    source = _source_array(arrays, path, fresh.ndim)
    network, *inner = path
    if inner[0] == "conditioning":
        found = by_task(fresh, source, 0, segments.rows)
    elif is_first_layer(network, inner):
        if discrete:
            features = fresh.shape[-2] - task_width(settings)
            seen = [(features, features)]
        else:
            seen = [segments.obs] if network == "actor" else [segments.obs, segments.action]
        found = first_layer(settings, fresh, source, seen, segments.rows)
    elif is_last_layer(network, inner):
        acts = discrete or network == "actor"
        found = last_layer(settings, fresh, source, segments.action if acts else (1, 1), segments)
    else:
        found = source
    if found.shape != fresh.shape or found.dtype != fresh.dtype:
        raise ArchitectureError(
            f"the source's array {'/'.join(path)} is {source.dtype}{list(source.shape)}, "
            f"which does not become {fresh.dtype}{list(fresh.shape)}"
        )
    return found


def task_width(settings: CriticSettings) -> int:
    """Return how many inputs tell a network the task."""
    return {"embedding": settings.embedding_dim, "one_hot": settings.num_tasks}.get(settings.conditioning, 0)


def is_first_layer(network: str, inner: Sequence[str]) -> bool:
    """Say whether a leaf is the kernel that sees a network's inputs: of the first dense layer in a torso."""
    if network == "actor":
        return list(inner[1:]) == ["Dense_0", "kernel"]
    return inner[0] == "ensemble" and list(inner[2:]) == ["Dense_0", "kernel"]


def is_last_layer(network: str, inner: Sequence[str]) -> bool:
    """Say whether a leaf belongs to the layer that gives a network's outputs."""
    if network == "actor":
        return inner[0] in ACTOR_HEADS
    return inner[0] == "ensemble" and inner[1].startswith("Dense")


def acting_on(params: Any, embedding: np.ndarray | None) -> Any:
    """Return what acting reads, with the embeddings `[T, D]` of other tasks (None: networks that see no task)."""
    conditioning = {} if embedding is None else {"embedding": embedding}
    return (
        params | {"conditioning": conditioning}
        if isinstance(params, dict)
        else params._replace(conditioning=conditioning)
    )
