# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""The hand of gymnasium-robotics with an object in it, composed at run time."""

from __future__ import annotations

from functools import cache

import mujoco
import numpy as np

from envs.suites.shadowhand import hulls, sources
from envs.suites.shadowhand.hulls import Shape
from envs.suites.shadowhand.objects import Object
from envs.suites.shared.scenery import strip, touches

GRAM = 1e-3
MESH, SEEN = "mesh:object", "mesh:seen"
TOUCHING = "object"  # the geom that touches, and its body
GOAL_OPACITY = 0.5
SKY, HAND = (0.93, 0.94, 0.96), (0.52, 0.55, 0.6, 1.0)
FIELD_OF_VIEW = 37.0  # degrees


def physics(one: Object, shape: Shape) -> mujoco.MjModel:
    """The scene to simulate: 31 positions, 30 velocities, and nothing that touches nothing."""
    spec = _hand().copy()
    _put_in(spec, one, shape)
    return spec.compile()


def picture(one: Object, shape: Shape, seen: np.ndarray | None) -> mujoco.MjModel:
    """The scene to look at: all of the hand, the object, and beside it the `target`, which shows the goal.

    Args:
      one: the object.
      shape: what touches of it, and what is seen if there is no more to see.
      seen: `[F, 3, 3]`, triangles of what is seen of it.
    """
    spec = mujoco.MjSpec.from_file(str(sources.hand_folder() / "manipulate_block.xml"))
    spec.geom("object_hidden").delete()
    for texture in spec.textures:
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            texture.rgb1 = texture.rgb2 = SKY
    spec.material("robot0:MatViz").rgba = HAND
    spec.visual.global_.fovy = FIELD_OF_VIEW
    _put_in(spec, one, shape)
    name = MESH
    if seen is not None:
        points, faces = hulls.welded(seen)
        spec.add_mesh(name=SEEN, uservert=points.ravel(), userface=faces.ravel().astype(np.int32))
        name = SEEN
    for geom, opacity in (("object", 1.0), ("target", GOAL_OPACITY)):
        drawn = spec.geom(geom)
        drawn.type, drawn.meshname, drawn.quat = mujoco.mjtGeom.mjGEOM_MESH, name, quaternion(one)
        drawn.material, drawn.rgba, drawn.mass = "", (*one.colour, opacity), GRAM * one.mass
    return spec.compile()


@cache
def _hand() -> mujoco.MjSpec:
    """The hand alone, without what touches nothing; every body has its weight from the file, none from its geoms."""
    spec = mujoco.MjSpec.from_file(str(sources.hand_folder() / "manipulate_block.xml"))
    spec.detach_body(spec.body("target"))
    strip(spec, lambda geom: not touches(geom))
    return spec


def _put_in(spec: mujoco.MjSpec, one: Object, shape: Shape) -> None:
    """Give the block of a scene the shape, turn and mass of an object."""
    spec.add_mesh(name=MESH, uservert=shape.points.ravel())
    geom, body = spec.geom(TOUCHING), spec.body(TOUCHING)
    geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_MESH, MESH
    geom.quat, geom.mass = quaternion(one), GRAM * one.mass
    if shape.inertia is not None:
        turn = np.empty(9)
        mujoco.mju_quat2Mat(turn, quaternion(one))
        turn = turn.reshape(3, 3)
        (xx, xy, xz), (_, yy, yz), (_, _, zz) = GRAM * one.mass * (turn @ shape.inertia.matrix @ turn.T)
        body.explicitinertial = True
        body.mass, body.ipos = GRAM * one.mass, turn @ shape.inertia.centre
        body.fullinertia = [xx, yy, zz, xy, xz, yz]


def quaternion(one: Object) -> np.ndarray:
    """The turn of an object's shape in its body."""
    quat = np.empty(4)
    mujoco.mju_euler2Quat(quat, one.turn, "xyz")
    return quat
