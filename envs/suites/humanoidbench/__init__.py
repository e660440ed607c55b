"""HumanoidBench's tasks of the humanoid H1, with Shadow hands (`h1hand`) and without (`h1`).

Scenes, rewards, terminations and resets are those of HumanoidBench 0.2, which needs an older MuJoCo and cannot be
installed beside the other suites. What differs, and by how much at most in any of the 37 tasks (MuJoCo 3.3.0):

| what differs | by how much | why it is fair |
| --- | --- | --- |
| feet: hulls of 31 corners, not of 918 | held on the floor: positions 6e-4 after 1 step, 7e-3 after 10 | same sole |
| the same | balance_hard: positions 2e-2 after 10 steps; all: reward 4e-4 after 1 step | each corner within 4 mm |
| fingertips: hulls of 32 corners | first reward with an object at rest: 7e-7 (window: 2e-4) | within 0.8 mm |
| links: the hulls' corners alone | 50 steps without contact: 2e-13 | meshes touch as their hulls |
| looks of hands, books, hoop: plain shapes | nothing that moves | masses and inertias are given as numbers |
| a reset clears spoon's counter, truck's lists, the last books | later episodes of an environment | as for all suites |
| a seeded reset begins both random streams anew | nothing after `numpy.random.seed(s)` | the same |
| observations are float32 | 6e-8 of a value | the learner has them so |

With `env.humanoidbench.meshes=upstream` and HumanoidBench's own four files, feet and fingertips do not differ:
trajectories are the same, contacts with the floor included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from conf.schema import HumanoidBenchConfig
from conf.scores import score_constants
from envs.spec import TaskSpec
from envs.suites.humanoidbench import meshes
from envs.suites.humanoidbench.tasks import TASKS as TASK_OF
from envs.suites.shared.assets import digests

if TYPE_CHECKING:
    import gymnasium

    from envs.suites.humanoidbench.env import HumanoidBenchEnv

PRELOAD = ("envs.suites.humanoidbench.env",)
NEEDS_GL = True
ACTION_DIMS = {"h1": 19, "h1hand": 61}
STANDIN = HumanoidBenchConfig(meshes="standin", asset_dir=None)
SOURCE = "HumanoidBench 0.2, its authors' table of scores; random_return: `python -m envs.random_return`"

# name: (width of the observation, random_return, step_ms)
_MEASURED: Mapping[str, tuple[int, float | None, float]] = {
    "h1-walk": (51, 4.2, 0.3),
    "h1-stand": (51, 16.2, 0.3),
    "h1-run": (51, 3.1, 0.3),
    "h1-stair": (51, 5.7, 0.4),
    "h1-crawl": (51, 276.9, 0.3),
    "h1-pole": (51, 23.4, 0.5),
    "h1-slide": (51, 5.0, 0.4),
    "h1-hurdle": (51, 3.8, 0.4),
    "h1-maze": (51, 107.6, 0.4),
    "h1hand-walk": (151, 4.2, 1.3),
    "h1hand-stand": (151, 18.8, 1.4),
    "h1hand-run": (151, 3.9, 1.3),
    "h1hand-stair": (151, 6.8, 1.5),
    "h1hand-crawl": (151, 295.3, 1.3),
    "h1hand-pole": (151, 22.7, 1.7),
    "h1hand-slide": (151, 6.3, 1.7),
    "h1hand-hurdle": (151, 3.9, 1.6),
    "h1hand-maze": (151, 107.1, 1.6),
    "h1hand-sit_simple": (151, 12.4, 1.3),
    "h1hand-sit_hard": (164, 4.5, 1.3),
    "h1hand-balance_simple": (164, 13.7, 1.4),
    "h1hand-balance_hard": (177, 13.5, 1.4),
    "h1hand-reach": (157, -340.7, 1.3),
    "h1hand-spoon": (167, 4.9, 1.4),
    "h1hand-window": (171, 2.8, 1.6),
    "h1hand-insert_small": (190, 1.9, 1.5),
    "h1hand-insert_normal": (190, 2.1, 1.6),
    "h1hand-bookshelf_simple": (308, 23.4, 2.7),
    "h1hand-bookshelf_hard": (308, 20.8, 2.7),
    "h1hand-basketball": (164, 10.5, 1.3),
    "h1hand-cabinet": (213, 23.5, 1.8),
    "h1hand-cube": (181, 5.7, 1.4),
    "h1hand-door": (155, 4.8, 1.8),
    "h1hand-powerlift": (164, 22.5, 1.5),
    "h1hand-push": (163, -243.9, 1.4),
    "h1hand-room": (229, 4.8, 1.8),
    "h1hand-truck": (216, 553.8, 1.8),
}


def _spec(name: str, obs_dim: int, random_return: float | None, step_ms: float) -> TaskSpec:
    robot, task = name.split("-", 1)
    constants = score_constants()[f"humanoidbench/{name}"]
    return TaskSpec(
        id=f"humanoidbench/{name}",
        obs_shape=(obs_dim,),
        action_dim=ACTION_DIMS[robot],
        max_episode_steps=TASK_OF[task].max_episode_steps,
        score_metric="return",
        norm_low=constants.norm_low,
        norm_high=constants.norm_high,
        random_return=random_return,
        step_ms=step_ms,
        source=SOURCE,
        options=STANDIN,
    )


TASKS = {name: _spec(name, *measured) for name, measured in _MEASURED.items()}


def configured(spec: TaskSpec, options: HumanoidBenchConfig) -> TaskSpec:
    """The task with these options.

    Raises:
      ConfigError: the package with the robot's meshes is missing, or `asset_dir` lacks a whole mesh.
    """
    meshes.link_files()
    meshes.upstream_files(options)
    return dataclasses.replace(spec, options=options)


def assets(spec: TaskSpec) -> dict[str, str]:
    """The SHA-256 of each file whose mesh touches something, by file name.

    Raises:
      ConfigError: as `configured`.
    """
    links = {path.name: path for path in meshes.link_files(touching=True).values()}
    return digests(links | meshes.upstream_files(spec.options))


def make(spec: TaskSpec, *, render: bool = False) -> HumanoidBenchEnv:
    """An environment of the task; one that renders has what there is to see, and moves in the same way."""
    from envs.suites.humanoidbench.env import HumanoidBenchEnv

    return HumanoidBenchEnv(spec, looks=render)


def plain(spec: TaskSpec) -> gymnasium.Env:
    """The task with whole steps and all that there is to see, as HumanoidBench's users have it, for comparison."""
    import gymnasium

    return gymnasium.Wrapper(make(spec, render=True))
