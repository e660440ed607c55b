"""On a workstation with several GPUs, each run of a local pool computes on one, as NVML and the environment say."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from conf.compose import compose
from conf.typed import ConfigError
from sweeps import gpus, pool
from sweeps.plan.fit import check_mesh
from sweeps.plan.place import local_parallel
from sweeps.pool import Pool, RetryPolicy
from tests.tracking.test_system import Driver


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch):
    """A machine with two GPUs, on which JAX has its CUDA plugin."""
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    gpus.machine_gpus.cache_clear()
    yield
    gpus.machine_gpus.cache_clear()


@pytest.mark.parametrize(
    ("visible", "names"),
    [(None, ("0", "1")), ("1", ("1",)), ("1, GPU-b", ("1", "GPU-b")), ("", ()), ("-1,0", ())],
)
def test_gpus_are_those_that_the_environment_gives(two_gpus, monkeypatch: pytest.MonkeyPatch, visible, names):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.machine_gpus() == names


def test_there_are_none_where_jax_is_told_to_use_the_cpu_or_the_driver_is_missing(two_gpus, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert gpus.machine_gpus() == ()
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    gpus.machine_gpus.cache_clear()
    assert gpus.machine_gpus() == ("0", "1")
    monkeypatch.setitem(sys.modules, "pynvml", Driver(missing=True))
    gpus.machine_gpus.cache_clear()
    assert gpus.machine_gpus() == ()


@pytest.mark.parametrize(
    ("overrides", "at_once"), [([], 2), (["launcher.runs_per_gpu=3"], 6), (["launcher.max_parallel=1"], 1)]
)
def test_as_many_runs_at_once_as_the_gpus_take(two_gpus, overrides, at_once):
    assert local_parallel(compose(["launcher=local", *overrides]).launcher, runs=10) == at_once
    assert local_parallel(compose(["launcher=local", *overrides]).launcher, runs=1) == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launcher=local"], r"needs 2 GPUs, a run has 1 here; launcher=inline"),
        (["launcher=slurm"], r"needs 2 GPUs, a run has 1 here; launcher\.slurm\.gpus_per_node=2"),
        (["launcher=slurm", "launcher.slurm.gpus_per_node=2"], None),
        (["launcher=inline"], None),
    ],
)
def test_a_mesh_is_refused_where_a_run_has_fewer_gpus(two_gpus, overrides, said):
    planned = SimpleNamespace(config=compose(["mesh.data=2", *overrides]))
    common = SimpleNamespace(inline="launcher=inline" in overrides, on_slurm="launcher=slurm" in overrides)
    with nullcontext() if said is None else pytest.raises(ConfigError, match=said):
        check_mesh([planned], common)


def test_one_run_at_once_without_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sweeps.plan.place.machine_gpus", lambda: ())
    assert local_parallel(compose(["launcher=local"]).launcher, runs=10) == 1


def test_each_run_of_a_pool_has_the_gpu_with_the_fewest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    told = 'echo "$CUDA_VISIBLE_DEVICES $XLA_PYTHON_CLIENT_MEM_FRACTION" > "$0/given"'
    script = f'{told}; until [ -e "$0/end" ]; do sleep 0.02; done'
    monkeypatch.setattr(pool, "run_command", lambda run_dir: ["sh", "-c", script, str(run_dir)])
    run_dirs = [tmp_path / name for name in "abcde"]
    for run_dir in run_dirs:
        run_dir.mkdir()
    runs = Pool(
        [(run_dir,) for run_dir in run_dirs], 4, RetryPolicy(0, 0.0, time.time()), new_session=True, gpus=("0", "GPU-b")
    )

    def given(name: str) -> str:
        path = tmp_path / name / "given"
        begun = time.monotonic()
        while not (path.exists() and path.read_text().endswith("\n")):
            assert time.monotonic() - begun < 20
            runs.poll()
            time.sleep(0.01)
        return path.read_text().strip()

    assert [given(name) for name in "abcd"] == ["0 0.450", "GPU-b 0.450", "0 0.450", "GPU-b 0.450"]
    (tmp_path / "b" / "end").touch()
    assert given("e") == "GPU-b 0.450"
    for run_dir in run_dirs:
        (run_dir / "end").touch()
    while runs.poll():
        time.sleep(0.01)
