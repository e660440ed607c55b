"""One run of a command, as its overrides and yaml files compose it."""

from __future__ import annotations

from dataclasses import dataclass

from conf.schema import RunConfig


@dataclass(frozen=True)
class Composed:
    """One run of a command.

    Attributes:
      config: the run's configuration.
      varied: the swept keys and values that tell the run from its siblings.
      part: the part of the sweep that the run belongs to; empty where the sweep has no parts.
      source: the run of the same sweep whose networks the run begins with; None where there is none.
    """

    config: RunConfig
    varied: dict[str, str]
    part: str = ""
    source: RunConfig | None = None
