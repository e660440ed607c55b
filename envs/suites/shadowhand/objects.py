"""The 114 objects: a table with a row each, `objects.csv`.

The numbers were measured on the meshes of the benchmark's authors, but for `colour`, which is for the eye, and for
`random_return` and `step_ms`, which are measures of this suite. Lengths are in millimetres along the axes of the mesh,
before its turn.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

TABLE = Path(__file__).with_name("objects.csv")
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    """A mesh of the package, and how to lay it where the authors' mesh of the object lies.

    Attributes:
      files: paths of the STL files below the package's folder of objects; together they are the object.
      scale: by which the files' coordinates are multiplied.
      axes: the files' axis, with a sign, that becomes each of x, y and z, such as `("y", "-x", "z")`.
      offset: millimetres that are added then.
      touches: whether the mesh is what touches too; else it is only looked at.
    """

    files: tuple[str, ...]
    scale: float
    axes: tuple[str, ...]
    offset: Vector
    touches: bool


@dataclass(frozen=True)
class Object:
    """One object.

    Attributes:
      name: the task's.
      split: whether the object is trained on or kept for transfer.
      origin: the set of scanned objects that the authors' mesh comes from.
      size: millimetres, the extent of the bounding box.
      centre: millimetres, the middle of the bounding box; the origin is what turns and what must stay on the palm.
      mass: grams.
      hull: cubic centimetres, the volume of the convex hull; None where it could not be measured.
      stretch: factors along x, y and z after the size rule.
      turn: radians about x, y and z, by which the shape is turned in its body.
      mesh: a mesh of the package; None where the package has none.
      recipe: a convex shape in words (`shapes.recipe_points`).
      colour: for the eye alone, red, green and blue from 0 to 1.
      random_return: measured mean return of random actions.
      step_ms: measured milliseconds of a step.
    """

    name: str
    split: Literal["train", "test"]
    origin: str
    size: Vector
    centre: Vector
    mass: float
    hull: float | None
    stretch: Vector
    turn: Vector
    mesh: Mesh | None
    recipe: str
    colour: Vector
    random_return: float
    step_ms: float


@cache
def table() -> dict[str, Object]:
    """All objects by name, in the order of the benchmark: those to train on first."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["name"]: _object(row) for row in csv.DictReader(file)}


def _object(row: dict[str, str]) -> Object:
    return Object(
        name=row["name"],
        split="train" if row["split"] == "train" else "test",
        origin=row["origin"],
        size=_vector(row["size_mm"]),
        centre=_vector(row["centre_mm"]),
        mass=float(row["mass_g"]),
        hull=float(row["hull_cm3"]) if row["hull_cm3"] else None,
        stretch=_vector(row["stretch"] or "1 1 1"),
        turn=_vector(row["turn"] or "0 0 0"),
        mesh=_mesh(row) if row["mesh_files"] else None,
        recipe=row["recipe"],
        colour=_colour(row["colour"]),
        random_return=float(row["random_return"]),
        step_ms=float(row["step_ms"]),
    )


def _mesh(row: dict[str, str]) -> Mesh:
    files = tuple(f"{row['mesh_folder']}/{name}.stl" for name in row["mesh_files"].split())
    scale, axes, offset = float(row["mesh_scale"]), tuple(row["mesh_axes"].split()), _vector(row["mesh_offset_mm"])
    return Mesh(files, scale, axes, offset, touches=row["mesh_use"] == "touch")


def _colour(text: str) -> Vector:
    """A colour from `#rrggbb`."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red / 255, green / 255, blue / 255


def _vector(text: str) -> Vector:
    x, y, z = map(float, text.split())
    return x, y, z
