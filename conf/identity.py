"""What determines a run's results, and how its directory is named after that."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from conf.schema import EnvConfig, RunConfig
from conf.typed import build, fields_of, identity_values


def values_of(config: RunConfig) -> dict[str, Any]:
    """The nested values that determine a run's results, with defaults that follow from others resolved.

    The environments' family is one: "native" stepping, whatever the number of processes, or training by "envpool".
    Options of a suite of which the run has no task are none. Networks of another run are named by that run's identity,
    wherever it lies, and what is done with them is nothing where there are none.
    """
    agent = dataclasses.replace(
        config.agent, batch_size=config.batch_size, batch_per_task=None, conditioning=config.conditioning
    )
    model = config.model
    if agent.actions == "continuous":
        model = dataclasses.replace(model, encoder_channels=None, encoder_stride=None)  # there is no encoder
    family = "envpool" if config.env.backend == "envpool" else "native"
    values = identity_values(dataclasses.replace(config, agent=agent, model=model))
    suites = {task.partition("/")[0] for task in config.benchmark.task_ids}
    options = {name for name, field in fields_of(EnvConfig).items() if field.nested() is not None}  # one group a suite
    env = {name: value for name, value in values.pop("env", {}).items() if name not in options - suites}
    if config.init_from is None:
        values.pop("init", None)
    elif config.source.identity is not None:
        del values["init_from"]
    return values | ({"env": env} if env else {}) | {"env_family": family}


def hash_of(config: RunConfig) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON of all that determines results."""
    return _digest(values_of(config))


def setting_of(config: RunConfig) -> str:
    """Return the same of what a run has in common with its other seeds."""
    values = values_of(config)
    source = {name: value for name, value in values.pop("source", {}).items() if name != "identity"}
    return _digest({name: value for name, value in values.items() if name != "seed"} | {"source": source})


def _digest(values: dict[str, Any]) -> str:
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def run_name(config: RunConfig) -> str:
    """Return the part of the directory's name that people read.

    This is the agent, its size, the task if there is one only, the seed, and the step at which a fork begins.
    """
    single = f"-{config.benchmark.task_ids[0].split('/')[1]}" if len(config.benchmark.task_ids) == 1 else ""
    fork = f"-fork{config.first_step}" if config.source.kind == "fork" else ""
    return f"{config.agent.name}-w{config.model.width}{single}-s{config.seed}{fork}"


def family_name(config: RunConfig) -> str:
    """Return what people call a run and its other seeds: the benchmark, and the run's name without the seed."""
    return f"{config.benchmark.name}/{run_name(config).removesuffix(f'-s{config.seed}')}"


def run_dir(config: RunConfig) -> Path:
    """Return the run's directory, `<runs>/<benchmark>/<readable>-<hash>`."""
    return Path(config.paths.runs) / config.benchmark.name / f"{run_name(config)}-{hash_of(config)[:8]}"


def config_to_json(config: RunConfig) -> str:
    """Return the whole configuration as a run's directory keeps it."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def config_from_json(text: str) -> RunConfig:
    """Return the configuration that a run's directory keeps.

    Raises:
      ConfigError: the text does not fit the schema.
    """
    return build(RunConfig, json.loads(text))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values by dotted key instead of nested; empty groups vanish."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
