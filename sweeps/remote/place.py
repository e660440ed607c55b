"""The place on another machine that a command names: host, folder and Python, checked as far as this machine can."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conf.agents import ImitationConfig
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import layout

RUNS = "runs"
"""The folder of runs over there, seen from the place's folder."""
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")


@dataclass(frozen=True)
class Place:
    """Where a sweep is submitted over ssh.

    Attributes:
      host: the machine, as ssh calls it.
      folder: the folder over there, seen from home.
      python: the Python over there, seen from that folder.
    """

    host: str
    folder: str
    python: str

    def enter(self) -> str:
        """Return the shell command that goes to the folder."""
        return f"cd -- {shlex.quote(self.folder)}"

    def address(self, path: str) -> str:
        """Return how rsync names a path below the folder."""
        return f"{self.host}:{self.folder}/{path}"

    def shell(self, command: str) -> str:
        """Return what a user types here to have a command executed in the folder."""
        return shlex.join(["ssh", self.host, f"{self.enter()} && {command}"])

    def receives(self, code: str) -> str:
        """Return a line about where a snapshot goes, and the Python that imports the snapshot there."""
        return f"over ssh: to {self.address(self.snapshot(code))}, for {self.python} there; nothing has been sent"

    def snapshot(self, code: str) -> str:
        """Return where a snapshot lies, seen from the folder."""
        return f"{RUNS}/{layout.CODE}/{code}"


def place_of(configs: Iterable[RunConfig]) -> Place:
    """Return the one place that all runs of a command name.

    Raises:
      ConfigError: they name several, none, or one that cannot be; or a run needs files that nobody sends there.
    """
    first, *others = configs
    launcher = first.launcher
    for key in ("host", "folder", "python", "wheels"):
        for other in others:
            if getattr(other.launcher, key) != getattr(launcher, key):
                raise ConfigError(f"launcher.{key}: must be the same for all runs of a command")
    host, python = launcher.host, launcher.python
    if host is None:
        raise ConfigError("launcher.host=null: launcher=ssh-slurm needs a machine, as ssh and ~/.ssh/config name it")
    if not HOST.fullmatch(host):
        raise ConfigError(f"launcher.host={host}: no name of a machine, such as cluster or me@login.cluster.org")
    folder = "." if launcher.folder in ("~", "~/") else launcher.folder.removeprefix("~/")
    if not folder.strip() or not folder.isprintable() or set(folder) & set(":$") or folder.startswith("~"):
        raise ConfigError(
            f"launcher.folder={launcher.folder}: must name a folder on {host}, from home or from /, "
            "without a colon or a dollar sign"
        )
    if not python.strip() or not python.isprintable() or python.startswith("-"):
        raise ConfigError(f"launcher.python={python}: must name a program on {host}")
    if launcher.wheels is not None and not Path(launcher.wheels).expanduser().is_dir():
        raise ConfigError(f"launcher.wheels={launcher.wheels}: no such folder on this machine")
    for config in (first, *others):
        check_portable(config)
    return Place(host, folder, python)


def check_portable(config: RunConfig) -> None:
    """Refuse a run that needs what is not sent.

    Raises:
      ConfigError: names the key, and what is allowed.
    """
    agent, env = config.agent, config.env
    files = {
        "init_from": config.init_from,
        "agents.fork": config.source.run_dir,
        "agent.dataset": agent.dataset if isinstance(agent, ImitationConfig) else None,
        "env.shadowhand.mesh_dir": env.shadowhand.mesh_dir,
        "env.humanoidbench.asset_dir": env.humanoidbench.asset_dir,
    }
    for key, value in files.items():
        if value is not None:
            raise ConfigError(
                f"{key}={value}: launcher=ssh-slurm sends code and no other files; allowed: launcher=slurm on "
                f"{config.launcher.host} itself, or a launcher of this machine"
            )
    if config.launcher.code == "live":
        raise ConfigError("launcher.code=live: launcher=ssh-slurm sends a snapshot; allowed: snapshot")
    if config.rerun == "stale":
        raise ConfigError("rerun=stale: launcher=ssh-slurm has one folder of runs; allowed: another launcher.folder")
