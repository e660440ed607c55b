"""What a run directory holds and how it is named; read by agents, sweeps and analysis."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from conf.schema import RunConfig
from conf.typed import build, identity_values

VERSION = 1

CONFIG = "config.json"
"""The resolved configuration, of this or the latest start."""
MANIFEST = "manifest.json"
"""What the run is and what it ran on: identity, tasks with scores' constants, sizes, one entry a start."""
METRICS = "metrics.jsonl"
"""Rows {env_steps, update_steps, name, task, value}; only values that repeat exactly."""
TIMING = "timing.jsonl"
"""Rows of the same form: rates and where the time went."""
SYSTEM = "system.jsonl"
"""Rows {sample, time_ms, name, value}: what the machine did meanwhile; only where the run is mirrored."""
STATUS = "status.json"
"""{state: running | done | failed | interrupted | stopped | crashed, ...}; what was last said, not proof of life."""
DONE = "DONE"
"""{env_steps, score, evaluation: rows}: the budget that has been reached, and the evaluation at it."""
LOCK = "lock"
"""Held (flock) by the process that writes the directory."""
CHECKPOINTS = "checkpoints"
DURABLE = "durable.json"
"""Bytes of METRICS and TIMING that a checkpoint covers."""
TRACKING = "tracking.json"
"""Which MLflow run mirrors this one, and how much of the files it has."""
SWEPT = "sweeps.json"
"""{sweeps: ids}: the sweeps that contain this run, in the order in which they came to it."""
REPORT = "report"
VIDEOS = "videos"
"""Recorded evaluation episodes (.npz) until they are filmed, and their films, a folder an evaluation."""
LOG = "log.txt"
"""Standard output and error of a run that a sweep launched."""
CRASHES = "crashes.jsonl"
"""Rows {time, reason}: each time that the run's process died or failed, and what of it."""
JOB = "job.json"
"""{submission, index}: which SLURM job the run was given to last; the submission's file knows the job's id."""
STOP = "stop.json"
"""{by, reason}: written into a running run's directory to end it for good; whoever starts the run again removes it."""
BATCH = "nan_batch.npz"
"""The batch of the last update before a value was not finite, and the returns' magnitudes that scaled it."""
SWEEPS = "_sweeps"
"""Folder of sweeps beside the benchmarks' folders: a manifest each (.json), and a folder of submissions and logs."""

EXIT_DONE, EXIT_FAILED, EXIT_BAD_CONFIG, EXIT_STOPPED, EXIT_INTERRUPTED = 0, 1, 2, 3, 75


def identity_of(config: RunConfig) -> dict[str, Any]:
    """The nested values that determine a run's results, with defaults that follow from others resolved.

    The environments' family is one: "native" stepping, whatever the number of processes, or training by "envpool".
    """
    agent = dataclasses.replace(
        config.agent, batch_size=config.batch_size, batch_per_task=None, conditioning=config.conditioning
    )
    model = config.model
    if agent.actions == "continuous":
        model = dataclasses.replace(model, encoder_channels=None, encoder_stride=None)  # there is no encoder
    family = "envpool" if config.env.backend == "envpool" else "native"
    return identity_values(dataclasses.replace(config, agent=agent, model=model)) | {"env_family": family}


def identity(config: RunConfig) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON of all that determines results."""
    canonical = json.dumps(identity_of(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def run_name(config: RunConfig) -> str:
    """Agent, size and seed, for people."""
    single = f"-{config.benchmark.task_ids[0].split('/')[1]}" if len(config.benchmark.task_ids) == 1 else ""
    return f"{config.agent.name}-w{config.model.width}{single}-s{config.seed}"


def run_dir(config: RunConfig) -> Path:
    """`<runs>/<benchmark>/<readable>-<hash>`."""
    return Path(config.paths.runs) / config.benchmark.name / f"{run_name(config)}-{identity(config)[:8]}"


def config_to_json(config: RunConfig) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2)


def config_from_json(text: str) -> RunConfig:
    """Raises ConfigError where the text does not fit the schema."""
    return build(RunConfig, json.loads(text))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; empty groups vanish."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def read_whole(path: Path, *keys: str) -> dict[str, Any] | None:
    """The file's object; None where it is missing and, with a warning, where it is damaged or lacks one of the keys."""
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        value = None
    if isinstance(value, dict) and value.keys() >= set(keys):
        return value
    _warn_damaged(path)
    return None


@cache
def _warn_damaged(path: Path) -> None:
    """Once, however often somebody looks."""
    print(f"warning: {path}: damaged; taken as missing", file=sys.stderr)


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object; None where it is missing, cut short or no JSON."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
