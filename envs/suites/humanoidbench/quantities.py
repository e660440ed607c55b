# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""The quantities of a simulation by name, as rewards read them: views, so that nothing is looked up or copied twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np


class Quantities:
    """What can be read of a simulation.

    Positions and velocities are those at the end of a step. Everything that follows from them (where bodies and sites
    are, sensors, forces, contacts) is 2 ms older: it belongs to the beginning of the last of the ten physics steps.
    After a reset and after `set_state` all of it is of the same moment.

    Attributes:
      qpos, qvel: `[nq]`, `[nv]`.
      joint, dof: by joint: its part of `qpos`, its part of `qvel`.
      body, quat, mat: by body: place `[3]`, orientation `[4]`, rotation matrix `[9]`.
      site, geom: by site, by geom: place `[3]`.
      sensor: by sensor.
      forces: of the actuators, `[nu]`.
    """

    def __init__(self, model: Any, data: Any, groups: Mapping[str, str]):
        """
        Args:
          model: MuJoCo's compiled scene.
          data: MuJoCo's simulation of it.
          groups: the task's groups of geoms, as `Task.touches` has them.
        """
        kinds = mujoco.mjtObj

        def named(kind: Any, count: int) -> list[tuple[str, int]]:
            names = [mujoco.mj_id2name(model, kind, index) for index in range(count)]
            return [(name, index) for index, name in enumerate(names) if name]

        self._data = data
        self.qpos, self.qvel, self.forces = data.qpos, data.qvel, data.actuator_force
        bodies, sites = named(kinds.mjOBJ_BODY, model.nbody), named(kinds.mjOBJ_SITE, model.nsite)
        joints = named(kinds.mjOBJ_JOINT, model.njnt)
        self.body = {name: data.xpos[index] for name, index in bodies}
        self.quat = {name: data.xquat[index] for name, index in bodies}
        self.mat = {name: data.xmat[index] for name, index in bodies}
        self.site = {name: data.site_xpos[index] for name, index in sites}
        self.geom = {name: data.geom_xpos[index] for name, index in named(kinds.mjOBJ_GEOM, model.ngeom)}
        self.sensor = {name: data.sensor(index).data for name, index in named(kinds.mjOBJ_SENSOR, model.nsensor)}
        self.joint = {name: data.joint(index).qpos for name, index in joints}
        self.dof = {name: data.joint(index).qvel for name, index in joints}
        self._labels = np.zeros(model.ngeom, np.int64)
        self._bits = {group: 1 << number for number, group in enumerate(groups)}
        for index in range(model.ngeom):
            name = f"{model.body(model.geom_bodyid[index]).name}/{model.geom(index).name}"
            for group, pattern in groups.items():
                if model.geom_contype[index] and re.fullmatch(pattern, name):
                    self._labels[index] |= self._bits[group]

    def touched(self, group: str, *, only: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> bool:
        """Tell whether a geom of a group touches anything, however lightly.

        Args:
          group: one of the task's groups of geoms.
          only: where given, only contacts with geoms of these groups count.
          but: contacts with geoms of these groups do not count.
        """
        if not self._data.ncon:
            return False
        one, other = self._labels[self._data.contact.geom].T.tolist()
        bit = self._bits[group]
        wanted = sum(self._bits[name] for name in only) or -1
        ignored = sum(self._bits[name] for name in but)
        for first, second in zip(one, other, strict=True):
            for mine, partner in ((first, second), (second, first)):
                if mine & bit and (not only or partner & wanted) and not partner & ignored:
                    return True
        return False
