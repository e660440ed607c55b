"""A mesh that a run cannot have is refused when the run is composed; nothing of a mesh is part of a run's identity."""

import pytest

from agents.sizes import run_size
from conf import identity
from conf.compose import compose
from conf.typed import ConfigError
from envs import registry


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["mesh.model=3"], r"mesh\.model=3: must divide model\.width, which is 128"),
        (["mesh.data=3"], r"mesh\.data=3: must divide the batch, which has 1024 rows"),
        (["agent.accumulate=3"], r"agent\.accumulate=3: must divide the batch, which has 1024 rows"),
        (["agent.accumulate=512", "mesh.data=4"], r"mesh\.data=4: must divide a 512th of the batch, which has 2 rows"),
    ],
)
def test_what_does_not_divide_is_refused_with_both_numbers(overrides, said):
    with pytest.raises(ConfigError, match=said):
        compose(["benchmark=dmc_hard", "agent.batch_size=1024", *overrides])


def test_a_run_is_the_same_run_on_any_mesh():
    one = compose(["agent.batch_size=64"])
    other = compose(["agent.batch_size=64", "mesh.data=2", "mesh.model=4", "agent.accumulate=4"])
    assert identity.hash_of(one) == identity.hash_of(other)


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(ConfigError, match=r"mesh\.data=2 mesh\.model=4: needs 8 devices, JAX has 4 here"):
        compose(["agent.batch_size=64", "mesh.data=2", "mesh.model=4"]).mesh.check_devices(4)


def test_a_mesh_that_leaves_a_device_of_several_processes_without_a_part_is_refused():
    with pytest.raises(ConfigError, match=r"mesh\.data=2 mesh\.model=1: must be all 4 devices of 2 processes"):
        compose(["agent.batch_size=64", "mesh.data=2"]).mesh.check_devices(4, processes=2)


def test_each_device_needs_its_part_of_the_critic_and_of_the_batch():
    def device_bytes(*overrides: str) -> int:
        config = compose(["benchmark=dmc_hard", "model=xxl", "agent.batch_size=1024", *overrides])
        return run_size(config, registry.specs(config.benchmark.task_ids, config.env)).device_bytes

    one = device_bytes()
    assert device_bytes("mesh.model=8") < 0.25 * one
    activations = one - device_bytes("mesh.data=1024")
    assert one - device_bytes("agent.accumulate=2") == pytest.approx(activations / 2, rel=0.01)
