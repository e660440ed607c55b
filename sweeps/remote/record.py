"""Where this machine keeps the record of a command's sweep: the name is the one that the sweep has over there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conf.composed import Composed
from sweeps.opening import manifest_path
from sweeps.plan.plan import plan


def record_path(overrides: Sequence[str], members: Sequence[Composed]) -> Path:
    """Return the path of the sweep's record; a search and a deciding sweep have names of their own.

    Args:
      overrides: the command line, without options.
      members: the runs.
    Raises:
      ConfigError: there can be no such sweep.
    """
    sweep = members[0].config.sweep
    if sweep.search.space:
        from sweeps.search.study import compose

        return compose(overrides, Path.cwd()).path
    if sweep.decide.max_seeds is not None:
        from sweeps.decide.command import deciding_path

        return deciding_path(members)
    return manifest_path(plan(members))
