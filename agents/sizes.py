"""How large a run is, worked out without building it (and without JAX, so that planning is quick)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.learner import architecture
from agents.learner.architecture import Size
from conf.agents import BrcConfig, BrcDiscreteConfig, ImitationConfig
from conf.datasets import read_dataset
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs.spec import SpaceSpec, TaskSpec

FLOAT_BYTES = 4
CRITIC_COPIES = 5  # parameters, target, two Adam moments, gradient
ACTOR_COPIES = 4  # the same without a target
ACTIVATIONS_PER_LAYER = 4  # kept for the gradient: product, norm, its input, ReLU
DEVICE_OVERHEAD_BYTES = 600 * 2**20  # CUDA's context, compiled programs and work space
REWARD_FLAGS_AND_FINAL_SLOT_BYTES = 4 + 2 + 4
CRITIC_PASSES = 6
"""Passes through the critic in an update with an actor: a target, three for its gradient, two for the action's."""
ACTOR_PASSES = 4
"""Passes through the actor: one for the next action, three for its own gradient."""
DISCRETE_CRITIC_PASSES = 5
"""Passes through the critic without an actor: one chooses the next action, one is the target, three the gradient."""


STUDENT_PASSES = 3
"""Passes through a network that imitates: three for its gradient."""


@dataclass(frozen=True)
class RunSize:
    """How many parameters one run has (numbers), and how much memory the run takes (bytes)."""

    critic_params: int
    """All parameters of the ensemble, with task embedding and image encoder; or those of a student that imitates."""
    actor_params: int
    critic_products: int
    """The multiplications of one transition's way through the critic; a convolution uses each weight often."""
    update_flops: int
    """The floating-point operations of one gradient update: two a multiplication, over all passes and the batch."""
    learner_bytes: int
    replay_bytes: int
    """The memory that replay takes."""
    replay_file_bytes: int
    """The room that replay takes in the run's folder (`train.replay_storage=disk`)."""
    device_bytes: int
    """The memory that each device of the run needs, roughly."""


