"""The settings of agents: what all of them have, and one dataclass a learner. The numbers are in `conf/agent/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from conf.typed import ConfigError, NotIdentity, Range, Shapes, Since, show

Torso = Literal["bronet", "mlp", "prenorm"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of the networks."""

    width: Annotated[int, Range(ge=1, le=10**6), Shapes()]
    """The critic's width: the scaling axis."""
    depth: Annotated[int, Range(ge=0, le=1000), Shapes()]
    """The critic's residual blocks."""
    actor_width: Annotated[int, Range(ge=1, le=10**6), Shapes()]
    """The actor's width."""
    actor_depth: Annotated[int, Range(ge=0, le=1000), Shapes()]
    """The actor's residual blocks."""
    encoder_channels: Annotated[int | None, Range(ge=1, le=10**4), Since(None), Shapes()]
    """Channels of the image encoder's first stage; the other two have twice as many."""
    encoder_stride: Annotated[int | None, Range(ge=1, le=84), Since(None), Shapes()]
    """The stride of the image encoder's first convolution: 1 sees every pixel, 4 is ten times as fast on a CPU."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What every agent has. Defaults: BRC, arXiv:2505.23150, and its release."""

    actions: ClassVar[Literal["continuous", "discrete"]]
    """The kind of actions that the learner takes."""
    parts: ClassVar[tuple[str, ...]] = ()
    """The parts of the networks that another run's networks can begin, and that `init.frozen` may name."""
    offline: ClassVar[bool] = False
    """Whether the agent learns from a dataset, so that environments are stepped for evaluation alone."""

    name: str
    """The name that the run directory and MLflow show."""
    learner: Annotated[str, Since("brc")]
    """The algorithm, which decides what other keys the agent has."""
    discount: Annotated[float, Range(ge=0, lt=1)]
    """The discount of future rewards, per environment step."""
    tau: Annotated[float, Range(gt=0, le=1)]
    """The share by which each update moves the target critic towards the critic."""
    n_step: Annotated[int, Range(ge=1, le=1000), Since(1)]
    """The number of rewards that a target sums before it bootstraps; fewer where an episode ends."""
    clip_rewards: Annotated[bool, Since(False)]
    """Whether the agent learns from the signs of rewards; scores stay unclipped."""
    batch_size: Annotated[int | None, Range(ge=1, le=10**7)]
    """Transitions in an update; null: batch_per_task for each task or, without, 1024 with several tasks, else 256."""
    batch_per_task: Annotated[int | None, Range(ge=1, le=10**6), Since(None)]
    """Transitions in an update for each task, where batch_size is null."""
    accumulate: Annotated[int, Range(ge=1, le=10**6), NotIdentity(), Since(1)]
    """The parts of a batch whose gradients are computed one after another and summed, for a batch that does not fit."""
    updates_per_step: Annotated[int, Range(ge=0, le=10**4)]
    """Gradient updates per environment step (one step is one transition of every task)."""
    learning_rate: Annotated[float, Range(gt=0)]
    """The learning rate of AdamW, for actor and critic."""
    weight_decay: Annotated[float, Range(ge=0)]
    """The weight decay of AdamW, for actor and critic."""
    num_bins: Annotated[int, Range(ge=2, le=10**5), Shapes()]
    """The number of return bins of the categorical critic."""
    v_max: Annotated[float, Range(gt=0), Shapes()]
    """The bins span [-v_max, v_max], in normalised return."""
    ensemble_size: Annotated[int, Range(ge=1, le=1000), Shapes()]
    """The number of independent critics."""
    ensemble_target: Literal["mean", "min"]
    """How the ensemble becomes one value: its mean distribution, or the member of least value."""
    embedding_dim: Annotated[int, Range(ge=1, le=10**5), Shapes()]
    """The width of a learned task embedding."""
    value_loss: Annotated[Literal["categorical", "squared"], Shapes()]
    """The critic's loss: cross-entropy on return bins, or squared error on a scalar."""
    conditioning: Annotated[Literal["embedding", "one_hot", "none", "heads"], Shapes()]
    """How the networks know the task; a run of a single task always has none."""
    embedding_norm: Annotated[Literal["l2", "l1"], Since("l2"), Shapes()]
    """The norm by which a learned embedding is divided: Euclidean, as in BRC's release, or L1, as in its paper."""
    reward_scale: Literal["release", "paper", "return", "off"]
    """How rewards are normalised for each task: by returns and an entropy term (the target entropy's in the release,
    the task's own in the paper), by returns alone, or not."""
    network: Annotated[Torso, Shapes()]
    """The critic's torso: BroNet, layers without norms or shortcuts (mlp), or blocks that begin with their norm."""
    layer_norm: Annotated[bool, Since(True), Shapes()]
    """Whether the torsos of critic and actor keep their LayerNorms; an mlp has none."""
    precision: Annotated[Literal["float32", "bfloat16"], Since("float32")]
    """The precision of the factors in dense layers' products; all else is float32, sums and convolutions too."""

    @property
    def keeps_surplus_actions(self) -> bool:
        """Whether replay keeps what the policy says beyond a task's own action components."""
        return True

    @property
    def bootstraps_returns(self) -> bool:
        """Whether the critic says what would have followed a cut episode, for the return scale."""
        return False

    @property
    def torsos(self) -> dict[str, Torso]:
        """The torso of each network, by its key."""
        return {"agent.network": self.network}

    def check(self, model: ModelConfig) -> None:
        """Raise ConfigError where settings of this agent and its networks' sizes contradict each other."""
        if not self.layer_norm and set(self.torsos.values()) == {"mlp"}:
            torsos = " ".join(f"{key}={torso}" for key, torso in self.torsos.items())
            raise ConfigError(f"agent.layer_norm=false: of no effect, as an mlp has no LayerNorm anyway; {torsos}")


