"""A replay that this machine cannot hold is refused before anything is built, with both numbers."""

import pytest

from agents import sizes
from conf.compose import compose
from conf.typed import ConfigError
from envs import registry


def check(*overrides: str) -> None:
    """As a run or a plan does it, on a machine of 24 GiB."""
    config = compose(overrides)
    sizes.check_memory([sizes.run_size(config, registry.specs(config.benchmark.task_ids, config.env))], 24 * 2**30)


def test_forty_games_of_a_million_frames_are_refused():
    with pytest.raises(ConfigError, match=r"train\.replay_capacity: replay of a run needs 263\.\d GiB, 24\.0 GiB are"):
        check("benchmark=atari", "train.replay_capacity=1000000")


@pytest.mark.parametrize("benchmark", ["atari", "atari_transfer", "atari100k", "catch"])
def test_the_pixel_benchmarks_own_capacities_fit(benchmark):
    check(f"benchmark={benchmark}")


def test_a_small_budget_needs_little_whatever_the_capacity():
    config = compose(["benchmark=atari", "train.replay_capacity=1000000", "train.env_steps=1000"])
    size = sizes.run_size(config, registry.specs(config.benchmark.task_ids, config.env))
    assert size.replay_bytes == pytest.approx(40 * 1001 * 7070, rel=0.01)


def test_an_agent_is_refused_tasks_that_it_cannot_act_in():
    """Also where the benchmark, narrowed or made by hand, says otherwise."""
    with pytest.raises(ConfigError, match="agent=brc: takes continuous actions, atari/Pong discrete ones"):
        check("benchmark.available=[atari/Pong]")
