"""How large a run is, worked out without building it (and without JAX, so that planning is quick)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conf.schema import RunConfig
from conf.typed import ConfigError
from envs.spec import SpaceSpec, TaskSpec

FLOAT_BYTES = 4
CRITIC_COPIES = 5  # parameters, target, two Adam moments, gradient
ACTOR_COPIES = 4  # the same without a target
ACTIVATIONS_PER_LAYER = 4  # kept for the gradient: product, norm, its input, ReLU
DEVICE_OVERHEAD_BYTES = 600 * 2**20  # CUDA's context, compiled programs and work space


@dataclass(frozen=True)
class RunSize:
    """Parameters (numbers) and memory (bytes) of one run."""

    critic_params: int
    actor_params: int
    learner_bytes: int
    replay_bytes: int
    device_bytes: int


def run_size(config: RunConfig, specs: Sequence[TaskSpec]) -> RunSize:
    """Sizes of the run's networks and replay; exact for parameters, an estimate for the learner's memory.

    `device_bytes` is what a GPU must hold: the learner, one update's activations (`batch x ensemble x width`, four for
    each of the `1 + 2 depth` layers, and two of the outputs' logits) and an overhead.
    """
    agent, model = config.agent, config.model
    space = SpaceSpec.of(specs)
    num_tasks = len(specs)
    features = {"embedding": agent.embedding_dim, "one_hot": num_tasks}.get(config.conditioning, 0)
    table = num_tasks * agent.embedding_dim if config.conditioning == "embedding" else 0
    heads = num_tasks if config.conditioning == "heads" else 1
    outputs = agent.num_bins if agent.value_loss == "categorical" else 1

    obs_dim = space.obs_shape[0]
    critic_in = obs_dim + space.action_dim + features
    member = torso_params(agent.network, critic_in, model.width, model.depth) + dense_params(
        model.width, heads * outputs
    )
    critic = agent.ensemble_size * member + table
    actor = torso_params(agent.actor_network, obs_dim + features, model.actor_width, model.actor_depth)
    actor += 2 * dense_params(model.actor_width, heads * space.action_dim)
    learner = FLOAT_BYTES * (CRITIC_COPIES * critic + ACTOR_COPIES * actor)
    layers = ACTIVATIONS_PER_LAYER * (1 + 2 * model.depth) * model.width + 2 * heads * outputs
    activations = FLOAT_BYTES * config.batch_size * agent.ensemble_size * layers
    return RunSize(
        critic_params=critic,
        actor_params=actor,
        learner_bytes=learner,
        device_bytes=learner + activations + DEVICE_OVERHEAD_BYTES,
        replay_bytes=replay_bytes(num_tasks, space, config.train.replay_capacity, config.train.env_steps),
    )


def replay_bytes(num_tasks: int, space: SpaceSpec, capacity: int, budget: int) -> int:
    """Memory that replay will have taken when `budget` steps per task are in it."""
    return num_tasks * (min(capacity, budget) + 1) * space.transition_bytes


def dense_params(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def torso_params(network: str, inputs: int, width: int, depth: int) -> int:
    norm = 2 * width if network == "bronet" else 0
    return dense_params(inputs, width) + norm + depth * 2 * (dense_params(width, width) + norm)


def check_memory(sizes: Sequence[RunSize], available: int) -> None:
    """Refuses runs whose replay cannot be held at the same time.

    Raises:
      ConfigError: names both sizes.
    """
    needed = sum(size.replay_bytes for size in sizes)
    if needed > available:
        runs = f"{len(sizes)} runs at once needs" if len(sizes) > 1 else "a run needs"
        raise ConfigError(
            f"train.replay_capacity: replay of {runs} {readable_bytes(needed)}, {readable_bytes(available)} are "
            "available; lower it, or run fewer at once"
        )


def available_bytes() -> int:
    """Memory that a process may still take: the machine's, or its control group's where that is less."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, int(limit) - used)


def readable_bytes(count: float) -> str:
    """A size in the unit that suits it."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
