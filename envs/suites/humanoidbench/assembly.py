# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Makes MuJoCo's specification of a scene from tables of parts, one function a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mujoco

from envs.suites.humanoidbench.parts import Parts, numbers, rows

GROUPS = {"V": 2, "C": 3, "M": 0}
"""The group of geoms of each role; a renderer shows the first three groups."""
UPRIGHT = [1.0, 0.0, 0.0, 0.0]

AddMesh = Callable[[Any, str, bool], str]
"""Adds the mesh of a name to a specification, with whether it is only looked at; returns the name that it has there."""


def assemble(spec: Any, parts: Parts, *, looks: bool, add_mesh: AddMesh) -> None:
    """Add parts to MuJoCo's specification of a scene.

    Args:
      spec: the `mujoco.MjSpec`.
      parts: what is added.
      looks: whether to add what is only looked at too.
      add_mesh: adds a mesh that the parts name and do not have.
    """
    bodies = _add_bodies(spec, parts)
    _add_joints(bodies, parts)
    _weigh(bodies, parts)
    _add_geoms(spec, bodies, parts, looks, add_mesh)
    for name, body, pos, *more in rows(parts.sites):
        _set(bodies[body].add_site(name=name, pos=numbers(pos)), more)
    _add_tendons(spec, parts)
    _add_servos(spec, parts)
    for one, other in rows(parts.excludes):
        spec.add_exclude(bodyname1=one, bodyname2=other)
    _add_sensors(spec, parts)
    if looks:
        _add_cameras(bodies, parts)


def _add_bodies(spec: Any, parts: Parts) -> dict[str, Any]:
    """Add the bodies, and return all bodies by name; the world has an empty name."""
    bodies = {"": spec.worldbody}
    for name, parent, pos, quat, *more in rows(parts.bodies):
        bodies[name] = bodies[parent].add_body(name=name, pos=numbers(pos), quat=numbers(quat) or UPRIGHT)
        _set(bodies[name], more)
    return bodies


def _add_joints(bodies: dict[str, Any], parts: Parts) -> None:
    for name, body, kind, *more in rows(parts.joints):
        _set(bodies[body].add_joint(name=name, type=getattr(mujoco.mjtJoint, f"mjJNT_{kind.upper()}")), more)


def _weigh(bodies: dict[str, Any], parts: Parts) -> None:
    """Give bodies their masses and inertias."""
    for name, mass, ipos, inertia, iquat in rows(parts.masses):
        body = bodies[name]
        body.explicitinertial, body.mass, body.ipos = True, float(mass), numbers(ipos)
        body.inertia, body.iquat = numbers(inertia), numbers(iquat) or UPRIGHT


def _add_geoms(spec: Any, bodies: dict[str, Any], parts: Parts, looks: bool, add_mesh: AddMesh) -> None:
    """Add the geoms and the parts' own meshes; the arguments are those of `assemble`, and all bodies by name."""
    for name, *corners in rows(parts.meshes):
        spec.add_mesh(name=name, uservert=[number for corner in corners for number in numbers(corner)])
    own = {name for name, *_ in rows(parts.meshes)}
    weighed = {name for name, *_ in rows(parts.masses)}
    # Even the mass of a body that cannot move decides how numbers are rounded, so it is that without looks.
    touching_bodies = {body for body, _, role, *_ in rows(parts.geoms) if role != "V"}
    for body, names, role, kind, size, pos, orientation, *more in rows(parts.geoms):
        seen, _, touching = (part.strip() for part in names.partition("/"))
        for one in role if looks else role.replace("V", ""):
            geom = bodies[body].add_geom(
                name=touching if (role, one) == ("VC", "C") else seen,
                type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}"),
                pos=numbers(pos) or [0, 0, 0],
                group=GROUPS[one],
            )
            if kind == "mesh":
                geom.meshname = size if size in own else add_mesh(spec, size, one == "V")
            else:
                geom.size[: len(numbers(size))] = numbers(size)
            _turn(geom, orientation)
            if one == "V":
                geom.contype = geom.conaffinity = 0
            if body in weighed or (one == "V" and body in touching_bodies):
                geom.mass = 0
            _set(geom, more)


def _turn(geom: Any, orientation: str) -> None:
    """Orient a geom by a quaternion or by `axis x y z`."""
    if orientation.startswith("axis"):
        geom.alt.type = mujoco.mjtOrientation.mjORIENTATION_ZAXIS
        geom.alt.zaxis = numbers(orientation.removeprefix("axis"))
    elif orientation:
        geom.quat = numbers(orientation)


def _add_tendons(spec: Any, parts: Parts) -> None:
    for name, joints in rows(parts.tendons):
        tendon = spec.add_tendon(name=name)
        for joint in joints.split():
            tendon.wrap_joint(joint, 1.0)


def _add_servos(spec: Any, parts: Parts) -> None:
    for name, target, kp, kv, controls, forces in rows(parts.actuators):
        kind, target = target.split()
        spec.add_actuator(
            name=name,
            trntype=getattr(mujoco.mjtTrn, f"mjTRN_{kind.upper()}"),
            target=target,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED,
            gainprm=[float(kp)] + [0] * 9,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE,
            biasprm=[0, -float(kp), -float(kv)] + [0] * 7,
            ctrllimited=True,
            ctrlrange=numbers(controls),
            forcelimited=True,
            forcerange=numbers(forces),
        )


def _add_sensors(spec: Any, parts: Parts) -> None:
    for name, kind, target in rows(parts.sensors):
        of, target = target.split()
        spec.add_sensor(
            name=name,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind.upper()}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{of.upper()}"),
            objname=target,
        )


def _add_cameras(bodies: dict[str, Any], parts: Parts) -> None:
    for name, body, pos, axes in rows(parts.cameras):
        camera = bodies[body].add_camera(name=name, pos=numbers(pos), mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
        camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
        camera.alt.xyaxes = numbers(axes)


def _set(element: Any, cells: Sequence[str]) -> None:
    """Set what cells such as `damping 0.5` name."""
    for cell in cells:
        name, *values = cell.split()
        current = getattr(element, name)
        if hasattr(current, "__len__"):
            current[: len(values)] = [float(value) for value in values]
        else:
            setattr(element, name, type(current)(float(values[0])))
