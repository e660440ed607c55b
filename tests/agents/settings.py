"""Settings of learners for tests: the numbers of `conf/agent/`, but for what a test sets itself."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from agents.learner import brc, brc_discrete
from conf.compose import compose

S = TypeVar("S")


@cache
def _defaults(agent: str) -> dict[str, Any]:
    benchmark = {"brc": "dmc_hard", "brc_discrete": "atari"}[agent]
    config = compose([f"benchmark={benchmark}"])
    return dataclasses.asdict(config.agent) | dataclasses.asdict(config.model)


def _settings(cls: type[S], agent: str, values: dict[str, Any]) -> S:
    known = _defaults(agent) | {"action_widths": (), "frozen": ()} | values
    return cls(**{field.name: known[field.name] for field in dataclasses.fields(cls)})  # type: ignore[arg-type]


def brc_settings(**values: Any) -> brc.Settings:
    """Return settings of `brc` with these values, which must include the tasks' sizes."""
    return _settings(brc.Settings, "brc", values)


def discrete_settings(**values: Any) -> brc_discrete.Settings:
    """Return settings of `brc_discrete` with these values, which must include the tasks' sizes."""
    return _settings(brc_discrete.Settings, "brc_discrete", values)


def params_of_flax(network: nn.Module, key: jax.Array, *inputs: Any) -> Any:
    """Return parameters as Flax draws them, in place of `networks.init_params`, where only shapes matter."""
    return network.init(key, *(jnp.zeros(one.shape, one.dtype) for one in inputs))["params"]
