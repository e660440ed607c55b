"""One contract, two learners: `continuous` and `discrete`, by the kind of actions that the agent takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from agents.learner import brc as continuous
from agents.learner import brc_discrete as discrete
from conf.schema import RunConfig
from envs.spec import SpaceSpec, TaskSpec

LEARNERS: dict[str, ModuleType] = {"continuous": continuous, "discrete": discrete}
"""Modules with

    LearnerSettings                                                     static, hashable
    init(settings, key) -> state                                        a pytree of arrays
    policy(state) -> policy                                             the part that acting reads
    task_embedding(state) -> array | None                               [T, D], where one is learned
    act(settings, policy, obs, task_ids, key, step, *, deterministic) -> actions
    update(settings, state, batches, return_scale) -> state, metrics    jitted; donates `state`

all of them pure.
"""


def learner_of(config: RunConfig) -> ModuleType:
    """The learner that the configured agent is."""
    return LEARNERS[config.agent.actions]


def settings_from(config: RunConfig, specs: Sequence[TaskSpec]) -> Any:
    """The learner's static settings: agent and model fields of the same name, and the tasks' sizes."""
    space = SpaceSpec.of(specs)
    settings = learner_of(config).LearnerSettings
    values: dict[str, Any] = dataclasses.asdict(config.agent) | dataclasses.asdict(config.model)
    values |= {
        "conditioning": config.conditioning,
        "num_tasks": len(specs),
        "obs_dim": space.obs_shape[0],
        "obs_shape": space.obs_shape,
        "action_dim": space.action_dim,
        "action_widths": tuple(spec.action_width for spec in specs),
    }
    return settings(**{field.name: values[field.name] for field in dataclasses.fields(settings)})
