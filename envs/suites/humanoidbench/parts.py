"""Bodies, joints and geoms as tables of text, of which `assembly` makes MuJoCo's specification of a scene."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass


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
