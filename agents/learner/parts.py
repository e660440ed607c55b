"""Names the parts that networks consist of, leaf by leaf, and keeps frozen parts as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from agents.learner.types import Params

ACTOR_HEADS = ("mean", "raw_log_std")


def path_of(path: Any) -> tuple[str, ...]:
    """Return the names along a leaf's path."""
    return tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path)


def critic_part(path: tuple[str, ...]) -> str:
    """Return the part that a leaf of a critic's parameters belongs to: the ensemble's last layer is its head."""
    if path[0] == "ensemble":
        return "critic_head" if path[1].startswith("Dense") else "critic_torso"
    return {"conditioning": "embedding"}.get(path[0], path[0])


def actor_part(path: tuple[str, ...]) -> str:
    """Return the part that a leaf of an actor's parameters belongs to."""
    return "actor_head" if path[0] in ACTOR_HEADS else "actor_torso"


def trained(updates: Params, part_of: Any, frozen: Collection[str]) -> Params:
    """Return the updates of a tree of parameters, with zeros for the parts that are frozen.

    Args:
      updates: what an optimiser would add to the parameters.
      part_of: a leaf's path -> the name of its part.
      frozen: names of parts.
    """
    if not frozen:
        return updates
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if part_of(path_of(path)) in frozen else leaf, updates
    )