def run_size(config: RunConfig, specs: Sequence[TaskSpec]) -> RunSize:
    """Work out the sizes of the run's networks and replay: exact for parameters, an estimate for the learner's memory.

    `device_bytes` is what a GPU must hold: the learner, one update's activations (`batch x ensemble x width`, four for
    each of the `1 + 2 depth` layers, and two of the outputs' logits) and an overhead. Of a mesh, each device has its
    part of the critic and of the batch; of a batch in parts, one part at a time.

    Raises:
      ConfigError: the agent cannot act in these tasks.
    """
    agent, model = config.agent, config.model
    space = SpaceSpec.of(specs)
    check_actions(config, space)
    num_tasks = len(specs)
    if isinstance(agent, ImitationConfig):
        return student_size(config, agent, space)
    conditioning = {"embedding": agent.embedding_dim, "one_hot": num_tasks}.get(config.conditioning, 0)
    table = num_tasks * agent.embedding_dim if config.conditioning == "embedding" else 0
    heads = num_tasks if config.conditioning == "heads" else 1
    outputs = agent.num_bins if agent.value_loss == "categorical" else 1

    actor, encoder = Size(0, 0), Size(0, 0)
    if isinstance(agent, BrcDiscreteConfig):
        channels, stride = encoder_shape(config)
        encoder = architecture.encoder(space.obs_shape, channels, stride)
        critic_in = architecture.encoder_features(channels) + conditioning
        outputs *= space.action_dim
        passes = DISCRETE_CRITIC_PASSES
    else:
        obs_dim = space.obs_shape[0]
        critic_in = obs_dim + space.action_dim + conditioning
        network = agent.actor_network if isinstance(agent, BrcConfig) else agent.network
        inputs = obs_dim + conditioning
        actor = architecture.torso(network, inputs, model.actor_width, model.actor_depth, agent.layer_norm)
        actor += architecture.dense(model.actor_width, heads * space.action_dim) * 2
        passes = CRITIC_PASSES
    member = architecture.torso(agent.network, critic_in, model.width, model.depth, agent.layer_norm)
    member += architecture.dense(model.width, heads * outputs)
    critic = encoder + member * agent.ensemble_size + Size(table, 0)
    learner = FLOAT_BYTES * (CRITIC_COPIES * critic.params + ACTOR_COPIES * actor.params)
    held = FLOAT_BYTES * (CRITIC_COPIES * critic.params // config.mesh.model + ACTOR_COPIES * actor.params)
    layers = ACTIVATIONS_PER_LAYER * (1 + 2 * model.depth) * model.width + 2 * heads * outputs
    activations = FLOAT_BYTES * rows_at_once(config) * agent.ensemble_size * layers
    products = passes * critic.products + ACTOR_PASSES * actor.products
    rows = min(config.train.replay_capacity, config.train.env_steps) + 1
    large, small = row_bytes(specs, surplus_actions=config.agent.keeps_surplus_actions)
    on_disk = config.train.replay_storage == "disk"
    return RunSize(
        critic_params=critic.params,
        actor_params=actor.params,
        critic_products=critic.products,
        update_flops=2 * products * config.batch_size,
        learner_bytes=learner,
        device_bytes=held + activations + DEVICE_OVERHEAD_BYTES,
        replay_bytes=rows * (small if on_disk else small + large),
        replay_file_bytes=rows * large if on_disk else 0,
    )


def rows_at_once(config: RunConfig) -> int:
    """Return the rows of a batch whose activations one device holds at once."""
    return config.batch_size // (config.mesh.data * config.agent.accumulate)


def student_size(config: RunConfig, agent: ImitationConfig, space: SpaceSpec) -> RunSize:
    """Work out the sizes of a run that imitates: its network, which stands for the critic, and its dataset.

    Args:
      config: the run's configuration.
      agent: the configured agent.
      space: of the tasks.
    """
    model, tasks = config.model, len(config.benchmark.task_ids)
    inputs = space.obs_shape[0] + {"embedding": agent.embedding_dim, "one_hot": tasks}.get(config.conditioning, 0)
    outputs = 2 * space.action_dim * (tasks if config.conditioning == "heads" else 1)
    table = Size(tasks * agent.embedding_dim if config.conditioning == "embedding" else 0, 0)
    student = architecture.torso(agent.network, inputs, model.width, model.depth, agent.layer_norm) + table
    student += architecture.dense(model.width, outputs)
    learner = FLOAT_BYTES * ACTOR_COPIES * student.params
    layers = ACTIVATIONS_PER_LAYER * (1 + 2 * model.depth) * model.width + 2 * outputs
    known = read_dataset(Path(agent.dataset or "")).by_task()
    transitions = sum(known[task].transitions for task in config.benchmark.task_ids)
    return RunSize(
        critic_params=student.params,
        actor_params=0,
        critic_products=student.products,
        update_flops=2 * STUDENT_PASSES * student.products * config.batch_size,
        learner_bytes=learner,
        device_bytes=learner // config.mesh.model + FLOAT_BYTES * rows_at_once(config) * layers + DEVICE_OVERHEAD_BYTES,
        replay_bytes=FLOAT_BYTES * transitions * (space.obs_shape[0] + 3 * space.action_dim),
        replay_file_bytes=0,
    )


def check_actions(config: RunConfig, space: SpaceSpec) -> None:
    """Refuse tasks that the agent cannot act in, whatever their benchmark says of them.

    Raises:
      ConfigError: names agent and tasks.
    """
    if space.action_kind != config.agent.actions:
        raise ConfigError(
            f"agent={config.agent.name}: takes {config.agent.actions} actions, "
            f"{', '.join(config.benchmark.task_ids[:3])} {space.action_kind} ones"
        )


def encoder_shape(config: RunConfig) -> tuple[int, int]:
    """Return the channels and the stride of the image encoder.

    Raises:
      ConfigError: the model has no image encoder.
    """
    channels, stride = config.model.encoder_channels, config.model.encoder_stride
    if channels is None or stride is None:
        raise ConfigError("model.encoder_channels, model.encoder_stride: an agent that sees images needs both")
    return channels, stride


def row_bytes(specs: Sequence[TaskSpec], *, surplus_actions: bool) -> tuple[int, int]:
    """Return the bytes of a row of replay, which holds a transition of every task.

    Args:
      specs: the tasks.
      surplus_actions: whether what the policy says beyond a task's own actions is kept, as for `Replay`.
    Returns:
      Those of the observations and actions, which a file may hold, and those of the rest.
    """
    widest = max(spec.action_width for spec in specs)
    large = sum(spec.transition_bytes(widest if surplus_actions else spec.action_width) for spec in specs)
    return large, REWARD_FLAGS_AND_FINAL_SLOT_BYTES * len(specs)


def check_memory(sizes: Sequence[RunSize], available: int) -> None:
    """Refuse runs whose replay cannot be held at the same time.

    Raises:
      ConfigError: names both sizes.
    """
    needed = sum(size.replay_bytes for size in sizes)
    if needed > available:
        runs = f"{len(sizes)} runs at once needs" if len(sizes) > 1 else "a run needs"
        raise ConfigError(
            f"train.replay_capacity: replay of {runs} {readable_bytes(needed)}, {readable_bytes(available)} are "
            "available; lower it, set train.replay_storage=disk, or run fewer at once"
        )


def check_disk(sizes: Sequence[RunSize], runs: Path) -> None:
    """Refuse runs whose files of replay have no room beside each other in the folder of runs, which need not exist.

    Raises:
      ConfigError: names both sizes.
    """
    needed = sum(size.replay_file_bytes for size in sizes)
    folder = next(one for one in (runs, *runs.parents) if one.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"train.replay_storage=disk: replay needs {readable_bytes(needed)} in {runs}, {readable_bytes(free)} are "
            "free; lower train.replay_capacity, or run fewer at once"
        )


def readable_bytes(count: float) -> str:
    """Write a number of bytes in the unit that suits the number."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
