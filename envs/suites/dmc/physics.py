# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""dm_control's two largest domains, read with less Python: humanoids, and dogs without their bones and skin."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache, cached_property

import mujoco
import numpy as np
from dm_control.mujoco import wrapper
from dm_control.suite import dog, humanoid

from envs.suites.shared.scenery import strip, touches

VERTICAL = [6, 7, 8]  # of a rotation matrix: what points up


class Reading:
    """Numbers of a simulation by index, for a subclass of `Physics`."""

    @cached_property
    def _positions(self) -> np.ndarray:
        """Of all bodies, a view `[nbody, 3]`."""
        return self.data.ptr.xpos

    @cached_property
    def _rotations(self) -> np.ndarray:
        """Of all bodies, a view `[nbody, 9]`."""
        return self.data.ptr.xmat

    @cached_property
    def _sensors(self) -> np.ndarray:
        return self.data.ptr.sensordata

    @cached_property
    def _torso(self) -> int:
        return self._bodies("torso")[0]

    def _bodies(self, *names: str) -> list[int]:
        return [self.model.name2id(name, "body") for name in names]

    def _readings_of(self, names: Sequence[str]) -> np.ndarray:
        """Indices of sensors' numbers."""
        model = self.model.ptr
        sensors = [model.sensor(name) for name in names]
        return np.concatenate([np.arange(one.adr[0], one.adr[0] + one.dim[0]) for one in sensors])


class HumanoidPhysics(Reading, humanoid.Physics):
    """`humanoid.Physics`, with the same numbers."""

    @cached_property
    def _head(self) -> int:
        return self._bodies("head")[0]

    @cached_property
    def _limbs(self) -> list[int]:
        return self._bodies("left_hand", "left_foot", "right_hand", "right_foot")

    @cached_property
    def _velocity(self) -> np.ndarray:
        return self._readings_of(["torso_subtreelinvel"])

    def torso_upright(self) -> float:
        return self._rotations[self._torso, 8]

    def head_height(self) -> float:
        return self._positions[self._head, 2]

    def center_of_mass_velocity(self) -> np.ndarray:
        return self._sensors.take(self._velocity)

    def torso_vertical_orientation(self) -> np.ndarray:
        return self._rotations[self._torso].take(VERTICAL)

    def extremities(self) -> np.ndarray:
        frame = self._rotations[self._torso].reshape(3, 3)
        return np.concatenate([limb.dot(frame) for limb in self._positions[self._limbs] - self._positions[self._torso]])


class DogPhysics(Reading, dog.Physics):
    """`dog.Physics`, with the same numbers. The floor may have another size, which matters to the eye only."""

    @classmethod
    def from_xml_string(cls, xml_string: bytes, assets: dict[str, bytes] | None = None) -> DogPhysics:
        return cls.from_model(wrapper.MjModel(copy.copy(_dog())))

    @cached_property
    def _torso_pelvis(self) -> list[int]:
        return self._bodies("torso", "pelvis")

    @cached_property
    def _upright(self) -> np.ndarray:
        """Indices `[3, 3]` into all rotations."""
        return 9 * np.array(self._bodies("skull", "torso", "pelvis"))[:, None] + VERTICAL

    @cached_property
    def _hinges(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the hinges' angles and velocities."""
        hinges = self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        return self.model.jnt_qposadr[hinges], self.model.jnt_dofadr[hinges]

    @cached_property
    def _inertial(self) -> np.ndarray:
        return self._readings_of(["accelerometer", "velocimeter", "gyro"])

    @cached_property
    def _touch(self) -> np.ndarray:
        return self._readings_of(["palm_L", "palm_R", "sole_L", "sole_R"])

    @cached_property
    def _feet(self) -> np.ndarray:
        return self._readings_of(["foot_L", "foot_R", "hand_L", "hand_R"])

    @cached_property
    def _velocity(self) -> np.ndarray:
        return self._readings_of(["torso_linvel"])

    def torso_pelvis_height(self) -> np.ndarray:
        return self._positions[self._torso_pelvis, 2]

    def z_projection(self) -> np.ndarray:
        return self._rotations.take(self._upright)

    def upright(self) -> np.ndarray:
        return self._rotations.take(self._upright[:, 2])

    def center_of_mass_velocity(self) -> np.ndarray:
        return self._sensors.take(self._velocity)

    def torso_com_velocity(self) -> np.ndarray:
        return self.center_of_mass_velocity().dot(self._rotations[self._torso].reshape(3, 3))

    def joint_angles(self) -> np.ndarray:
        return self.data.qpos.take(self._hinges[0])

    def joint_velocities(self) -> np.ndarray:
        return self.data.qvel.take(self._hinges[1])

    def inertial_sensors(self) -> np.ndarray:
        return self._sensors.take(self._inertial)

    def touch_sensors(self) -> np.ndarray:
        return self._sensors.take(self._touch)

    def foot_forces(self) -> np.ndarray:
        return self._sensors.take(self._feet)


@cache
def _dog() -> mujoco.MjModel:
    """The dog without bones and skin: 120 geoms of 290."""
    xml, assets = dog.get_model_and_assets()
    included = {name.removeprefix("./"): text for name, text in assets.items() if name.endswith(".xml")}
    spec = mujoco.MjSpec.from_string(xml.decode(), included, assets)
    strip(spec, lambda geom: not touches(geom), weighed=True)
    return spec.compile()


LEAN = {"dog": DogPhysics, "humanoid": HumanoidPhysics}
