"""Defines a run's whole state: one pytree of arrays, saved and restored by the paths of its leaves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.training.checkpoint import DamagedError
from agents.training.metrics import EpisodeTotals
from agents.training.reward_scale import BoundsState, ReturnBounds
from conf.schema import RunConfig
from envs.seeding import seed_sequence
from envs.spec import SpaceSpec, TaskSpec
from envs.vector import Episodes


class EpisodesState(NamedTuple):
    """Says where each task's training episode stands: `envs.vector.Episodes` with all actions in one array.

    Attributes:
      number: `[T]`, episodes finished before this one.
      length: `[T]`, steps taken in it.
      actions: `[sum of length, A]`, task by task.
    """

    number: np.ndarray
    length: np.ndarray
    actions: np.ndarray

    @classmethod
    def of(cls, episodes: Episodes) -> EpisodesState:
        """Return the same episodes as arrays."""
        return cls(episodes.number, episodes.length, np.concatenate(episodes.actions))

    def split(self) -> Episodes:
        """Return the same episodes with an array of actions for each task."""
        return Episodes(self.number, self.length, np.split(self.actions, np.cumsum(self.length)[:-1]))


class RunState(NamedTuple):
    """Holds everything that a run needs to continue exactly where it is, but for replay: a pytree of arrays.

    Attributes:
      env_steps: scalar, environment steps of every task so far.
      learner: the learner's own state.
      bounds: magnitudes of the tasks' returns.
      totals: return and success of the running episodes.
      divergences: `[T]`, training episodes that ended because the simulation diverged.
      episodes: where the environments are.
      obs: `[T, O]`, the observations that come next; zeros before the first.
      sample_rng: `[6]`, the generator that draws from replay.
      action_rngs: `[T, 6]`, the generators of random actions.
    """

    env_steps: np.ndarray
    learner: Any
    bounds: BoundsState
    totals: EpisodeTotals
    divergences: np.ndarray
    episodes: EpisodesState
    obs: np.ndarray
    sample_rng: np.ndarray
    action_rngs: np.ndarray


def initial(config: RunConfig, specs: Sequence[TaskSpec], learner: Any) -> RunState:
    """Return the state before the first step; `learner` may be shapes alone, where only the form is wanted."""
    tasks, space = len(specs), SpaceSpec.of(specs)
    action_rngs = [np.random.default_rng(seed_sequence(config.seed, spec.id, "random_actions")) for spec in specs]
    return RunState(
        env_steps=np.asarray(0, np.int64),
        learner=learner,
        bounds=ReturnBounds(tasks, config.agent.discount).state(),
        totals=EpisodeTotals(np.zeros(tasks), np.zeros(tasks, bool)),
        divergences=np.zeros(tasks, np.int64),
        episodes=EpisodesState(
            np.zeros(tasks, np.int64), np.zeros(tasks, np.int64), np.zeros((0, *space.action_shape), space.action_dtype)
        ),
        obs=np.zeros((tasks, *space.obs_shape), space.obs_dtype),
        sample_rng=generator_state(np.random.default_rng(np.random.SeedSequence([config.seed, 0]))),
        action_rngs=np.stack([generator_state(rng) for rng in action_rngs]),
    )


def to_arrays(state: RunState) -> dict[str, np.ndarray]:
    """Return every leaf as it is now, on the host, under its path as a name: `learner/critic/...`, `bounds/low`.

    Nothing that happens later changes the arrays. Those of the host are copied. Those of the device are not where that
    is this host's memory: JAX gives memory that somebody else still sees to no other array.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            np.asarray(leaf) if isinstance(leaf, jax.Array) else np.array(leaf)
        )
        for path, leaf in leaves
    }
    assert len(arrays) == len(leaves), "two leaves have one name"
    return arrays


def from_arrays(
    template: RunState,
    arrays: Mapping[str, np.ndarray],
    *,
    ignored: Collection[str] = (),
    put: Callable[[np.ndarray, jax.ShapeDtypeStruct], Any] = lambda array, _: array,
) -> RunState:
    """Put the state together that `to_arrays` took apart.

    Each array is asked for once, and put where it belongs before the next is asked for.

    Args:
      template: a state of the same form; where a leaf is a `jax.ShapeDtypeStruct`, the array must have its shape, else
        its number of axes.
      arrays: by path.
      ignored: names that are no part of the state.
      put: an array and the `jax.ShapeDtypeStruct` that stands for it -> the leaf; for none, arrays stay as they are.
    Raises:
      DamagedError: an array is missing, has another shape or type, or there is one more.
    """
    left = set(arrays) - set(ignored)

    def take(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name not in left:
            raise DamagedError(f"the checkpoint has no array {name}")
        left.remove(name)
        array = arrays[name]
        fits = array.shape == leaf.shape if isinstance(leaf, jax.ShapeDtypeStruct) else array.ndim == leaf.ndim
        if not fits or array.dtype != leaf.dtype:
            raise DamagedError(
                f"the checkpoint's array {name} is {array.dtype}{list(array.shape)}, "
                f"and this run's {leaf.dtype}{list(leaf.shape)}"
            )
        return put(array, leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else array

    state = jax.tree_util.tree_map_with_path(take, template)
    if left:
        raise DamagedError(f"the checkpoint has arrays that this run has not: {', '.join(sorted(left))}")
    return state


def generator_state(rng: np.random.Generator) -> np.ndarray:
    """Return the state of a PCG64 generator as `[6]`, uint64; `generator` takes it back."""
    state = rng.bit_generator.state
    words = [word for value in (state["state"]["state"], state["state"]["inc"]) for word in divmod(value, 2**64)]
    return np.asarray([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def generator(state: np.ndarray) -> np.random.Generator:
    """Return a generator that goes on from `generator_state`."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in state)
    rng = np.random.default_rng(0)
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": (high << 64) + low, "inc": (inc_high << 64) + inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return rng
