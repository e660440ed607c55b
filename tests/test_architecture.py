"""Imports point one way, and a mistake in the command line is answered without loading JAX."""

import ast
import subprocess
import sys
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
ENTRY_POINT = Path("agents/run.py")  # a door of a few lines to `sweeps.command`
HEAVY = {
    "mlflow": {"tracking/client.py", "tracking/mirror.py", "tracking/sweep_runs.py", "analysis/from_mlflow.py"},
    "optuna": {"sweeps/search/study.py"},
    "submitit": {"sweeps/slurm/array.py"},
}
"""Library -> the modules that import it, which the others reach through them."""


def modules(package: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every imported module, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
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
    found = {path: top_level(imports(path)) & MAY_IMPORT.keys() for path in modules(package) if path != ENTRY_POINT}
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
    tree = ast.parse((ROOT / path).read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random")
    }
    assert used <= allowed
    assert "random" not in imports(path)
