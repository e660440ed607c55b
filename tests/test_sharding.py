"""One run on several devices: the numbers of one device, on any mesh, and no device holds what is another's.

A CPU shows as many devices as it is told to:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m pytest -m sharding
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learner import brc, networks, sharding
from agents.learner.api import LEARNERS
from agents.learner.types import Batch
from agents.training.checkpoint import StoredArrays, write_arrays
from agents.training.state import from_arrays, to_arrays
from conf.mesh import MeshConfig
from records import layout
from tests.agents.settings import brc_settings, discrete_settings
from tests.commands import TINY, free_port, only_run, rows, run

pytestmark = pytest.mark.sharding

UPDATES, CALLS, ROWS, TASKS = 2, 10, 64, 3
SIZES: dict[str, Any] = {"num_tasks": TASKS, "width": 64, "depth": 1, "num_bins": 21, "embedding_dim": 8}
CONTINUOUS = brc_settings(**SIZES, obs_dim=8, action_dim=2, actor_width=32, actor_depth=0)
DISCRETE = discrete_settings(
    **SIZES | {"depth": 0}, obs_shape=(2, 12, 12), action_dim=3, encoder_channels=2, encoder_stride=2
)
SCALE = np.asarray([5.0, 20.0, 300.0], np.float32)


@pytest.fixture(scope="module", autouse=True)
def eight_devices() -> Iterator[None]:
    assert jax.device_count() >= 8, "the tests of this file need XLA_FLAGS=--xla_force_host_platform_device_count=8"
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of the work
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def batch(settings: Any, seed: int) -> Batch:
    continuous = isinstance(settings, brc.Settings)
    rng, shape = np.random.default_rng(seed), (UPDATES if continuous else 1, ROWS)
    if continuous:
        obs = [rng.normal(size=(*shape, settings.obs_dim)).astype(np.float32) for _ in range(2)]
        action = rng.uniform(-1, 1, (*shape, settings.action_dim)).astype(np.float32)
    else:
        obs = [rng.integers(0, 256, (*shape, *settings.obs_shape), np.uint8) for _ in range(2)]
        action = rng.integers(0, settings.action_dim, shape, np.int32)
    reward = rng.normal(size=shape).astype(np.float32)
    discount = np.full(shape, 0.99, np.float32)
    return Batch(obs[0], action, reward, obs[1], discount, rng.integers(0, TASKS, shape, np.int32))


def updated(settings: Any, state: Any, mesh: MeshConfig, calls: range) -> tuple[Any, list[dict[str, float]]]:
    """The state on its devices after `calls` times two updates, and the metrics of each."""
    on = sharding.make_mesh(mesh)
    learner = sharding.spread(LEARNERS[settings.learner], on)
    state, metrics = sharding.placed(on, state), []
    for call in calls:
        state, found = learner.update(settings, state, batch(settings, call), SCALE)
        metrics.append({name: float(value) for name, value in found.items()})
    return state, metrics


def begun(settings: Any) -> Any:
    """A state with random kernels on the host: compiling orthogonal ones takes seconds for every new shape."""
    rng = np.random.default_rng(0)
    draw = lambda key, shape, scale: jnp.asarray(0.1 * rng.normal(size=shape), jnp.float32)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_orthogonal", draw)
        return jax.device_get(LEARNERS[settings.learner].init(settings, jax.random.key(0)))


@pytest.fixture(scope="module")
def initial() -> Any:
    return begun(CONTINUOUS)


@pytest.fixture(scope="module")
def alone(initial: Any) -> tuple[Any, list[dict[str, float]]]:
    return updated(CONTINUOUS, initial, MeshConfig(1, 1), range(CALLS))


@pytest.fixture(scope="module")
def together(initial: Any) -> tuple[Any, list[dict[str, float]]]:
    return updated(CONTINUOUS, initial, MeshConfig(2, 4), range(CALLS))


def assert_same_numbers(found: Any, expected: Any) -> None:
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_eight_devices_give_the_numbers_of_one(alone: Any, together: Any):
    assert int(together[0].update_steps) == 20
    assert_same_numbers(together, alone)


def test_two_processes_with_a_device_each_give_the_numbers_of_one(alone: Any, tmp_path: Path):
    """As two machines would: they have no memory in common, and tell each other gradients through sockets (gloo)."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[1])}
    address, files = f"127.0.0.1:{free_port()}", [tmp_path / f"{number}.npz" for number in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.process_of_two", address, str(number), str(file)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, file in enumerate(files)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    first, second = ([stored[name] for name in stored.files] for stored in map(np.load, files))
    assert_same_numbers(first, jax.tree.leaves(alone))
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_device_holds_its_part_of_the_critic_and_of_all_that_goes_with_it(together: Any):
    """After updates, so that these keep it so: the target and the moments, too."""
    state = together[0]
    moments = state.critic_opt[0]
    for tree in (state.critic, state.target_critic, moments.mu, moments.nu):
        leaves = jax.tree.leaves(tree["ensemble"])
        wide = [leaf for leaf in leaves if leaf.size >= 2 * CONTINUOUS.width]
        assert len(wide) > 6
        shares = {leaf.addressable_shards[0].data.size / leaf.size for leaf in wide if leaf.shape[-1] != 21}
        assert shares == {1 / 4}
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.critic["ensemble"]))
    assert held < 0.27 * sum(leaf.nbytes for leaf in jax.tree.leaves(state.critic["ensemble"]))


