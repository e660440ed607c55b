"""Measures where a run's time goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

PHASES = ("act", "sample", "dispatch", "env_wait", "insert", "evaluation", "diagnostics", "checkpoint")


@dataclass
class Clock:
    """Counts seconds by phase of the loop, over all starts of a run. With several lanes, each books the time of all.

    Attributes:
      phases: seconds of each of `PHASES` since the run began; a checkpoint's are those that the loop waited for.
      environment_s: seconds that the busiest worker of every step took, in all.
      reported: environment steps and seconds at the newest call of `rate`.
    """

    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    environment_s: float = 0.0
    reported: tuple[int, float] = (0, 0.0)
    _mark: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Book the time since the last call under a phase."""
        now = time.perf_counter()
        self.phases[phase] += now - self._mark
        self._mark = now

    def rate(self, env_steps: int) -> float:
        """Return the environment steps a second since the last call; there are `env_steps` by now."""
        steps, seconds = self.reported
        self.reported = env_steps, sum(self.phases.values())
        return (env_steps - steps) / max(self.reported[1] - seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; `from_json` takes it back."""
        return {"phases": dict(self.phases), "environment_s": self.environment_s, "reported": self.reported}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Clock:
        """Return a clock that goes on from a checkpoint."""
        steps, seconds = value["reported"]
        return cls(dict.fromkeys(PHASES, 0.0) | value["phases"], value["environment_s"], (steps, seconds))
