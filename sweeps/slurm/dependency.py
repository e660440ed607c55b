"""Jobs that wait for those of another sweep, also for those that the other sweep submits later.

A sweep's jobs depend on all jobs of the sweep that `launcher.after` names. Whoever submits further jobs of that sweep,
as a relaunch or a deciding sweep's next round do, has the waiting jobs wait for these too: the folder `followers` of
the sweep that is waited for holds a file for each array that waits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from conf.schema import LauncherConfig
from conf.typed import ConfigError
from records.files import write_atomic
from records.sweep import Sweep, find_sweep

FOLLOWERS = "followers"
FLAG = "dependency"


def before(after: str, runs: Path) -> Sweep:
    """Return the sweep that `launcher.after` names, among those of a folder of runs.

    Raises:
      ConfigError: there is no such sweep, or there are several.
    """
    try:
        return find_sweep(runs, after)
    except ConfigError as error:
        reason = str(error).removeprefix(f"{after}: ")
        raise ConfigError(f"launcher.after={after}: {reason}") from None


def with_dependency(launcher: LauncherConfig, arrays: Sequence[str]) -> LauncherConfig:
    """Return the launcher with a dependency on the end, however they end, of all jobs of some arrays."""
    dependency = joined(str(launcher.slurm.get(FLAG) or ""), arrays)
    return dataclasses.replace(launcher, slurm=launcher.slurm | {FLAG: dependency})


def joined(own: str, arrays: Sequence[str]) -> str:
    """Return a dependency of the user's own and one on the end of some arrays as one."""
    return ",".join([*([own] if own else []), f"afterany:{':'.join(arrays)}"])


def follow(folder: Path, array: str, own: str) -> None:
    """Write down that an array waits for the sweep of a folder.

    Args:
      folder: the folder of the sweep that is waited for.
      array: the array that waits.
      own: the dependency that the user has given the array.
    """
    path = folder / FOLLOWERS / array
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, own)


def followers(folder: Path) -> dict[str, str]:
    """Return the arrays that wait for the sweep of a folder, with the dependencies that users have given them."""
    return {path.name: path.read_text() for path in sorted(folder.glob(f"{FOLLOWERS}/[0-9]*"))}
