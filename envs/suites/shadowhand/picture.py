# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Draws a state of the hand and its object, with the goal beside it."""

from __future__ import annotations

import mujoco
import numpy as np

FRAME_SIZE = 400, 400  # height, width of a rendered frame
LOOK_AT, DISTANCE, AZIMUTH, ELEVATION = (1.05, 0.9, 0.17), 0.5, 55.0, -25.0
BESIDE = 0.15  # metres along x, between the goal's place and where the goal is shown


class Picture:
    """A scene to look at, which is put into one state after another.

    Args:
      model: the scene, whose first positions are those of the simulation and whose last are the shown goal's.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model, self._data = model, mujoco.MjData(model)
        self._renderer = mujoco.Renderer(model, *FRAME_SIZE)
        self._camera = mujoco.MjvCamera()
        self._camera.lookat[:] = LOOK_AT
        self._camera.distance, self._camera.azimuth, self._camera.elevation = DISTANCE, AZIMUTH, ELEVATION

    def draw(self, qpos: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """A frame `[H, W, 3]` of positions `[31]` and a goal `[7]`."""
        self._data.qpos[:] = np.concatenate([qpos, goal])
        self._data.qpos[len(qpos)] += BESIDE
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        return self._renderer.render()

    def close(self) -> None:
        self._renderer.close()
