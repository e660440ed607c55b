"""Finds the run, and the checkpoint of that run, that a command line names."""

from __future__ import annotations

import re
from pathlib import Path

from conf.typed import ConfigError, did_you_mean
from records import layout

AT = re.compile(r"(?P<run>.+)@(?P<step>\d[\d_]*)")
"""How a checkpoint is named: RUN@STEP."""


def find_run(runs: Path, name: str) -> Path:
    """Return a run's directory by path, or by a part of its name.

    Raises:
      ConfigError: there is none, or there are several.
    """
    if (Path(name) / layout.CONFIG).exists():
        return Path(name).absolute()
    known = {path.parent.name: path.parent for path in runs.absolute().glob(f"*/*/{layout.CONFIG}")}
    matches = [run for run in known if name in run]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise ConfigError(f"{name}: several runs are called so: {', '.join(sorted(matches)[:20])}")
    raise ConfigError(f"{name}: no such run in {runs}; {did_you_mean(name, known)}see python -m sweeps.status".strip())


def find_point(runs: Path, name: str) -> tuple[Path, int | None]:
    """Return the run's directory and the environment steps that `RUN@STEP` names; None for a run's newest checkpoint.

    Raises:
      ConfigError: there is no such run, or there are several.
    """
    at = AT.fullmatch(name)
    if at is None or (Path(name) / layout.CONFIG).exists():
        return find_run(runs, name), None
    return find_run(runs, at["run"]), int(at["step"])
