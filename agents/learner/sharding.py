"""Spreads a learner over several devices: rules that say along which axis a leaf is split, and the learner around them.

The compiler works out from the split leaves and batches which device computes what and what they tell each other
(`jax.sharding`), so that learners know nothing of devices. The numbers are those of one device, but for the order
of sums.

The devices may belong to several processes that know of each other (`jax.distributed`). Each process then calls the
same functions in the same order with the same arrays of the host, of which each device gets its part alone.
"""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents.learner.types import Array, Learner, Metrics
from conf.mesh import MeshConfig

DATA, MODEL = "data", "model"

_TORSO = r"(ensemble|student/actor)/(BroNet|PreNormNet|Mlp)_\d+/"
RULES: tuple[tuple[str, int], ...] = (
    (_TORSO + r"\w+_\d+/(kernel|bias|scale)", -1),  # the layer's outputs
    (r"ensemble/Dense_\d+/kernel", -2),  # a head's inputs, since its outputs are few
    (r"student/actor/(mean|raw_log_std)/kernel", -2),
)
"""The end of a leaf's path -> the axis that is split over `model`; every other leaf is whole on each device. Targets
and an optimiser's moments have the paths of their parameters at the end of their own."""


def make_mesh(config: MeshConfig) -> Mesh | None:
    """Return the mesh of devices `[data, model]`, those of all processes; None where the run computes on one device.

    Raises:
      ConfigError: JAX has fewer devices here, or several processes have more, some of which would have no part.
    """
    config.check_devices(jax.device_count(), jax.process_count())
    if config.devices == 1:
        return None
    devices = np.asarray(jax.devices()[: config.devices]).reshape(config.data, config.model)
    return Mesh(devices, (DATA, MODEL))


def spec_of(path: str, rank: int) -> PartitionSpec:
    """Return how the leaf at `path`, names between slashes, of so many axes is split."""
    for pattern, axis in RULES:
        if re.search(f"(^|/){pattern}$", path):
            spec: list[str | None] = [None] * rank
            spec[axis] = MODEL
            return PartitionSpec(*spec)
    return PartitionSpec()


def shardings(mesh: Mesh, tree: Any) -> Any:
    """Return the sharding of each leaf of a tree of arrays or shapes."""

    def of_leaf(path: Any, leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.ndim))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def shapes_on(mesh: Mesh | None, shapes: Any) -> Any:
    """Return a tree of `jax.ShapeDtypeStruct` in which each leaf says where it belongs; without a mesh, as it is."""
    if mesh is None:
        return shapes
    place = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)  # noqa: E731
    return jax.tree.map(place, shapes, shardings(mesh, shapes))


def put(array: np.ndarray, shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Return an array of the host where `shape` says that it belongs, or on the first device; waits until it is there,
    so that the host's copy can go before the next one is made."""
    return jax.block_until_ready(_on_devices(array, shape.sharding))


def placed(mesh: Mesh | None, state: Any) -> Any:
    """Return a state with each leaf split over the devices by the rules; without a mesh, on the first device."""
    return jax.device_put(state) if mesh is None else jax.tree.map(_on_devices, state, shardings(mesh, state))


def _on_devices(leaf: Array, where: Any) -> jax.Array:
    """An array that each process has, on the devices; `jax.device_put` would have processes compare what they have."""
    if jax.process_count() == 1:
        return jax.device_put(leaf, where)
    held = np.asarray(leaf)
    return jax.make_array_from_callback(held.shape, where, lambda part: held[part])


def spread(learner: Learner[Any, Any, Any], mesh: Mesh | None) -> Learner[Any, Any, Any]:
    """Return the learner whose updates take place on all devices of a mesh; without a mesh, the learner itself.

    States must be `placed`, and stay so. A batch `[U, B, ...]` comes from the host and is split along `B`; of several
    processes, each has the whole batch.
    """
    if mesh is None:
        return learner
    rows, whole = NamedSharding(mesh, PartitionSpec(None, DATA)), NamedSharding(mesh, PartitionSpec())

    @partial(jax.jit, static_argnames=("settings",), donate_argnames=("state",))
    def on_mesh(settings: Any, state: Any, batches: Any, return_scale: Array) -> tuple[Any, Metrics]:
        state, metrics = learner.update(settings, state, batches, return_scale)
        return jax.lax.with_sharding_constraint(state, shardings(mesh, state)), metrics

    def update(settings: Any, state: Any, batches: Any, return_scale: Array) -> tuple[Any, Metrics]:
        spread_out = jax.tree.map(lambda leaf: _on_devices(leaf, rows), batches)
        return on_mesh(settings, state, spread_out, _on_devices(return_scale, whole))

    return dataclasses.replace(learner, update=update)
