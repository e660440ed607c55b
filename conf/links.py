"""Runs of a sweep that begin with the networks of another of its runs: `init_from=part:NAME`.

The source is known before it has run, by its identity and its budget. So the whole sweep is planned at once, and a run
that begins with a source is the same run as one that names the source's finished directory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from conf import identity
from conf.composed import Composed
from conf.schema import RunConfig, SourceConfig
from conf.typed import ConfigError

PART = "part:"


def transfer_from(config: RunConfig, env_steps: int, run_dir: str) -> SourceConfig:
    """Return what a run's configuration says of the run whose networks it begins with.

    Args:
      config: of the source.
      env_steps: of the source's checkpoint.
      run_dir: the source's directory.
    """
    return SourceConfig(
        kind="transfer",
        identity=identity.hash_of(config),
        env_steps=env_steps,
        setting=identity.setting_of(config),
        name=identity.family_name(config),
        update_steps=None,
        run_dir=run_dir,
    )


def following(config: RunConfig, source: RunConfig) -> RunConfig:
    """Return a run with the conditioning of its source where it learns one task: its networks are the source's."""
    if len(config.benchmark.task_ids) > 1:
        return config
    return dataclasses.replace(config, agent=dataclasses.replace(config.agent, conditioning=source.conditioning))


def linked(composed: Sequence[Composed]) -> list[Composed]:
    """Return the runs of a sweep, of which those that name a part begin with that part's run of the same seed.

    Where the part has one run only, all begin with that one. Its checkpoint is that at the end of its budget.

    Raises:
      ConfigError: no part before has the name, or it has several runs, of which none or several have the seed.
    """
    done: list[Composed] = []
    for one in composed:
        named = one.config.init_from
        if named is None or not named.startswith(PART):
            done.append(one)
            continue
        source = _source(one, named.removeprefix(PART), done)
        run_dir, steps = str(identity.run_dir(source)), source.train.env_steps
        config = dataclasses.replace(
            following(one.config, source),
            init_from=f"{run_dir}@{steps}",
            source=transfer_from(source, steps, run_dir),
        )
        done.append(dataclasses.replace(one, config=config, source=source))
    return done


def _source(one: Composed, name: str, before: Sequence[Composed]) -> RunConfig:
    """The run of the part that another run names, among the parts of the same experiment."""
    experiment = one.part.rpartition(".")[0]
    whole = f"{experiment}.{name}" if experiment else name
    found = [other.config for other in before if other.part == whole]
    where = f"part {one.part}: init_from={PART}{name}"
    if not found:
        known = ", ".join(dict.fromkeys(other.part for other in before if other.part != one.part)) or "none"
        raise ConfigError(f"{where}: no part before is called so; there are: {known}")
    same = found if len(found) == 1 else [config for config in found if config.seed == one.config.seed]
    if len(same) != 1:
        count = "none" if not same else str(len(same))
        raise ConfigError(f"{where}: has {len(found)} runs, of which {count} have seed={one.config.seed}")
    return same[0]
