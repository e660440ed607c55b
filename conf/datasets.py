"""What a dataset of trajectories says of itself, and whether a run can learn from it; the arrays are not opened."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from conf.agents import ImitationConfig
from conf.schema import RunConfig
from conf.typed import ConfigError, Range, build

ABOUT = "dataset.json"
VERSION = 1


@dataclass(frozen=True)
class TaskFile:
    """The trajectories of one task.

    Attributes:
      file: the name of the file that holds them.
      sha256: the digest of what they hold, whatever the form of the file.
      teacher: whether the policy that acted is recorded too.
    """

    id: str
    file: str
    sha256: str
    obs_dim: Annotated[int, Range(ge=1)]
    action_dim: Annotated[int, Range(ge=1)]
    episodes: Annotated[int, Range(ge=1)]
    transitions: Annotated[int, Range(ge=1)]
    mean_return: float
    success: float
    teacher: bool


@dataclass(frozen=True)
class Origin:
    """A run whose policy acted in a dataset, as one of its checkpoints has the policy."""

    run: str
    identity: str
    env_steps: int
    git_commit: str | None
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A folder of trajectories.

    Attributes:
      id: the digest of the content of all tasks.
      tasks: one file of trajectories for each task.
      sources: the runs whose policies acted; empty where the trajectories come from elsewhere.
    """

    version: int
    id: str
    tasks: tuple[TaskFile, ...]
    sources: tuple[Origin, ...]

    def by_task(self) -> dict[str, TaskFile]:
        """Return the files by the tasks' ids."""
        return {task.id: task for task in self.tasks}


def read_dataset(folder: Path) -> Dataset:
    """Read what a dataset says of itself.

    Raises:
      ConfigError: there is none, or its description is damaged.
    """
    path = folder / ABOUT
    try:
        dataset = build(Dataset, json.loads(path.read_text()))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no dataset there ({ABOUT} is missing)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is damaged ({error})") from None
    if dataset.version != VERSION:
        raise ConfigError(f"{path}: is of version {dataset.version}, not {VERSION}")
    for file in dataset.tasks:
        if not (folder / file.file).is_file():
            raise ConfigError(f"{folder}: is damaged ({file.file} is missing)")
    return dataset


def with_dataset(config: RunConfig) -> RunConfig:
    """Return the configuration, of an agent that learns from a dataset with the digest of what the dataset holds.

    Raises:
      ConfigError: no dataset is named or there is none, it lacks a task or what is to be imitated, or has changed.
    """
    agent = config.agent
    if not isinstance(agent, ImitationConfig):
        return config
    if agent.dataset is None:
        raise ConfigError(
            f"agent.dataset=null: agent={agent.name} needs a folder that python -m agents.collect has written"
        )
    try:
        dataset = read_dataset(Path(agent.dataset))
    except ConfigError as error:
        raise ConfigError(f"agent.dataset={agent.dataset}: {error}") from None
    known = dataset.by_task()
    missing = [task for task in config.benchmark.task_ids if task not in known]
    if missing:
        raise ConfigError(
            f"agent.dataset={agent.dataset}: holds nothing of {', '.join(missing[:3])}; its tasks: {', '.join(known)}"
        )
    mute = [task for task in config.benchmark.task_ids if not known[task].teacher]
    if agent.target == "policy" and mute:
        raise ConfigError(
            f"agent.target=policy: {agent.dataset} does not hold the policy that acted in {', '.join(mute[:3])}; "
            "agent.target=actions learns the actions"
        )
    if agent.dataset_id not in (None, dataset.id):
        raise ConfigError(f"agent.dataset={agent.dataset}: holds {dataset.id} now, not {agent.dataset_id}")
    return dataclasses.replace(config, agent=dataclasses.replace(agent, dataset_id=dataset.id))
