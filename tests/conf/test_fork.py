"""The configurations of forks: what may change, what cannot, and what they are called."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from agents.learner.api import learner_of
from conf import identity
from conf.agents import BrcConfig
from conf.compose import compose
from conf.fork import FIXED, compose_forks
from conf.schema import RunConfig
from conf.typed import ConfigError, Field, choices, fields_of
from envs import registry

SOURCE = compose(["model.width=8", "model.depth=0", "model.actor_width=8", "launcher=slurm", "plan=true"])


def one_fork(*overrides: str, env_steps: int = 5000) -> RunConfig:
    (fork,) = compose_forks(SOURCE, env_steps, overrides, False)
    return fork.config


def test_a_fork_is_a_run_of_its_own_named_by_its_source_and_step():
    assert one_fork() == one_fork()
    forks = [one_fork(), one_fork(env_steps=4000), one_fork("agent.discount=0.98")]
    plain = [SOURCE, compose(["model.width=8", "model.depth=0", "model.actor_width=8", "agent.discount=0.98"])]
    assert len({identity.hash_of(one) for one in [*forks, *plain]}) == 5
    assert identity.hash_of(one_fork("paths.runs=elsewhere", "train.env_steps=6000")) == identity.hash_of(forks[0])
    assert identity.run_dir(forks[0]).name.startswith("brc-w8-s0-fork5000-")
    nested = compose_forks(forks[0], 6000, [], False)[0].config
    assert nested.source.identity == identity.hash_of(forks[0])
    other_seed = compose(["model.width=8", "model.depth=0", "model.actor_width=8", "seed=1"])
    assert identity.setting_of(other_seed) == forks[0].source.setting == identity.setting_of(SOURCE)
    assert identity.setting_of(plain[1]) != identity.setting_of(SOURCE)


def test_several_values_are_several_forks_and_the_command_says_how_they_are_executed():
    forks = compose_forks(SOURCE, 5000, ["agent.discount=0.97,0.98", "agent.tau=0.1,0.2", "launcher=local"], True)
    assert [one.varied for one in forks] == [
        {"agent.discount": discount, "agent.tau": tau} for discount in ("0.97", "0.98") for tau in ("0.1", "0.2")
    ]
    assert {one.config.launcher.name for one in forks} == {"local"}
    assert not forks[0].config.plan
    assert one_fork().launcher == SOURCE.launcher


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=3", "seed=3: cannot change in a fork"),
        ("model.depth=1", "the checkpoint's networks have the source's sizes; its source has 0"),
        ("benchmark.tasks=[cartpole-swingup]", "the checkpoint is of the source's tasks"),
        ("agent.surplus_actions=zero", "the checkpoint's replay holds"),
        ("train.random_steps=7", "counts at a run's first steps alone"),
        ("model=xl", "a fork has the model of its source"),
        ("+sweep=seeds", "a fork takes none"),
        ("agent.discount=0.97,0.98", "add -m"),
        ("train.env_steps=5000", "would have nothing to do"),
        ("source.env_steps=7", "commands write this"),
        ("agent.discont=0.9", "did you mean agent.discount"),
        ("agent.discount=2", "must be a finite number"),
    ],
)
def test_what_cannot_change_is_one_line_that_says_why(override: str, words: str):
    with pytest.raises(ConfigError) as error:
        one_fork(override)
    assert words in str(error.value)


def test_options_of_the_environments_cannot_change():
    with pytest.raises(ConfigError, match=r"env\.atari\.sticky_actions=0\.1: .* episodes would not repeat"):
        compose_forks(compose(["benchmark=atari"]), 5000, ["env.atari.sticky_actions=0.1"], False)
    with pytest.raises(ConfigError, match=r"env\.backend=envpool: cannot change"):
        one_fork("env.backend=envpool")
    assert one_fork("env.backend=inline").env.backend == "inline"


def another(field: Field, value: Any) -> Any:
    """A value that a key of the agent may have, other than `value`."""
    if options := [one for one in choices(field) if one != value]:
        return options[-1]
    if isinstance(value, bool):
        return not value
    return 2 * value if isinstance(value, int) else 0.9 * (value or 0.1)


def test_every_key_of_the_agent_that_a_fork_may_change_leaves_the_learners_state_its_form():
    def form(config: RunConfig) -> Any:
        learner, specs = learner_of(config), registry.specs(config.benchmark.task_ids, config.env)
        state = jax.eval_shape(lambda: learner.init(learner.settings(config, specs), jax.random.key(0)))
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)

    expected = form(SOURCE)
    free = [
        key for key in fields_of(BrcConfig) if key not in ("name", "batch_per_task") and f"agent.{key}" not in FIXED
    ]
    assert len(free) > 10
    changed = [f"agent.{key}={another(fields_of(BrcConfig)[key], getattr(SOURCE.agent, key))}" for key in free]
    fork = one_fork(*changed)
    assert fork.agent != SOURCE.agent
    assert form(fork) == expected