@dataclass(frozen=True, kw_only=True)
class BrcConfig(AgentConfig):
    """The soft actor-critic of BRC, for continuous actions."""

    actions: ClassVar[Literal["continuous", "discrete"]] = "continuous"
    parts: ClassVar[tuple[str, ...]] = (
        "embedding",
        "critic_torso",
        "critic_head",
        "actor_torso",
        "actor_head",
        "temperature",
    )

    temperature_learning_rate: Annotated[float, Range(gt=0)]
    """The learning rate of the entropy temperature (Adam with b1 = 0.5)."""
    init_temperature: Annotated[float, Range(gt=0)]
    """The initial entropy temperature."""
    target_entropy_per_dim: float
    """The target entropy, in nats per (padded) action dimension."""
    actor_network: Annotated[Torso, Shapes()]
    """The actor's torso."""
    return_bootstrap: Annotated[Literal["mean_reward", "critic"], Since("mean_reward")]
    """What counts as following a cut episode, for the return scale: its mean reward for ever, or the critic's value."""
    surplus_actions: Annotated[Literal["keep", "zero"], Since("keep")]
    """What the critic sees beyond a task's own action components: the policy's (as BRC's release) or zeros."""

    @property
    def keeps_surplus_actions(self) -> bool:
        """Whether replay keeps what the policy says beyond a task's own action components."""
        return self.surplus_actions == "keep"

    @property
    def bootstraps_returns(self) -> bool:
        """Whether the critic says what would have followed a cut episode, for the return scale."""
        return self.return_bootstrap == "critic"

    @property
    def torsos(self) -> dict[str, Torso]:
        """The torso of each network, by its key."""
        return {"agent.network": self.network, "agent.actor_network": self.actor_network}


@dataclass(frozen=True, kw_only=True)
class BrcDiscreteConfig(AgentConfig):
    """The critic of BRC with a value for each discrete action, on an image encoder."""

    actions: ClassVar[Literal["continuous", "discrete"]] = "discrete"
    parts: ClassVar[tuple[str, ...]] = ("embedding", "encoder", "critic_torso", "critic_head")

    backup: Literal["greedy", "soft"]
    """What targets follow: the best next action, or softmax(Q / soft_temperature) with its entropy as a bonus."""
    soft_temperature: Annotated[float | None, Range(gt=0)]
    """The temperature of backup=soft, in normalised return."""
    epsilon: Annotated[float, Range(ge=0, le=1)]
    """The share of random actions in training after epsilon_steps; the share falls linearly from 1."""
    epsilon_steps: Annotated[int, Range(ge=1)]
    """The environment steps, from the run's first, over which epsilon falls."""
    eval_epsilon: Annotated[float, Range(ge=0, le=1)]
    """The share of random actions in evaluation."""
    image_shift: Annotated[int, Range(ge=0, le=100)]
    """The pixels by which updates shift images at random, at most; 0 shifts nothing."""

    def check(self, model: ModelConfig) -> None:
        """Raise ConfigError where a soft backup has no temperature (or another one has), or there is no encoder."""
        super().check(model)
        if self.reward_scale in ("release", "paper"):
            raise ConfigError(
                f"agent.reward_scale={self.reward_scale}: corrects for an entropy that agent={self.name} has not; "
                "allowed here: return, off"
            )
        if (self.backup == "soft") != (self.soft_temperature is not None):
            raise ConfigError(
                f"agent.soft_temperature={show(self.soft_temperature)}: a number with agent.backup=soft, else null; "
                f"agent.backup={show(self.backup)}"
            )
        for name in ("encoder_channels", "encoder_stride"):
            if getattr(model, name) is None:
                raise ConfigError(f"model.{name}=null: needed where agent.learner={self.learner}")


@dataclass(frozen=True, kw_only=True)
class ImitationConfig(AgentConfig):
    """A policy that imitates what a dataset holds, for continuous actions: behaviour cloning, or distillation."""

    actions: ClassVar[Literal["continuous", "discrete"]] = "continuous"
    offline: ClassVar[bool] = True

    dataset: Annotated[str | None, NotIdentity()]
    """The folder of trajectories that python -m agents.collect has written."""
    dataset_id: Annotated[str | None, Since(None)]
    """The digest of the dataset's content; null: that of the dataset as it is now."""
    target: Literal["actions", "policy"]
    """What is imitated: the actions taken (behaviour cloning), or the policy that took them (distillation)."""


AGENTS: dict[str, type[AgentConfig]] = {
    "brc": BrcConfig,
    "brc_discrete": BrcDiscreteConfig,
    "imitation": ImitationConfig,
}
"""Learner -> its settings."""
