"""Points of an object's shape `[..., 3]`, in metres and in the axes of its mesh: from a recipe, or from a mesh."""

from __future__ import annotations

import math

import numpy as np

from envs.suites.shadowhand.objects import Mesh, Object

MM = 1e-3
SMALLEST, LARGEST = 65 * MM, 130 * MM
"""What the size rule makes of the smallest side of a bounding box, and the most that it leaves of the largest."""
OUTLINE = 16  # points of a rounded cross-section
ROUND = 32  # points around a cylinder and around an ellipsoid


def recipe_points(one: Object) -> np.ndarray:
    """Points `[P, 3]` whose convex hull is the object's recipe, stretched to its bounding box.

    A recipe is one of

    * `box`, `ellipsoid`, `cylinder-AXIS`, which fill the bounding box;
    * `loft-AXIS N: section / section / ...`: cross-sections perpendicular to the axis, each
      `place; middle; half-widths` in millimetres. Their outline is `|u|^N + |v|^N = 1`; `inf` is a rectangle.
    """
    kind, _, sections = one.recipe.partition(":")
    match kind.replace("-", " ").split():
        case ["box"]:
            points = _corners()
        case ["ellipsoid"]:
            points = _sphere()
        case ["cylinder", axis]:
            points = _stacked(axis, [(end, (0, 0), (1, 1)) for end in (-1, 1)], _outline(2, ROUND))
        case ["loft", axis, power]:
            points = _stacked(axis, [_section(text) for text in sections.split("/")], _outline(float(power), OUTLINE))
        case _:
            raise ValueError(f"{one.name}: no such recipe: {one.recipe}")
    return stretched(points, MM * np.array(one.centre), MM * np.array(one.size))


def stretched(points: np.ndarray, centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Points `[P, 3]` moved and scaled along each axis so that their bounding box has that centre and that size."""
    low, high = points.min(0), points.max(0)
    return centre + (points - (low + high) / 2) * (size / (high - low))


def laid(points: np.ndarray, mesh: Mesh, stretch: np.ndarray) -> np.ndarray:
    """Points `[..., 3]` of a mesh's files, laid where the authors' mesh of the object lies."""
    turned = np.stack([points[..., "xyz".index(axis[-1])] * (-1 if axis[0] == "-" else 1) for axis in mesh.axes], -1)
    return (mesh.scale * turned + MM * np.array(mesh.offset)) * stretch


def by_size_rule(points: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Points `[..., 3]` of any mesh, scaled about their origin to the size that the authors' meshes have.

    The smallest side of the bounding box becomes `SMALLEST`, unless the largest exceeds `LARGEST` then, which it
    becomes instead.
    """
    flat = points.reshape(-1, 3)
    sides = flat.max(0) - flat.min(0)
    return points * min(SMALLEST / sides.min(), LARGEST / sides.max()) * stretch


def _section(text: str) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Place along the axis, middle and half-widths across."""
    place, middle, half_widths = text.split(";")
    return float(place), tuple(map(float, middle.split(","))), tuple(map(float, half_widths.split(",")))


def _stacked(axis: str, sections: list, outline: np.ndarray) -> np.ndarray:
    """Points of all sections, each with an outline `[Q, 2]` across the axis."""
    along = "xyz".index(axis)
    points = np.empty((len(sections), len(outline), 3))
    for number, (place, middle, half_widths) in enumerate(sections):
        points[number, :, along] = place
        points[number][:, [other for other in range(3) if other != along]] = middle + outline * half_widths
    return points.reshape(-1, 3)


def _outline(power: float, count: int) -> np.ndarray:
    """Points `[Q, 2]` of a superellipse of half-width 1; the corners where the power is infinite."""
    if math.isinf(power):
        return np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], float)
    angles = 2 * np.pi * np.arange(count) / count
    circle = np.round(np.stack([np.cos(angles), np.sin(angles)], -1), 15)
    return np.sign(circle) * np.abs(circle) ** (2 / power)


def _corners() -> np.ndarray:
    return np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), float).reshape(3, -1).T


def _sphere() -> np.ndarray:
    """Points `[P, 3]` of a unit sphere on parallels that lie as close as the meridians."""
    heights = np.pi * (np.arange(ROUND // 2 + 1) / (ROUND // 2) - 0.5)
    circle = _outline(2, ROUND)
    sections = [(np.sin(angle), (0, 0), (np.cos(angle),) * 2) for angle in heights]
    return np.unique(np.round(_stacked("z", sections, circle), 15), axis=0)
