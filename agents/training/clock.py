"""Measures where a run's time goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

PHASES = {
    "act": "acting",
    "sample": "sampling",
    "update": "updates",
    "env_wait": "environments",
    "insert": "replay",
    "record": "recording",
    "evaluation": "evaluation",
    "diagnostics": "diagnostics",
    "checkpoint": "checkpoints",
    "rest": "the rest",
}
"""The parts that a loop's time is split into, which add up to the whole, each with its name in words. `update` and
`env_wait` are what the loop waits for the device and for the environments, which work at the same time."""

LEAST_SHARE = 0.01


@dataclass
class Clock:
    """Counts seconds by phase of the loop, over all starts of a run. With several lanes, each books the time of all.

    Attributes:
      phases: seconds of each of `PHASES` since the run began; a checkpoint's are those that the loop waited for. What
        comes before the loop is no part.
      environment_s: seconds that the busiest worker of every step took, in all.
      reported: environment steps and seconds at the newest call of `rate`.
    """

    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    environment_s: float = 0.0
    reported: tuple[int, float] = (0, 0.0)
    _mark: float = field(default_factory=time.perf_counter)

    def begin(self) -> None:
        """Count from now on."""
        self._mark = time.perf_counter()

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

    def shares(self) -> str:
        """Return in words how long the loop has taken and what for: evaluation, and all that took 1% or more."""
        whole = sum(self.phases.values())
        parts = sorted(self.phases.items(), key=lambda part: -part[1])
        shown = [
            f"{PHASES.get(phase, phase)} {seconds / max(whole, 1e-9):.0%}"
            for phase, seconds in parts
            if phase == "evaluation" or seconds >= LEAST_SHARE * whole
        ]
        return f"{whole / 60:,.1f} min: {', '.join(shown)}"

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; `from_json` takes it back."""
        return {"phases": dict(self.phases), "environment_s": self.environment_s, "reported": self.reported}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Clock:
        """Return a clock that goes on from a checkpoint."""
        steps, seconds = value["reported"]
        return cls(dict.fromkeys(PHASES, 0.0) | value["phases"], value["environment_s"], (steps, seconds))
