"""EnvPool as another way to step training's environments: for which tasks, and how an episode is found again.

A task is offered where EnvPool, begun in the same state and given the same actions, shows the observations, rewards
and successes of the task's own simulator for 200 steps, to the tolerances in `tests/envs/test_envpool.py`; `REASONS`
says of every other one why not, and the tests hold it to both. Evaluation is always native, so that scores are the
reference simulator's.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from conf.typed import ConfigError
from envs import registry
from envs.spec import TaskSpec

PRELOAD = ("envs.envpool.package",)
EPISODES_PER_POOL = 32

POOL_IDS = {"dmc": "{}-v1", "metaworld": "MetaWorld/{}-v3"}
"""Suite -> EnvPool's id, around the task's name in camel case."""

POOL_OPTIONS: dict[str, dict[str, Any]] = {"dmc": {}, "metaworld": {"partially_observable": False}}

EXTRA_OBSERVATIONS = {
    "humanoid": {"position"},
    "dog": {"ball_state", "target_position"},
    "finger-spin": {"target_position", "dist_to_target"},
}
"""What EnvPool shows beyond dm_control, by the beginning of the task's name."""

ABSENT = "EnvPool has no such task"
_FINGER = "the finger's blows end otherwise: EnvPool has MuJoCo 3.6 inside, where they do so in dm_control too"
_CUP = "the reward counts the ball as caught while it is still outside the cup's target"
_DOG = "its contacts part from dm_control's within some 20 steps, which MuJoCo 3.6 by itself does not"
_TOUCH = "parts from MetaWorld's where things touch: by over 5 mm, or with a reward or success at another step"
_PADS = "rewards hold the finger pads against where they stood at the start, MetaWorld's against where they are"
_CLOSED = "rewards take 1 - the gripper's opening for how closed it is, MetaWorld's the opening"
_HANDLE = "the first observation shows the handle after it was moved, MetaWorld's before"

REASONS: dict[str, str] = {
    f"{suite}/{name}": reason
    for suite, reason, names in (
        ("dmc", _FINGER, "finger-spin finger-turn_easy finger-turn_hard"),
        ("dmc", _CUP, "ball_in_cup-catch"),
        ("dmc", _DOG, "dog-stand dog-walk dog-trot dog-run"),
        (
            "dmc",
            ABSENT,
            "cheetah-run_backwards cheetah-run_front cheetah-run_back cheetah-jump walker-walk_backwards "
            "walker-run_backwards hopper-hop_backwards reacher-three_easy reacher-three_hard ball_in_cup-spin "
            "pendulum-spin",
        ),
        ("metaworld", _PADS, "door-lock sweep-into sweep soccer pick-place push-back"),
        ("metaworld", _CLOSED, "button-press-topdown-wall"),
        ("metaworld", _HANDLE, "window-close lever-pull"),
        (
            "metaworld",
            _TOUCH,
            "assembly basketball bin-picking box-close button-press-topdown button-press button-press-wall "
            "coffee-push dial-turn disassemble door-close door-open door-unlock hand-insert drawer-close "
            "drawer-open faucet-open faucet-close handle-press-side handle-press handle-pull-side handle-pull "
            "pick-place-wall pick-out-of-hole plate-slide plate-slide-side plate-slide-back plate-slide-back-side "
            "peg-insert-side peg-unplug-side stick-push stick-pull push push-wall shelf-place window-open",
        ),
    )
    for name in names.split()
}
"""Task id -> why EnvPool is not offered for it."""


def adopt(specs: Sequence[TaskSpec]) -> list[TaskSpec]:
    """The tasks as `env.backend=envpool` trains on them: those that EnvPool steps rightly marked, the rest native.

    Raises:
      ConfigError: EnvPool is not installed, or none of the tasks is offered.
    """
    if importlib.util.find_spec("envpool") is None:
        raise ConfigError(
            "env.backend=envpool: EnvPool is not installed: pip install -c constraints.txt -e '.[envpool]'; "
            "env.backend=auto needs nothing"
        )
    reasons = [reason_against(spec) for spec in specs]
    if None not in reasons:
        raise ConfigError(
            f"env.backend=envpool: offered for none of these {len(specs)} tasks ({specs[0].id}: {reasons[0]}); "
            "allowed here: auto, process, inline"
        )
    return [
        spec if reason else dataclasses.replace(spec, family="envpool")
        for spec, reason in zip(specs, reasons, strict=True)
    ]


