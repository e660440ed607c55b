"""What a task is: its sizes, its episode and how its score is normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

NUMBER_BYTES = 4  # of an action's component, or of a discrete action


@dataclass(frozen=True)
class TaskSpec:
    """One task of one suite.

    Attributes:
      id: `suite/name`, unique over all suites.
      obs_shape: `(O,)` for vectors, `(stack, H, W)` for frames: the newest last, zeros before an episode's first.
      obs_dtype: "float32" for vectors, "uint8" for frames.
      action_dim: width of a continuous action in [-1, 1], or the number of discrete actions.
      action_kind: which of the two.
      max_episode_steps: environment steps after which an episode is truncated.
      score_metric: what an episode's raw score is: its undiscounted return, or whether it succeeded.
      norm_low, norm_high: raw scores that normalise to 0 and 1; None where no constant exists.
      random_return: measured mean undiscounted return of uniformly random actions; information only.
      source: where the numbers come from.
      options: how the suite's environments are configured, the suite's own dataclass of `conf.schema`; None where a
        suite has no options.
      step_ms: measured cost of a native step, on one core that steps many in turn, by which tasks are dealt to workers;
        only ratios matter.
      family: what steps it: the suite's own simulator, or EnvPool.
    """

    id: str
    obs_shape: tuple[int, ...]
    action_dim: int
    max_episode_steps: int
    score_metric: Literal["return", "success"]
    norm_low: float | None
    norm_high: float | None
    random_return: float | None
    source: str
    obs_dtype: Literal["float32", "uint8"] = "float32"
    action_kind: Literal["continuous", "discrete"] = "continuous"
    options: Any = None
    step_ms: float = 0.1
    family: Literal["native", "envpool"] = "native"

    @property
    def suite(self) -> str:
        return self.id.split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.id.split("/", 1)[1]

    @property
    def frame_width(self) -> int:
        """How many numbers one step adds to an observation: a whole vector, or one image of a stack."""
        return int(np.prod(self.obs_shape[-2:]))

    @property
    def action_width(self) -> int:
        """How many numbers an action has: the components of a continuous one, one number for a discrete one."""
        return self.action_dim if self.action_kind == "continuous" else 1

    def transition_bytes(self, action_width: int) -> int:
        """Return the bytes of one transition's observation and action in replay, with actions of that width."""
        return self.frame_width * np.dtype(self.obs_dtype).itemsize + NUMBER_BYTES * action_width

    def normalised(self, score: float) -> float | None:
        """`(score - norm_low) / (norm_high - norm_low)`, not clipped; None where the constants are missing."""
        if self.norm_low is None or self.norm_high is None:
            return None
        return (score - self.norm_low) / (self.norm_high - self.norm_low)


@dataclass(frozen=True)
class SpaceSpec:
    """The common spaces of several tasks: vectors padded to the widest, frames and action kind alike.

    Raises:
      ValueError: if the tasks cannot share one observation or action array.
    """

    obs_shape: tuple[int, ...]
    obs_dtype: str
    action_dim: int
    action_kind: str

    @classmethod
    def of(cls, specs: Sequence[TaskSpec]) -> SpaceSpec:
        kinds = {(spec.obs_dtype, spec.action_kind, len(spec.obs_shape)) for spec in specs}
        shapes = {spec.obs_shape for spec in specs}
        actions = {spec.action_dim for spec in specs}
        if (
            len(kinds) != 1
            or (len(shapes) > 1 and len(specs[0].obs_shape) != 1)
            or (len(actions) > 1 and specs[0].action_kind == "discrete")
        ):
            names = ", ".join(spec.id for spec in specs)
            raise ValueError(f"these tasks cannot share one observation and action array: {names}")
        shape = specs[0].obs_shape if len(shapes) == 1 else (max(s.obs_shape[0] for s in specs),)
        return cls(shape, specs[0].obs_dtype, max(s.action_dim for s in specs), specs[0].action_kind)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """`(A,)` for continuous actions, `()` for discrete ones."""
        return (self.action_dim,) if self.action_kind == "continuous" else ()

    @property
    def action_dtype(self) -> str:
        return "float32" if self.action_kind == "continuous" else "int32"

    @property
    def stack(self) -> int:
        """Frames in one observation; 1 for vectors."""
        return self.obs_shape[0] if len(self.obs_shape) == 3 else 1
