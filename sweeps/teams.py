"""Says which runs one process trains side by side: `launcher.seeds_together` that differ in the seed alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError
from records.run_dir import RunDir

T = TypeVar("T")


def teams(runs: Iterable[tuple[RunConfig | None, T]]) -> list[tuple[T, ...]]:
    """Return the runs by the process that trains them, in the order in which the processes' first runs come.

    What is left over from full teams is a team too. Its runs have the numbers that they would have in a full one.

    Args:
      runs: each with its configuration; a run without one is alone.
    """
    found: list[list[T]] = []
    open_teams: dict[str, list[T]] = {}
    for config, run in runs:
        if config is None or config.launcher.seeds_together == 1:
            found.append([run])
            continue
        setting = _without_seed(config)
        team = open_teams.get(setting)
        if team is None or len(team) == config.launcher.seeds_together:
            team = open_teams[setting] = []
            found.append(team)
        team.append(run)
    return [tuple(team) for team in found]


def recorded_teams(run_dirs: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Return the same of runs, by the configurations in their directories."""
    return teams((RunDir(run_dir).config(), run_dir) for run_dir in run_dirs)


def check_seeds(configs: Sequence[RunConfig]) -> None:
    """Refuse more seeds together than a command has of a setting.

    Raises:
      ConfigError: names the key and the number of seeds.
    """
    seeds: dict[str, int] = {}
    for config in configs:
        if config.launcher.seeds_together > 1:
            setting = _without_seed(config)
            seeds[setting] = seeds.get(setting, 0) + 1
    for config in configs:
        together = config.launcher.seeds_together
        if together > 1 and (there := seeds[_without_seed(config)]) < together:
            raise ConfigError(
                f"launcher.seeds_together={together}: {identity.family_name(config)} has {there} "
                f"seed{'s' if there > 1 else ''} in this command; at most that many, or more with "
                f"-m seed={','.join(map(str, range(min(together, 4))))}{',...' if together > 4 else ''}"
            )


def _without_seed(config: RunConfig) -> str:
    return repr(dataclasses.replace(config, seed=0))
