"""Uniformly random actions, as training begins with and as the score of a random policy is measured with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.spec import SpaceSpec, TaskSpec


def random_actions(specs: Sequence[TaskSpec], rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Uniform actions `[T, A]` (discrete ones: `[T]`), each task's from its own generator, zero beyond its width."""
    space = SpaceSpec.of(specs)
    actions = np.zeros((len(specs), *space.action_shape), space.action_dtype)
    for row, (spec, rng) in enumerate(zip(specs, rngs, strict=True)):
        if spec.action_kind == "continuous":
            actions[row, : spec.action_dim] = rng.uniform(-1, 1, spec.action_dim)
        else:
            actions[row] = rng.integers(spec.action_dim)
    return actions
