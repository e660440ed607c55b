"""How large a run is, worked out without building it (and without JAX, so that planning is quick)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.learner import architecture
from agents.learner.architecture import Size
from conf.agents import BrcConfig, BrcDiscreteConfig
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs.spec import SpaceSpec, TaskSpec

FLOAT_BYTES = 4
CRITIC_COPIES = 5  # parameters, target, two Adam moments, gradient
ACTOR_COPIES = 4  # the same without a target
ACTIVATIONS_PER_LAYER = 4  # kept for the gradient: product, norm, its input, ReLU
DEVICE_OVERHEAD_BYTES = 600 * 2**20  # CUDA's context, compiled programs and work space
CRITIC_PASSES = 6
"""Passes through the critic in an update with an actor: a target, three for its gradient, two for the action's."""
ACTOR_PASSES = 4
"""Passes through the actor: one for the next action, three for its own gradient."""
DISCRETE_CRITIC_PASSES = 5
"""Passes through the critic without an actor: one chooses the next action, one is the target, three the gradient."""


@dataclass(frozen=True)
class RunSize:
    """How many parameters one run has (numbers), and how much memory the run takes (bytes)."""

    critic_params: int
    """All parameters of the ensemble, with the task embedding and the image encoder."""
    actor_params: int
    critic_products: int
    """The multiplications of one transition's way through the critic; a convolution uses each weight often."""
    update_flops: int
    """The floating-point operations of one gradient update: two a multiplication, over all passes and the batch."""
    learner_bytes: int
    replay_bytes: int
    device_bytes: int


def run_size(config: RunConfig, specs: Sequence[TaskSpec]) -> RunSize:
    """Work out the sizes of the run's networks and replay: exact for parameters, an estimate for the learner's memory.

    `device_bytes` is what a GPU must hold: the learner, one update's activations (`batch x ensemble x width`, four for
    each of the `1 + 2 depth` layers, and two of the outputs' logits) and an overhead.

    Raises:
      ConfigError: the agent cannot act in these tasks.
    """
    agent, model = config.agent, config.model
    space = SpaceSpec.of(specs)
    check_actions(config, space)
    num_tasks = len(specs)
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
        actor = architecture.torso(network, obs_dim + conditioning, model.actor_width, model.actor_depth)
        actor += architecture.dense(model.actor_width, heads * space.action_dim) * 2
        passes = CRITIC_PASSES
    member = architecture.torso(agent.network, critic_in, model.width, model.depth)
    member += architecture.dense(model.width, heads * outputs)
    critic = encoder + member * agent.ensemble_size + Size(table, 0)
    learner = FLOAT_BYTES * (CRITIC_COPIES * critic.params + ACTOR_COPIES * actor.params)
    layers = ACTIVATIONS_PER_LAYER * (1 + 2 * model.depth) * model.width + 2 * heads * outputs
    activations = FLOAT_BYTES * config.batch_size * agent.ensemble_size * layers
    products = passes * critic.products + ACTOR_PASSES * actor.products
    return RunSize(
        critic_params=critic.params,
        actor_params=actor.params,
        critic_products=critic.products,
        update_flops=2 * products * config.batch_size,
        learner_bytes=learner,
        device_bytes=learner + activations + DEVICE_OVERHEAD_BYTES,
        replay_bytes=replay_bytes(
            specs,
            config.train.replay_capacity,
            config.train.env_steps,
            surplus_actions=config.agent.keeps_surplus_actions,
        ),
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


def replay_bytes(specs: Sequence[TaskSpec], capacity: int, budget: int, *, surplus_actions: bool) -> int:
    """Return the bytes that replay will have taken when `budget` steps per task are in it.

    Args:
      specs: the tasks.
      capacity: transitions kept per task.
      budget: transitions per task that will be inserted.
      surplus_actions: whether what the policy says beyond a task's own actions is kept, as for `Replay`.
    """
    widest = max(spec.action_width for spec in specs)
    transitions = (spec.transition_bytes(widest if surplus_actions else spec.action_width) for spec in specs)
    return (min(capacity, budget) + 1) * sum(transitions)


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
            "available; lower it, or run fewer at once"
        )


def readable_bytes(count: float) -> str:
    """Write a number of bytes in the unit that suits the number."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
