"""Imports point one way, and a mistake in the command line is answered without loading JAX."""

import ast
import functools
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "conf": {"conf"},
    "records": {"conf", "records"},
    "envs": {"conf", "records", "envs"},
    "tracking": {"conf", "records", "tracking"},
    "agents": {"conf", "records", "envs", "tracking", "agents"},
    "sweeps": {"conf", "records", "envs", "tracking", "agents", "sweeps"},
    "analysis": {"conf", "records", "analysis"},
}
DOORS = {Path("agents/run.py"), Path("agents/fork.py")}  # of a few lines, to `sweeps.command` and `sweeps.fork`
HEAVY = {
    "mlflow": {"tracking/client.py", "tracking/mirror.py", "tracking/sweep_runs.py", "analysis/from_mlflow.py"},
    "optuna": {f"sweeps/search/{name}.py" for name in ("judge", "methods", "storage", "study")},
    "submitit": {"sweeps/slurm/array.py"},
}
"""Library -> the modules that import it, which the others reach through them."""


def modules(package: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@functools.cache
def imports(path: Path) -> set[str]:
    """Every imported module, wherever the import stands."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def top_level(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    found = {path: top_level(imports(path)) & MAY_IMPORT.keys() for path in modules(package) if path not in DOORS}
    assert found
    assert [(str(path), names) for path, names in found.items() if names - MAY_IMPORT[package]] == []


def test_only_the_registry_names_a_suite():
    importers = {
        str(path)
        for package in MAY_IMPORT
        for path in modules(package)
        if any(name.startswith("envs.suites.") for name in imports(path)) and "suites" not in path.parts
    }
    assert importers == set()  # the registry does it by name, when a task is asked for


@pytest.mark.parametrize("library", HEAVY)
def test_services_are_imported_where_they_are_said_to_be(library):
    importers = {
        str(path) for package in MAY_IMPORT for path in modules(package) if library in top_level(imports(path))
    }
    assert importers == HEAVY[library]


@functools.cache
def import_graph() -> dict[str, set[str]]:
    """The modules of all packages, each with those that it imports, wherever the import stands."""
    paths = [path for package in MAY_IMPORT for path in modules(package)]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {name: imported_modules(path, names.keys()) - {name} for name, path in names.items()}


def imported_modules(path: Path, known: Collection[str]) -> set[str]:
    """Those of the known modules that a file imports; `from package import module` imports the module."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return found & set(known)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """The modules that `start` imports, by way of others too."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_file_imports_itself_by_way_of_others(package):
    graph = import_graph()
    mine = [name for name in graph if name.split(".")[0] == package]
    assert mine
    assert [name for name in mine if name in reachable(graph, name)] == []


def test_circles_are_found_whatever_their_length():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert [name for name in graph if name in reachable(graph, name)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("door", "behind"),
    [("agents.run", "sweeps.command"), ("agents.fork", "sweeps.fork"), ("agents.tracking", "tracking.follow")],
)
def test_a_door_leads_to_one_module_and_no_module_goes_through_it(door, behind):
    graph = import_graph()
    assert graph[door] == {behind}
    assert [name for name, imported in graph.items() if door in imported] == []


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `code`."""
    report = "\nimport sys\nprint('loaded:', *{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return set(result.stdout.splitlines()[-1].removeprefix("loaded:").split())


@pytest.mark.parametrize(
    "code",
    [
        "from sweeps.command import main; assert main(['--help']) == 0",
        "from sweeps.command import main; assert main(['agent.tau=2']) == 2",
        "from sweeps.command import main; assert main(['--cfg', 'benchmark=dmc_hard']) == 0",
        "from conf.compose import compose_many; assert len(compose_many(['+sweep=scaling'])) == 30",
    ],
    ids=["help", "mistake", "cfg", "sweep"],
)
def test_composing_loads_neither_jax_nor_services_nor_simulators(code):
    loaded = loaded_after(code)
    assert "conf" in loaded
    assert loaded & {"jax", "jaxlib", "flax", "optax", "dm_control", "mujoco", "gymnasium", *HEAVY} == set()


def test_the_registry_loads_no_suite_until_a_task_is_asked_for():
    assert "dm_control" not in loaded_after("import envs.registry, envs.vector")


@pytest.mark.parametrize("path", [path for package in MAY_IMPORT for path in modules(package)], ids=str)
def test_no_module_touches_global_randomness(path):
    """`np.random.<function>` and `random` have hidden state; a Generator or a key is passed in."""
    allowed = {"default_rng", "Generator", "SeedSequence", "RandomState"}
    used = {
        node.attr
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)  # a name has no dot
        if ast.unparse(node.value) in ("np.random", "numpy.random")
    }
    assert used <= allowed
    assert "random" not in imports(path)
