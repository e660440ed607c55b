"""What passes between replay, loop and learner, and the contract that every learner fulfils."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import chex
import jax

from conf.schema import RunConfig
from envs.spec import SpaceSpec, TaskSpec

Params = Any
Metrics = dict[str, jax.Array]
Array = Any
"""A `jax.Array` on the device, a `numpy.ndarray` on the host."""


class Batch(NamedTuple):
    """Transitions. Leading axes are `[U, B]` out of replay and `[B]` inside one update.

    Attributes:
      obs: `[..., O]`, zero-padded to the widest task, or frames `[..., stack, H, W]`.
      action: `[..., A]`, in [-1, 1], zero-padded, or the number `[...]` of a discrete one.
      reward: `[...]`, raw: the discounted sum of `n` steps' rewards, fewer where an episode ends within them.
      next_obs: as `obs`, the true successor after those steps, also at an episode's end.
      discount: `[...]`, of what follows `next_obs`: `discount^n`, 0 where the episode terminated and was not truncated.
      task_ids: `[...]`, int32 index into the run's ordered tasks.
    """

    obs: Array
    action: Array
    reward: Array
    next_obs: Array
    discount: Array
    task_ids: Array


class Demonstrations(NamedTuple):
    """Recorded observations and what was done at them. Leading axes are `[U, B]` or `[B]`, as in `Batch`.

    Attributes:
      obs: `[..., O]`, zero-padded to the widest task.
      action: `[..., A]`, in [-1, 1], zero-padded.
      mean, log_std: `[..., A]`, the Gaussian before tanh of whoever acted; zeros beyond a task's width.
      task_ids: `[...]`, int32 index into the run's ordered tasks.
    """

    obs: Array
    action: Array
    mean: Array
    log_std: Array
    task_ids: Array


S = TypeVar("S")
State = TypeVar("State")
Acting = TypeVar("Acting")
Settings_contra = TypeVar("Settings_contra", contravariant=True)
Acting_contra = TypeVar("Acting_contra", contravariant=True)


class Act(Protocol[Settings_contra, Acting_contra]):
    """How a learner acts: actions `[N, A]` (or `[N]`) for observations `[N, ...]` of tasks `[N]`."""

    def __call__(
        self,
        settings: Settings_contra,
        params: Acting_contra,
        obs: Array,
        task_ids: Array,
        key: jax.Array,
        step: Array,
        *,
        deterministic: bool,
    ) -> jax.Array: ...


@dataclass(frozen=True)
class Learner(Generic[S, State, Acting]):
    """One algorithm: pure functions that the loop calls, whatever the algorithm.

    Attributes:
      settings: the static, hashable settings of a run.
      init: a fresh state, a pytree of arrays, from settings and key.
      acting_params: the part of the state that acting reads.
      act: the actions.
      update: `U` updates on batches `[U, B, ...]` (`Batch`, or `Demonstrations` where the agent is offline) with
        magnitudes of returns `[T]`: the new state, and metrics on the device. The old state's memory may be taken.
      task_embedding: the learned embeddings `[T, D]`; None where the state has none.
      value: what the learner expects to follow observations `[N, O]` of tasks `[N]`, in raw return `[N]`, at magnitudes
        of returns `[T]`; None where the learner's settings never bootstrap returns.
      critic_problem: what the critic is to learn from a batch `[B, ...]`, a `agents.learner.critic.Problem`, with a key
        of its own; None where the learner's tasks cannot be told apart by the gradients of one critic.
    """

    settings: Callable[[RunConfig, Sequence[TaskSpec]], S]
    init: Callable[[S, jax.Array], State]
    acting_params: Callable[[State], Acting]
    act: Act[S, Acting]
    update: Callable[[S, State, Any, Array], tuple[State, Metrics]]
    task_embedding: Callable[[State], jax.Array | None]
    value: Callable[[S, State, Array, Array, Array], jax.Array] | None = None
    critic_problem: Callable[[S, State, Batch, Array, jax.Array], Any] | None = None


def settings_of(cls: type[S], config: RunConfig, specs: Sequence[TaskSpec]) -> S:
    """Return a dataclass of settings: fields of agent and model by name, and the tasks' sizes.

    Args:
      cls: the dataclass; of the tasks' sizes, the fields that the dataclass has are set.
      config: the run's configuration.
      specs: the run's tasks.
    """
    space = SpaceSpec.of(specs)
    values: dict[str, Any] = dataclasses.asdict(config.agent) | dataclasses.asdict(config.model)
    values |= {
        "conditioning": config.conditioning,
        "frozen": config.init.frozen if config.init_from is not None else (),
        "num_tasks": len(specs),
        "obs_dim": space.obs_shape[0],
        "obs_shape": space.obs_shape,
        "action_dim": space.action_dim,
        "action_widths": tuple(spec.action_width for spec in specs),
    }
    return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})  # type: ignore[arg-type]


def check_batches(batches: Batch, num_tasks: int, return_scale: Array) -> None:
    """Refuse batches `[U, B, ...]` and magnitudes `[T]` of other shapes, which would broadcast without a word.

    Raises:
      AssertionError: names the shapes.
    """
    chex.assert_rank(batches.reward, 2)
    chex.assert_equal_shape([batches.reward, batches.discount, batches.task_ids])
    chex.assert_equal_shape([batches.obs, batches.next_obs])
    chex.assert_shape(return_scale, (num_tasks,))
    chex.assert_type([batches.reward, batches.discount, batches.task_ids], [float, float, int])
