# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Bodies, joints and geoms as tables of text, and how MuJoCo's specification of a scene is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

GROUP_SEEN, GROUP_TOUCHED = 2, 3
"""The geom groups of what is only looked at, and of what only touches; a renderer shows the first three groups."""


@dataclass(frozen=True)
class Parts:
    """The parts of a robot or of a task's scenery: one table each, a line a part, cells between bars, `-` for nothing.

    Numbers are in metres, kilograms, radians; quaternions are (w, x, y, z). Further cells of a line, such as
    `damping 0.5`, set what the element of MuJoCo's specification calls so.

    Attributes:
      bodies: `name | parent | position | quaternion | ...`; the parent of a body comes before it, `-` is the world.
      joints: `name | body | kind | ...`, the kind being free, ball, hinge or slide; `-` is a joint without a name.
      masses: `body | mass | centre of mass | principal inertia | quaternion of the principal axes`, of all bodies that
        move. Geoms carry no mass.
      geoms: `body | names | role | kind | size | position | orientation | ...`. The role says which geoms the line
        stands for: `V` is seen and touches nothing, `C` touches and is not seen, `VC` is one of each, `M` is both in
        one. The names of `VC` are `seen / touching`, or `seen` where what touches has no name. The size of a mesh is
        its name. An orientation is a quaternion, or `axis x y z`: where the geom's z axis points.
      meshes: `name | corner | corner ...`, of convex shapes.
      sites: `name | body | position | ...`.
      actuators: `name | joint or tendon, and its name | kp | kv | range of controls | range of forces`; all are
        position servos.
      tendons: `name | joint joint`; the length is the sum of both.
      excludes: `body | body`, which do not touch each other.
      sensors: `name | kind | body or site, and its name`.
      cameras: `name | body | position | x axis and y axis`.
    """

    bodies: str = ""
    joints: str = ""
    masses: str = ""
    geoms: str = ""
    meshes: str = ""
    sites: str = ""
    actuators: str = ""
    tendons: str = ""
    excludes: str = ""
    sensors: str = ""
    cameras: str = ""

    def __add__(self, other: Parts) -> Parts:
        """Return the parts of both, those of `self` first."""
        names = [field.name for field in dataclasses.fields(self)]
        return Parts(**{name: f"{getattr(self, name)}\n{getattr(other, name)}" for name in names})


def lines(table: str) -> list[str]:
    """Return the lines of a table that hold something."""
    return [line for line in table.splitlines() if line.strip()]


def rows(table: str) -> Iterator[list[str]]:
    """Yield the cells of each line of a table, an empty text for `-`."""
    for line in lines(table):
        yield ["" if cell.strip() == "-" else cell.strip() for cell in line.split("|")]


def numbers(cell: str) -> list[float]:
    """Return the numbers in a cell."""
    return [float(number) for number in cell.split()]


def assemble(spec: Any, parts: Parts, *, looks: bool, add_mesh: Callable[[Any, str, bool], str]) -> None:
    """Add parts to MuJoCo's specification of a scene.

    Args:
      spec: the `mujoco.MjSpec`.
      parts: what is added.
      looks: whether to add what is only looked at too.
      add_mesh: adds the mesh of a name to the specification, with whether it is only looked at, and returns the name
        that the mesh has there.
    """
    import mujoco

    bodies = {"": spec.worldbody} | {body.name: body for body in spec.bodies}
    for name, parent, pos, quat, *more in rows(parts.bodies):
        bodies[name] = bodies[parent].add_body(name=name, pos=numbers(pos), quat=numbers(quat) or [1, 0, 0, 0])
        _set(bodies[name], more)
    for name, body, kind, *more in rows(parts.joints):
        joint = bodies[body].add_joint(name=name, type=getattr(mujoco.mjtJoint, f"mjJNT_{kind.upper()}"))
        _set(joint, more)
    weighed = set()
    for name, mass, ipos, inertia, iquat in rows(parts.masses):
        body = bodies[name]
        body.explicitinertial, body.mass, body.ipos = True, float(mass), numbers(ipos)
        body.inertia, body.iquat = numbers(inertia), numbers(iquat) or [1, 0, 0, 0]
        weighed.add(name)
    for name, *corners in rows(parts.meshes):
        spec.add_mesh(name=name, uservert=[number for corner in corners for number in numbers(corner)])
    own = {mesh.name for mesh in spec.meshes}
    # Even the mass of a body that cannot move, with and without looks, decides how numbers are rounded.
    touching_bodies = {body for body, _, role, *_ in rows(parts.geoms) if role != "V"}
    for body, names, role, kind, size, pos, orientation, *more in rows(parts.geoms):
        seen, _, touching = (part.strip() for part in names.partition("/"))
        for one in role:
            if one == "V" and not looks:
                continue
            geom = bodies[body].add_geom(
                name=touching if (role, one) == ("VC", "C") else seen,
                type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}"),
                pos=numbers(pos) or [0, 0, 0],
            )
            if kind == "mesh":
                geom.meshname = size if size in own else add_mesh(spec, size, one == "V")
            else:
                geom.size[: len(numbers(size))] = numbers(size)
            if orientation.startswith("axis"):
                geom.alt.type = mujoco.mjtOrientation.mjORIENTATION_ZAXIS
                geom.alt.zaxis = numbers(orientation.removeprefix("axis"))
            elif orientation:
                geom.quat = numbers(orientation)
            if one == "V":
                geom.contype = geom.conaffinity = 0
            geom.group = {"V": GROUP_SEEN, "C": GROUP_TOUCHED, "M": 0}[one]
            if body in weighed or (one == "V" and body in touching_bodies):
                geom.mass = 0
            _set(geom, more)
    for name, body, pos, *more in rows(parts.sites):
        _set(bodies[body].add_site(name=name, pos=numbers(pos)), more)
    for name, joints in rows(parts.tendons):
        tendon = spec.add_tendon(name=name)
        for joint in joints.split():
            tendon.wrap_joint(joint, 1.0)
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
    for one, other in rows(parts.excludes):
        spec.add_exclude(bodyname1=one, bodyname2=other)
    for name, kind, target in rows(parts.sensors):
        of, target = target.split()
        spec.add_sensor(
            name=name,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind.upper()}"),
            objtype=getattr(mujoco.mjtObj, f"mjOBJ_{of.upper()}"),
            objname=target,
        )
    if looks:
        for name, body, pos, axes in rows(parts.cameras):
            camera = bodies[body].add_camera(name=name, pos=numbers(pos), mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM)
            camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
            camera.alt.xyaxes = numbers(axes)


def _set(element: Any, cells: list[str]) -> None:
    """Set what cells such as `damping 0.5` name."""
    for cell in cells:
        name, *values = cell.split()
        current = getattr(element, name)
        if hasattr(current, "__len__"):
            current[: len(values)] = [float(value) for value in values]
        else:
            setattr(element, name, type(current)(float(values[0])))