def for_training(specs: Sequence[TaskSpec], backend: str) -> list[TaskSpec]:
    """The specs that training's vector environment gets under `env.backend`; raises as `adopt`."""
    return adopt(specs) if backend == "envpool" else list(specs)


def reason_against(spec: TaskSpec) -> str | None:
    """Why EnvPool does not step this task; None where it does."""
    if spec.suite not in POOL_IDS:
        return "EnvPool has no such suite"
    if spec.options != registry.spec(spec.id).options:
        return "EnvPool knows none of the suite's options"
    return REASONS.get(spec.id)


def pool_id(spec: TaskSpec) -> str:
    """What EnvPool calls the task."""
    words = spec.name.replace("_", "-").split("-")
    return POOL_IDS[spec.suite].format("".join(word.capitalize() for word in words))


def open_pool(spec: TaskSpec, seed: int, number: int) -> Any:
    """The `number`th pool, of one environment, of the stream that a seed begins."""
    from envs.envpool.package import envpool

    (bits,) = np.random.SeedSequence([seed, number]).generate_state(1)
    return envpool.make(
        pool_id(spec),
        env_type="gymnasium",
        num_envs=1,
        num_threads=1,
        seed=int(bits >> 1),  # EnvPool wants a signed 32-bit number
        max_episode_steps=spec.max_episode_steps,
        **POOL_OPTIONS[spec.suite],
    )


def make(spec: TaskSpec, *, render: bool = False) -> EnvPoolEnv:
    """An environment of the task, stepped by EnvPool, which does not render."""
    if render:
        raise ValueError(f"{spec.id}: EnvPool's environments are not rendered; use the native family")
    return EnvPoolEnv(spec)


class EnvPoolEnv(gymnasium.Env):
    """One task, stepped by a pool of one environment.

    A pool is seeded when it is made and draws each reset from where the last one left its generator, so an episode is
    found again by its number: `reset(seed=s, options={"episode": n})` begins episode `n` of the stream that `s`
    begins, whatever was played before. A stream is a sequence of pools of `EPISODES_PER_POOL` episodes each, which
    bounds the resets that this takes.
    """

    def __init__(self, spec: TaskSpec):
        self._task = spec
        self._pool: Any = None
        self._place: tuple[int, int] | None = None  # the pool's seed and number
        self._resets = 0  # of the pool
        self._extra = set().union(*(v for k, v in EXTRA_OBSERVATIONS.items() if spec.name.startswith(k)))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, spec.obs_shape, np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (spec.action_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        number, index = divmod((options or {}).get("episode", 0), EPISODES_PER_POOL)
        place = (seed or 0, number)
        if place != self._place or index < self._resets:
            self._pool = open_pool(self._task, *place)
            self._place, self._resets = place, 0
        obs = None
        while self._resets <= index:
            obs, _ = self._pool.reset()
            self._resets += 1
        return self._flatten(obs), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self._pool.step(action[None])
        success = bool(info["success"][0]) if "success" in info else False
        return self._flatten(obs), float(reward[0]), bool(terminated[0]), bool(truncated[0]), {"success": success}

    def _flatten(self, obs: Any) -> np.ndarray:
        """The native observation's entries in alphabetical order of their keys, as float32 `[O]`."""
        if isinstance(obs, dict):
            return np.concatenate([obs[key].ravel() for key in sorted(obs.keys() - self._extra)]).astype(np.float32)
        return obs[0].astype(np.float32)

    def close(self) -> None:
        self._pool = None  # its thread ends with it
