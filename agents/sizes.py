"""How large a run is, worked out without building it (and without JAX, so that planning is quick)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conf.schema import RunConfig
from conf.typed import ConfigError
from envs.spec import SpaceSpec, TaskSpec

FLOAT_BYTES = 4
CRITIC_COPIES = 5  # parameters, target, two Adam moments, gradient
ACTOR_COPIES = 4  # the same without a target
ACTIVATIONS_PER_LAYER = 4  # kept for the gradient: product, norm, its input, ReLU
DEVICE_OVERHEAD_BYTES = 600 * 2**20  # CUDA's context, compiled programs and work space
ENCODER_STAGES, ENCODER_BLOCKS = 3, 2


@dataclass(frozen=True)
class RunSize:
    """Parameters (numbers) and memory (bytes) of one run."""

    critic_params: int
    """With the task embedding and the image encoder."""
    actor_params: int
    critic_products: int
    """Multiplications of one transition's way through the critic, roughly; a convolution uses each weight often."""
    learner_bytes: int
    replay_bytes: int
    device_bytes: int


def run_size(config: RunConfig, specs: Sequence[TaskSpec]) -> RunSize:
    """Sizes of the run's networks and replay; exact for parameters, an estimate for the learner's memory.

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

    actor = encoder = encoder_products = 0
    if agent.actions == "discrete":
        encoder, encoder_products = encoder_size(space.obs_shape, *encoder_shape(config))
        critic_in = encoder_features(encoder_shape(config)[0]) + conditioning
        outputs *= space.action_dim
    else:
        obs_dim = space.obs_shape[0]
        critic_in = obs_dim + space.action_dim + conditioning
        assert agent.actor_network is not None
        actor = torso_params(agent.actor_network, obs_dim + conditioning, model.actor_width, model.actor_depth)
        actor += 2 * dense_params(model.actor_width, heads * space.action_dim)
    member = torso_params(agent.network, critic_in, model.width, model.depth)
    member += dense_params(model.width, heads * outputs)
    critic = encoder + agent.ensemble_size * member + table
    learner = FLOAT_BYTES * (CRITIC_COPIES * critic + ACTOR_COPIES * actor)
    layers = ACTIVATIONS_PER_LAYER * (1 + 2 * model.depth) * model.width + 2 * heads * outputs
    activations = FLOAT_BYTES * config.batch_size * agent.ensemble_size * layers
    return RunSize(
        critic_params=critic,
        actor_params=actor,
        critic_products=critic - encoder + encoder_products,
        learner_bytes=learner,
        device_bytes=learner + activations + DEVICE_OVERHEAD_BYTES,
        replay_bytes=replay_bytes(
            specs,
            config.train.replay_capacity,
            config.train.env_steps,
            surplus_actions=config.agent.surplus_actions == "keep",
        ),
    )


def check_actions(config: RunConfig, space: SpaceSpec) -> None:
    """Refuses tasks that the agent cannot act in, whatever their benchmark says of them.

    Raises:
      ConfigError: names agent and tasks.
    """
    if space.action_kind != config.agent.actions:
        raise ConfigError(
            f"agent={config.agent.name}: takes {config.agent.actions} actions, "
            f"{', '.join(config.benchmark.task_ids[:3])} {space.action_kind} ones"
        )


def encoder_shape(config: RunConfig) -> tuple[int, int]:
    """Channels and stride of the image encoder."""
    channels, stride = config.model.encoder_channels, config.model.encoder_stride
    assert channels is not None
    assert stride is not None
    return channels, stride


def encoder_features(channels: int) -> int:
    """Width of what the image encoder says; 256 for Impala's own 16 channels."""
    return 16 * channels


def encoder_stage(channels: int, stride: int, stage: int) -> tuple[int, int, int]:
    """Channels, kernel size and stride of a stage's first convolution."""
    if stage == 0:
        return channels, 3 if stride == 1 else 2 * stride, stride
    return 2 * channels, 3, 1


def encoder_size(obs_shape: Sequence[int], channels: int, stride: int) -> tuple[int, int]:
    """Parameters of the image encoder, and the multiplications of one pass."""
    width, height, side = obs_shape[0], *obs_shape[1:]
    params = products = 0
    for stage in range(ENCODER_STAGES):
        out, kernel, step = encoder_stage(channels, stride, stage)
        height, side = -(-height // step), -(-side // step)
        first = kernel**2 * width * out
        products += first * height * side
        height, side = -(-height // 2), -(-side // 2)  # pooled
        blocks = 2 * ENCODER_BLOCKS * 9 * out**2
        products += blocks * height * side
        params += first + blocks + (1 + 2 * ENCODER_BLOCKS) * out
        width = out
    dense = dense_params(height * side * width, encoder_features(channels))
    return params + dense + 2 * encoder_features(channels), products + dense


def replay_bytes(specs: Sequence[TaskSpec], capacity: int, budget: int, *, surplus_actions: bool) -> int:
    """Memory that replay will have taken when `budget` steps per task are in it.

    Args:
      specs: the tasks.
      capacity: transitions kept per task.
      budget: transitions per task that will be inserted.
      surplus_actions: whether what the policy says beyond a task's own actions is kept, as for `Replay`.
    """
    widest = max(spec.action_width for spec in specs)
    transitions = (spec.transition_bytes(widest if surplus_actions else spec.action_width) for spec in specs)
    return (min(capacity, budget) + 1) * sum(transitions)


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


def readable_bytes(count: float) -> str:
    """A size in the unit that suits it."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
