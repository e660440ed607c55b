"""A replay that this machine cannot hold is refused before anything is built, with both numbers."""

import pytest

from agents import sizes
from agents.train import check_memory
from conf.compose import compose
from conf.typed import ConfigError
from envs import registry


@pytest.fixture
def machine_of_24_gib(monkeypatch):
    monkeypatch.setattr(sizes, "available_bytes", lambda: 24 * 2**30)


def test_forty_games_of_a_million_frames_are_refused(machine_of_24_gib):
    with pytest.raises(
        ConfigError, match=r"train\.replay_capacity=1000000: .* 40 tasks needs 263\.\d GiB, 24\.0 GiB are"
    ):
        check_memory(compose(["benchmark=atari", "train.replay_capacity=1000000"]))


@pytest.mark.parametrize("benchmark", ["atari", "atari_transfer", "atari100k", "catch"])
def test_the_pixel_benchmarks_own_capacities_fit(machine_of_24_gib, benchmark):
    check_memory(compose([f"benchmark={benchmark}"]))


def test_a_small_budget_needs_little_whatever_the_capacity():
    config = compose(["benchmark=atari", "train.replay_capacity=1000000", "train.env_steps=1000"])
    size = sizes.run_size(config, registry.specs(config.benchmark.task_ids, config.env))
    assert size.replay_bytes == pytest.approx(40 * 1001 * 7070, rel=0.01)


def test_an_agent_is_refused_tasks_that_it_cannot_act_in():
    """Also where the benchmark, narrowed or made by hand, says otherwise."""
    config = compose(["benchmark.available=[atari/Pong]"])
    with pytest.raises(ConfigError, match="agent=brc: takes continuous actions, atari/Pong discrete ones"):
        check_memory(config)
