"""Shadow Hand: a hand turns an object in its palm to a goal; 85 objects to train on, 29 to transfer to, 100 steps each.

The benchmark's authors have a scene and a mesh for each object. Here there is one environment, the hand of
gymnasium-robotics, and a table of the objects' measures (`objects.csv`). An object's shape is one convex hull: by
default that of the same mesh from an installed package where it has one, else a recipe fitted to the authors' mesh.
The score of an episode is whether any of its steps succeeded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from conf.schema import ShadowhandConfig
from envs.spec import TaskSpec
from envs.suites.shadowhand import sources
from envs.suites.shadowhand.objects import Object, table

if TYPE_CHECKING:
    import gymnasium

    from envs.suites.shadowhand.environment import ShadowHandEnv

PRELOAD = ("envs.suites.shadowhand.environment",)
NEEDS_GL = True
MAX_EPISODE_STEPS = 100
OBS_DIM = 68
ACTION_DIM = 20
SOURCE = (
    "arXiv:2505.23150; gymnasium-robotics 1.4.2; random_return: mean of 20 episodes, `python -m envs.random_return`"
)


def _spec(one: Object) -> TaskSpec:
    return TaskSpec(
        id=f"shadowhand/{one.name}",
        obs_shape=(OBS_DIM,),
        action_dim=ACTION_DIM,
        max_episode_steps=MAX_EPISODE_STEPS,
        score_metric="success",
        norm_low=0.0,
        norm_high=1.0,
        random_return=one.random_return,
        step_ms=one.step_ms,
        source=SOURCE,
        options=ShadowhandConfig(shapes="package", mesh_dir=None),
    )


TASKS = {name: _spec(one) for name, one in table().items()}


def configured(spec: TaskSpec, options: ShadowhandConfig) -> TaskSpec:
    """The task with these options."""
    return dataclasses.replace(spec, options=options)


def check(specs: Sequence[TaskSpec]) -> None:
    """Refuse tasks, all with the same options, of which the hand or the shape of an object is not to be had.

    Raises:
      ConfigError: names what is missing and how to get it.
    """
    sources.check([table()[spec.name] for spec in specs], specs[0].options)


def assets(spec: TaskSpec) -> dict[str, str]:
    """What the shape of the task's object is made of: source and name -> SHA-256."""
    return sources.assets(table()[spec.name], spec.options)


def make(spec: TaskSpec, *, render: bool = False) -> ShadowHandEnv:
    """An environment of the task."""
    from envs.suites.shadowhand import environment

    return environment.SeenShadowHandEnv(spec) if render else environment.ShadowHandEnv(spec)


def plain(spec: TaskSpec) -> gymnasium.Env:
    """The task as gymnasium-robotics steps it, to compare with."""
    with contextlib.redirect_stderr(io.StringIO()):  # the package speaks of others of its environments
        from envs.suites.shadowhand.library import PlainShadowHandEnv

    return PlainShadowHandEnv(spec)
