# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Convex hulls and weights of meshes, kept in the user's cache folder by content."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conf.typed import ConfigError
from records.files import replacing

LEAST_VOLUME = 1e-9  # cubic metres: of a hull that is no flat sheet


@dataclass(frozen=True)
class Inertia:
    """How a kilogram is spread over a shape.

    Attributes:
      centre: `[3]`, metres, the centre of mass.
      matrix: `[3, 3]`, square metres, about the centre of mass.
    """

    centre: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True)
class Shape:
    """What touches.

    Attributes:
      points: `[P, 3]`, metres, whose convex hull is the shape.
      inertia: the mesh's own; None where the weight is spread evenly over the hull.
    """

    points: np.ndarray
    inertia: Inertia | None = None


def kept(key: str, measure: Callable[[], Shape]) -> Shape:
    """The shape that the cache keeps under a key, or else measured and kept, if the cache's folder can take it.

    Args:
      key: names the content that the shape follows from.
      measure: gives the shape.
    """
    path = folder() / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Shape(arrays["points"], Inertia(arrays["centre"], arrays["matrix"]))
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):  # absent or damaged
        shape = measure()
    if shape.inertia is not None:
        with contextlib.suppress(OSError):  # read-only or full: measured anew each time
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                inertia = shape.inertia
                np.savez(file, allow_pickle=False, points=shape.points, centre=inertia.centre, matrix=inertia.matrix)
    return shape


def folder() -> Path:
    """The user's cache folder for hulls."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brc" / "hulls"


def measured(corners: np.ndarray, name: str) -> Shape:
    """The hull of triangles `[F, 3, 3]`, all of its vertices, and the weight as MuJoCo spreads it over the triangles.

    MuJoCo sums the pyramids below the triangles without their sign, so a hollow mesh weighs most at its walls. The
    authors' objects have their inertia so.

    Args:
      corners: of the triangles, metres.
      name: of the mesh, for messages.

    Raises:
      ConfigError: the mesh has no volume.
    """
    from scipy.spatial import ConvexHull, QhullError  # here, as most processes find all hulls in the cache

    points, faces = welded(corners)
    try:
        hull = ConvexHull(points)
    except QhullError:
        raise ConfigError(f"{name}: the mesh has no volume") from None
    if hull.volume < LEAST_VOLUME:
        raise ConfigError(f"{name}: the mesh has no volume")
    return Shape(points[np.sort(hull.vertices)], weighed(points, faces, name))


def welded(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct points `[P, 3]`, and triangles `[F, 3]` of their numbers, from the corners `[F, 3, 3]` of triangles.

    Triangles of two corners only are left out.
    """
    points, numbers = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    faces = numbers.reshape(-1, 3)
    distinct = (faces != np.roll(faces, 1, axis=1)).all(1)
    return points, faces[distinct]


def weighed(points: np.ndarray, faces: np.ndarray, name: str) -> Inertia:
    """The inertia of a mesh of a kilogram, as MuJoCo has it.

    Args:
      points: `[P, 3]`, metres.
      faces: `[F, 3]`, numbers of points.
      name: of the mesh, for messages.

    Raises:
      ConfigError: MuJoCo refuses the mesh.
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.add_mesh(name="mesh", uservert=points.ravel(), userface=faces.ravel().astype(np.int32))
    body = spec.worldbody.add_body(name="body")
    mesh = mujoco.mjtGeom.mjGEOM_MESH
    body.add_geom(type=mesh, meshname="mesh", mass=1.0, contype=0, conaffinity=0)
    try:
        compiled = spec.compile().body("body")
    except ValueError as error:
        raise ConfigError(f"{name}: MuJoCo takes no such mesh: {error}") from None
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, compiled.iquat)
    axes = axes.reshape(3, 3)
    return Inertia(compiled.ipos.copy(), axes @ np.diag(compiled.inertia) @ axes.T)