def test_a_checkpoint_goes_on_on_another_number_of_devices(initial: Any, alone: Any, tmp_path: Path):
    half, _ = updated(CONTINUOUS, initial, MeshConfig(4, 2), range(CALLS // 2))
    write_arrays(tmp_path / "state.npz", to_arrays(half))  # type: ignore[arg-type]
    mesh = sharding.make_mesh(MeshConfig(1, 8))
    shapes = sharding.shapes_on(mesh, jax.eval_shape(partial(brc.init, CONTINUOUS), jax.random.key(0)))
    state: Any = from_arrays(shapes, StoredArrays(tmp_path / "state.npz"), put=sharding.put)  # type: ignore[arg-type]
    assert state.critic["ensemble"]["BroNet_0"]["Dense_1"]["kernel"].addressable_shards[0].data.shape == (2, 64, 8)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(half), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    found, _ = updated(CONTINUOUS, jax.device_get(state), MeshConfig(1, 1), range(CALLS // 2, CALLS))
    assert_same_numbers(found, alone[0])


@pytest.mark.parametrize("mesh", [MeshConfig(1, 1), MeshConfig(2, 4)], ids=["one", "eight"])
def test_a_batch_in_parts_gives_the_numbers_of_the_whole(initial: Any, alone: Any, mesh: MeshConfig):
    settings = dataclasses.replace(CONTINUOUS, accumulate=4)
    found, metrics = updated(settings, initial, mesh, range(2))
    expected, whole = updated(CONTINUOUS, initial, MeshConfig(1, 1), range(2))
    assert_same_numbers((found, metrics), (expected, whole))


def test_a_batch_in_parts_takes_less_memory():
    assert temporary_bytes(dataclasses.replace(CONTINUOUS, accumulate=8)) < 0.5 * temporary_bytes(CONTINUOUS)


def temporary_bytes(settings: Any) -> int:
    """What an update takes beside its state, when a batch has 64 times the rows."""
    state = jax.eval_shape(partial(brc.init, settings), jax.random.key(0))
    rows = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((1, 64 * ROWS, *leaf.shape[2:]), leaf.dtype), batch(settings, 0)
    )
    compiled = brc.update.lower(settings, state, rows, SCALE).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_images_are_split_too():
    state = begun(DISCRETE)
    one, eight = (updated(DISCRETE, state, mesh, range(1)) for mesh in (MeshConfig(1, 1), MeshConfig(4, 2)))
    assert_same_numbers(eight, one)


def test_a_run_goes_on_on_other_devices(tmp_path: Path):
    """From composition to checkpoint: on eight devices, then with more steps on two."""
    settings = [*TINY, "tracking=off", "train.random_steps=20", "train.log_every_steps=10", "eval.every_steps=1000"]
    settings += ["eval.episodes=1", "eval.max_episode_steps=10", "env.backend=inline"]
    for steps, mesh in ((40, ("mesh.data=2", "mesh.model=4")), (60, ("mesh.data=2", "agent.accumulate=2"))):
        result = run(tmp_path, *settings, f"train.env_steps={steps}", *mesh)
        assert result.returncode == 0, result.stderr
    assert "continuing from 40 steps" in result.stderr
    losses = [row for row in rows(only_run(tmp_path) / layout.METRICS) if row["name"] == "critic/loss"]
    assert [row["env_steps"] for row in losses] == [30, 40, 50, 60]
