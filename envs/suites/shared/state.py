# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Puts a simulation into a state that a caller chooses: for tests, and for whoever debugs a reward."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np


class StateAtWill(abc.ABC):
    """An environment on MuJoCo whose simulation can be read, and put into any state.

    After `set_state`, the second half of a step (`end_step`) evaluates the state as the end of a step.
    """

    @property
    @abc.abstractmethod
    def model(self) -> Any:
        """The compiled scene, MuJoCo's own `MjModel`."""

    @property
    @abc.abstractmethod
    def data(self) -> Any:
        """The simulation's state and what was computed from it, MuJoCo's own `MjData`."""

    def task_values(self) -> tuple[str, ...]:
        """The names of the task's own values, such as a goal, that `set_state` takes too."""
        return ()

    def set_task(self, **values: Any) -> None:  # noqa: B027 (most tasks have no values)
        """Take values of the task, each of a name that `task_values` gives.

        Raises:
          ValueError: a value has another size than the task needs.
        """

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray, **task: Any) -> None:
        """Write positions and velocities, set controls and warm start to zero, and compute everything that follows.

        MuJoCo's warnings of earlier states are forgotten. What an environment remembers of its episode (steps so far,
        successes) stays as it was; `reset` clears it.

        Args:
          qpos: positions `[nq]`, in the model's order.
          qvel: velocities `[nv]`, in the model's order.
          task: values of the task by name, where the task has values.

        Raises:
          ValueError: an array has another length, or the task has no value of a given name.
        """
        import mujoco

        positions, velocities = (
            self._checked("qpos", qpos, (self.model.nq,)),
            self._checked("qvel", qvel, (self.model.nv,)),
        )
        if unknown := sorted(task.keys() - set(self.task_values())):
            raise ValueError(
                f"{', '.join(unknown)}: no value of this task; it takes {', '.join(self.task_values()) or 'none'}"
            )
        self.set_task(**task)
        self.data.qpos[:], self.data.qvel[:] = positions, velocities
        self.data.ctrl[:] = 0.0
        self.data.qacc_warmstart[:] = 0.0
        self.data.warning.number[:] = 0
        mujoco.mj_forward(self.model, self.data)

    @staticmethod
    def _checked(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return a copy of the values; raises ValueError where they have another shape."""
        array = np.array(values, np.float64)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; the task takes {shape}")
        return array
