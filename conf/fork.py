"""The configurations of forks: that of a run, with some keys changed and the checkpoint that they go on from."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from conf import identity, schema
from conf.compose import check_distinct, set_key
from conf.composed import Composed
from conf.overrides import MAX_RUNS, Override, parse
from conf.schema import RunConfig, SourceConfig
from conf.typed import ConfigError, build, show
from conf.yaml_groups import has_interpolation, merged, resolved

GROUPS = ("launcher", "tracking")
"""The groups that a fork may choose from; what the others hold decides what the checkpoint is of."""
FIXED = {
    "seed": "a fork shares the noise of its source",
    "benchmark": "the checkpoint is of the source's tasks",
    "env": "the checkpoint's episodes would not repeat",
    "model": "the checkpoint's networks have the source's sizes",
    **dict.fromkeys(
        (
            "agent.learner",
            "agent.network",
            "agent.actor_network",
            "agent.layer_norm",
            "agent.conditioning",
            "agent.embedding_dim",
            "agent.ensemble_size",
            "agent.num_bins",
            "agent.value_loss",
        ),
        "the checkpoint's networks have the source's form",
    ),
    "agent.clip_rewards": "the checkpoint's replay holds what the source kept of rewards",
    "agent.surplus_actions": "the checkpoint's replay holds what the source kept of actions",
    "init_from": "a fork goes on with the networks of its source",
    "init": "counts where a run begins with another's networks",
    "agent.init_temperature": "counts at a run's first step alone",
    "train.random_steps": "counts at a run's first steps alone",
}
"""Key, or the group that a key is in -> why a fork has its source's value."""


def source_of(config: RunConfig, env_steps: int) -> SourceConfig:
    """Return what a fork says of its source.

    Args:
      config: of the run that is forked.
      env_steps: of the checkpoint that the fork goes on from.
    """
    return SourceConfig(
        kind="fork",
        identity=identity.hash_of(config),
        env_steps=env_steps,
        setting=identity.setting_of(config),
        name=identity.family_name(config),
        update_steps=config.update_steps(env_steps),
        run_dir=str(identity.run_dir(config)),
    )


def compose_forks(config: RunConfig, env_steps: int, overrides: Sequence[str], multirun: bool) -> list[Composed]:
    """Return the forks of a run that a command line asks for: the product of all axes.

    Args:
      config: of the run that is forked.
      env_steps: of the checkpoint that the forks go on from.
      overrides: keys with their values.
      multirun: whether there may be several forks.
    Raises:
      ConfigError: an override is not allowed, or a fork would have nothing to do.
    """
    parsed = parse(overrides)
    for override in parsed.values():
        check_key(override)
        if len(override.values) > 1 and not multirun:
            raise ConfigError(f"{override.text}: {len(override.values)} values are several forks: add -m")
    if (total := math.prod(len(override.values) for override in parsed.values())) > MAX_RUNS:
        raise ConfigError(f"{' '.join(overrides)}: {total} forks; at most {MAX_RUNS}")
    forks = list(_forks(config, source_of(config, env_steps), parsed))
    check_distinct(forks)
    return forks


def check_key(override: Override) -> None:
    """Refuse groups that hold many keys of a run, and what makes sweeps.

    Raises:
      ConfigError: names the override.
    """
    group = override.key.split(".")[0]
    if group in ("sweep", "experiment"):
        raise ConfigError(f"{override.text}: a fork takes none; -m with several values of a key makes several forks")
    if override.key in ("agent", "benchmark", "model"):
        raise ConfigError(
            f"{override.text}: a fork has the {group} of its source; allowed: single keys, and the groups "
            f"{' and '.join(GROUPS)}"
        )


def _forks(config: RunConfig, source: SourceConfig, parsed: dict[str, Override]) -> Iterator[Composed]:
    swept = [key for key, override in parsed.items() if len(override.values) > 1]
    for combination in itertools.product(*(override.values for override in parsed.values())):
        values = dict(zip(parsed, combination, strict=True))
        fork = _fork(config, source, values)
        check_fork(config, fork)
        yield Composed(fork, {key: show(values[key]) for key in swept})


def _fork(config: RunConfig, source: SourceConfig, values: dict[str, Any]) -> RunConfig:
    """The configuration of one fork; how a command is carried out is not the source's."""
    data = dataclasses.asdict(dataclasses.replace(config, source=source))
    plain = merged(())
    for key in ("sweep", "resume", "rerun", "report", "wait", "plan"):
        data[key] = plain[key]
    data["launcher"]["dry_run"] = plain["launcher"]["dry_run"]
    for group in GROUPS:
        if group in values:
            data[group] = merged(((group, values[group]),))[group]
    for key, value in values.items():
        if key not in GROUPS:
            set_key(data, key, value)
    fork = build(RunConfig, resolved(data) if has_interpolation(list(values.values())) else data)
    schema.check(fork)
    return fork


def check_fork(source: RunConfig, fork: RunConfig) -> None:
    """Refuse a fork that its checkpoint does not fit, or that would have nothing to do.

    Raises:
      ConfigError: names the key.
    """
    had, has = (identity.flat(identity.values_of(one)) for one in (source, fork))
    if had.pop("env_family") != has.pop("env_family"):
        raise ConfigError(f"env.backend={fork.env.backend}: cannot change in a fork, as {FIXED['env']}")
    changed = [key for key in dict.fromkeys([*had, *has]) if had.get(key) != has.get(key)]
    for fixed, reason in FIXED.items():
        for key in changed:
            if key == fixed or key.startswith(f"{fixed}."):
                raise ConfigError(
                    f"{key}={show(has.get(key))}: cannot change in a fork, as {reason}; "
                    f"its source has {show(had.get(key))}"
                )
    if fork.train.env_steps <= fork.first_step:
        raise ConfigError(
            f"train.env_steps={fork.train.env_steps}: the fork begins at {fork.first_step:,} steps, "
            "so it would have nothing to do; choose a larger one"
        )
