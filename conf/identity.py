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
    Options of a suite of which the run has no task are none.
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
    return values | ({"env": env} if env else {}) | {"env_family": family}


def hash_of(config: RunConfig) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON of all that determines results."""
    canonical = json.dumps(values_of(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def run_name(config: RunConfig) -> str:
    """Return the part of the directory's name that people read: agent, size, the task if there is one only, seed."""
    single = f"-{config.benchmark.task_ids[0].split('/')[1]}" if len(config.benchmark.task_ids) == 1 else ""
    return f"{config.agent.name}-w{config.model.width}{single}-s{config.seed}"


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
