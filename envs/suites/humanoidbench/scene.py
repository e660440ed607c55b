# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Composes and compiles the scene of a task: floor, robot, scenery and the keyframe at which episodes start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from envs.suites.humanoidbench import h1, hands, meshes
from envs.suites.humanoidbench.assembly import assemble
from envs.suites.humanoidbench.parts import Parts, numbers, rows
from envs.suites.humanoidbench.standins import STANDINS, corners
from envs.suites.humanoidbench.task import Task

KEYFRAME = "qpos0"
NEVER_SEEN = 5  # a group of geoms that no renderer shows


@cache
def robot(name: str) -> Parts:
    """Return the parts of a robot: `h1`, or `h1hand`, which has hands."""
    if name == "h1":
        return h1.WHOLE
    left, right = hands.LEFT, hands.RIGHT
    arms = h1.LEFT_ARM + hands.wrist(left) + h1.RIGHT_ARM + hands.wrist(right)
    return h1.TRUNK + arms + hands.hand(left) + hands.hand(right) + h1.SENSORS


def compiled(robot_name: str, task: Task, shapes: Mapping[str, Path], *, looks: bool) -> Any:
    """Return MuJoCo's model of a task.

    Args:
      robot_name: the robot that carries the task out.
      task: the task.
      shapes: the files of HumanoidBench's own meshes by file name; empty: stand-ins.
      looks: whether there is to be what is only looked at.
    """
    parts = robot(robot_name) + task.scenery
    spec = mujoco.MjSpec()
    spec.modelname = robot_name
    spec.compiler.degree = False
    if task.multiccd:
        spec.option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_MULTICCD)
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[20, 20, 1])
    assemble(spec, parts, looks=looks, add_mesh=partial(add_mesh, shapes=shapes))
    if looks:
        decorate(spec)
    else:
        box_in(spec)
    spec.add_key(name=KEYFRAME, qpos=start(parts, task))
    return spec.compile()


def start(parts: Parts, task: Task) -> np.ndarray:
    """Return the positions `[nq]` at which episodes of a task start, but for the noise."""
    poses = {name: numbers(pos) + (numbers(quat) or [1, 0, 0, 0]) for name, _, pos, quat, *_ in rows(parts.bodies)}
    places: dict[str, Sequence[float]] = {**h1.START, **task.start}
    found: list[float] = []
    for name, body, kind in in_order(parts):
        rest: Sequence[float] = {"free": poses[body], "ball": [1, 0, 0, 0]}.get(kind, [0])
        found.extend(places.get(name, rest))
    return np.array(found, float)


def in_order(parts: Parts) -> Iterator[tuple[str, str, str]]:
    """Yield name, body and kind of each joint in MuJoCo's order: a body's, then those of the bodies that hang on it."""
    children: dict[str, list[str]] = {}
    for name, parent, *_ in rows(parts.bodies):
        children.setdefault(parent, []).append(name)
    joints: dict[str, list[tuple[str, str, str]]] = {}
    for name, body, kind, *_ in rows(parts.joints):
        joints.setdefault(body, []).append((name, body, kind))

    def below(body: str) -> Iterator[tuple[str, str, str]]:
        yield from joints.get(body, [])
        for child in children.get(body, []):
            yield from below(child)

    return below("")


def add_mesh(spec: Any, name: str, seen: bool, shapes: Mapping[str, Path]) -> str:
    """Add a mesh to the specification of a scene, if it is not there, and return the name that it has there.

    Args:
      spec: the `mujoco.MjSpec`.
      name: the mesh's.
      seen: whether it is only looked at, with all of its surface.
      shapes: the files of HumanoidBench's own meshes by file name; empty: stand-ins.
    """
    own = name in STANDINS
    label = f"{name}_look" if seen and not own else name
    if any(mesh.name == label for mesh in spec.meshes):
        return label
    if not own:
        path = meshes.link_files()[name]
        if seen:
            spec.add_mesh(name=label, file=str(path))
        else:
            spec.add_mesh(name=label, uservert=meshes.hull(path).ravel())
    elif not shapes:
        spec.add_mesh(name=label, uservert=corners(STANDINS[name]).ravel())
    else:
        file, scale = meshes.upstream_file(name)
        spec.add_mesh(name=label, file=str(shapes[file]), scale=[scale] * 3)
    return label


def box_in(spec: Any) -> None:
    """Have MuJoCo compare bounding boxes of bodies before it compares their meshes; the motion is the same.

    MuJoCo does so only where one of two bodies has several geoms, as all have with what is only looked at. Here a tiny
    geom that touches nothing is the second one: a step takes a quarter less time, between poles half.
    """
    for body in spec.bodies[1:]:
        if len(body.geoms) == 1:
            tiny: dict[str, Any] = {"type": mujoco.mjtGeom.mjGEOM_SPHERE, "size": [1e-4, 0, 0], "mass": 0}
            body.add_geom(**tiny, contype=0, conaffinity=0, group=NEVER_SEEN)


def decorate(spec: Any) -> None:
    """Add light, sky and the floor's pattern to the specification of a scene."""
    spec.visual.headlight.diffuse, spec.visual.headlight.ambient = [0.5, 0.5, 0.5], [0.3, 0.3, 0.3]
    spec.worldbody.add_light(pos=[0, 0, 10], dir=[0, 0, -1], directional=True, castshadow=False)
    textures, roles = mujoco.mjtTexture, mujoco.mjtTextureRole
    spec.add_texture(
        name="sky", type=textures.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.3, 0.5, 0.7], rgb2=[0, 0, 0], width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="floor", type=textures.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.42, 0.48, 0.55], rgb2=[0.32, 0.38, 0.45], width=256, height=256,
    )  # fmt: skip
    material = spec.add_material(name="floor", texrepeat=[1, 1], texuniform=True)
    material.textures[roles.mjTEXROLE_RGB] = "floor"
    spec.geom("floor").material = "floor"
