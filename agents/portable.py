"""A saved policy in the form that `agents.policy` reads: the layers of its network, its arrays and its card."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.learner import brc, brc_discrete, imitation
from agents.learner.architecture import ENCODER_BLOCKS, ENCODER_STAGES, encoder_stage
from agents.learner.critic import expected_value, task_features
from agents.learner.networks import LOG_STD_MAX, LOG_STD_MIN, TORSOS
from agents.policy import Policy
from agents.saved import SavedPolicy
from conf import identity
from conf.typed import ConfigError
from envs.spec import TaskSpec
from records import metrics
from records.provenance import git_state
from records.rows import Row
from records.run_dir import RunDir

VERSION = 1
LICENCE = "Apache-2.0"  # of this project, to which policy.py belongs
CHECKED = 8
"""Observations of each task on which an export is compared with the policy in JAX."""

EXPORTED = ("bronet", "mlp", "prenorm")
"""The torsos that can be exported."""

Program = list[list[Any]]


class Differences(NamedTuple):
    """The largest differences from the policy as JAX computes the policy in float64, on random observations."""

    exported: float
    """Of the exported policy."""
    float32: float
    """Of the policy in float32, as runs compute: no export can be expected to be nearer to a run than this."""


def torso_program(network: str, depth: int, layer_norm: bool, prefix: str) -> Program:
    """Return the layers of a torso, whose arrays are called `prefix/...`.

    Args:
      network: the kind of torso, one of `agents.learner.architecture.TORSOS`.
      depth: blocks of two layers after the first layer.
      layer_norm: whether the torso keeps its norms.
      prefix: of the arrays' names.
    Raises:
      ConfigError: the torso is of a kind that cannot be exported.
    """
    if network not in EXPORTED:
        raise ConfigError(f"agent.network={network}: cannot be exported; {', '.join(EXPORTED)} can")
    name = f"{prefix}/{TORSOS[network].__name__}_0"
    denses, norms = itertools.count(), itertools.count()

    def dense() -> Program:
        return [["dense", f"{name}/Dense_{next(denses)}"]]

    def norm() -> Program:
        return [["norm", f"{name}/LayerNorm_{next(norms)}"]] if layer_norm else []

    relu: Program = [["relu"]]
    if network == "bronet":
        first = [*dense(), *norm(), *relu]
        return [*first, *(["add", *dense(), *norm(), *relu, *dense(), *norm()] for _ in range(depth))]
    if network == "prenorm":
        first = dense()
        return [*first, *(["add", *norm(), *dense(), *relu, *dense()] for _ in range(depth)), *norm()]
    return [layer for _ in range(1 + 2 * depth) for layer in (*dense(), *relu)]


def encoder_program(channels: int, stride: int) -> Program:
    """Return the layers of the image encoder, whose arrays are called `encoder/...`."""
    program: Program = []
    convolutions = iter(range(ENCODER_STAGES * (1 + 2 * ENCODER_BLOCKS)))

    def conv(stride: int = 1) -> list[Any]:
        return ["conv", f"encoder/Conv_{next(convolutions)}", stride]

    for stage in range(ENCODER_STAGES):
        program += [conv(encoder_stage(channels, stride, stage)[2]), ["pool"]]
        program += [["add", ["relu"], conv(), ["relu"], conv()] for _ in range(ENCODER_BLOCKS)]
    return [*program, ["relu"], ["flatten"], ["dense", "encoder/Dense_0"], ["norm", "encoder/LayerNorm_0"]]


def portable(policy: SavedPolicy) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the network as a card describes it, and the arrays that it names.

    What tells the network the task is worked out here, so that all kinds of conditioning are a row for each task.

    Raises:
      ConfigError: the policy is of a kind that cannot be exported.
    """
    settings, params = policy.settings, policy.params
    if isinstance(settings, brc.Settings | imitation.Settings):
        torso = (
            (settings.actor_network, settings.actor_depth)
            if isinstance(settings, brc.Settings)
            else (settings.network, settings.depth)
        )
        told = exact_features(settings, params.conditioning, len(policy.specs))
        arrays = named({"actor": params.actor})
        network = {
            "head": "gaussian",
            "obs_dim": settings.obs_dim,
            "torso": torso_program(*torso, settings.layer_norm, "actor"),
            "outputs": ["actor/mean", "actor/raw_log_std"],
            "log_std": [LOG_STD_MIN, LOG_STD_MAX],
        }
    elif isinstance(settings, brc_discrete.Settings):
        told = exact_features(settings, params["conditioning"], len(policy.specs))
        arrays = named({"encoder": params["encoder"], "ensemble": params["ensemble"]})
        if settings.value_loss == "categorical":
            arrays["bins"] = np.asarray(settings.bins)
        network = {
            "head": "values",
            "encoder": encoder_program(settings.encoder_channels, settings.encoder_stride),
            "torso": torso_program(settings.network, settings.depth, settings.layer_norm, "ensemble"),
            "outputs": ["ensemble/Dense_0"],
            "ensemble": settings.ensemble_target,
            "epsilon": settings.eval_epsilon,
        }
    else:
        raise ConfigError(f"agent.learner={policy.config.agent.learner}: policies of this learner cannot be exported")
    return network | {"action_dim": settings.action_dim, "heads": settings.num_heads}, arrays | {"task_features": told}


def exact_features(settings: Any, conditioning: Any, number: int) -> np.ndarray:
    """Return what tells the network each of a number of tasks, `[T, ...]` in float64."""
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), conditioning)
        return np.asarray(task_features(settings, exact, jnp.arange(number)), np.float64)


def named(tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a tree by their paths, `actor/mean/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def card(policy: SavedPolicy, network: dict[str, Any]) -> dict[str, Any]:
    """Return what card.json says of a policy."""
    env_steps, rows = newest_rows(policy)
    manifest = RunDir(policy.run_dir).manifest()
    overall = [row.value for row in rows if row.task is None and row.name == metrics.EVAL_SCORE]
    return {
        "version": VERSION,
        "name": identity.run_name(policy.config),
        "benchmark": policy.config.benchmark.name,
        "identity": identity.hash_of(policy.config),
        "env_steps": policy.env_steps,
        "git_commits": sorted({one.git_commit for one in manifest.starts if one.git_commit} if manifest else ()),
        "exported_by": git_state()["git_commit"],
        "licence": LICENCE,
        "score": overall[0] if overall else None,
        "evaluated_at": env_steps,
        "evaluation_episodes": policy.config.eval.episodes,
        "tasks": [task_card(spec, rows) for spec in policy.specs],
        "settings": identity.values_of(policy.config),
        "network": network,
    }


def newest_rows(policy: SavedPolicy) -> tuple[int | None, Sequence[Row]]:
    """Return the newest evaluation up to the checkpoint: its environment steps and rows; (None, no rows) before any."""
    done = RunDir(policy.run_dir).done()
    if done is not None and done.env_steps == policy.env_steps:
        return done.env_steps, done.evaluation
    return (None, ()) if policy.evaluated is None else (policy.evaluated.env_steps, policy.evaluated.rows)


def task_card(spec: TaskSpec, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the card says of a task; values that no evaluation has are None."""
    found = {row.name: row.value for row in rows if row.task == spec.id}
    return {
        "id": spec.id,
        "obs_shape": list(spec.obs_shape),
        "obs_dtype": spec.obs_dtype,
        "action_dim": spec.action_dim,
        "action_kind": spec.action_kind,
        "max_episode_steps": spec.max_episode_steps,
        "score_metric": spec.score_metric,
        "return": found.get(metrics.EVAL_RETURN),
        "success": found.get(metrics.EVAL_SUCCESS),
        "score": found.get(metrics.EVAL_SCORE),
    }


def readme(about: dict[str, Any]) -> str:
    """Return the card for people, in Markdown."""

    def shown(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:,.{digits}f}"

    rows = [
        f"| {one['id']} | {one['score_metric']} | {shown(one['return'], 1)} | {shown(one['success'], 2)} "
        f"| {shown(one['score'], 3)} | {one['obs_shape']} | {one['action_dim']} {one['action_kind']} |"
        for one in about["tasks"]
    ]
    first = about["tasks"][0]
    evaluated = "There was no evaluation yet."
    if about["evaluated_at"] is not None:
        evaluated = (
            f"Means over {about['evaluation_episodes']} episodes at {about['evaluated_at']:,} steps, with "
            "deterministic actions; an episode succeeds if any of its steps does."
        )
    return "\n".join(
        [
            f"# {about['name']} on {about['benchmark']}",
            "",
            f"A policy for {len(about['tasks'])} tasks after {about['env_steps']:,} environment steps of each.",
            "",
            "    from policy import Policy              # NumPy is all that it needs",
            "",
            "    policy = Policy()",
            f'    action = policy.act(observation, "{first["id"]}")',
            "",
            f"`observation` is {first['obs_dtype']} of shape {first['obs_shape']}, or [N, ...] for several, as",
            "`envs.registry.make` of the project makes it. Continuous actions lie in [-1, 1].",
            "",
            "| task | judged by | return | success | score | observation | action |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            evaluated,
            "",
            f"- run: identity {about['identity']}, code of commit {', '.join(about['git_commits']) or 'unknown'}",
            f"- equality: actions (or values) of this folder and of the original in float64 differ by at most "
            f"{about['largest_difference']:.1e} on {CHECKED} random observations of each task; the run itself "
            f"computes in float32, which rounds by {about['float32_difference']:.1e}",
            f"- licence: {about['licence']}; the tasks belong to their authors",
            "- card.json: all of this, the settings of the run, and the layers of the network",
            "",
        ]
    )


def differences(policy: SavedPolicy, folder: Path) -> Differences:
    """Return by how much the exported policy and the original differ at most, on random observations of each task.

    Continuous actions are compared as they are, values of discrete ones in units of the largest value.
    """
    exported, rng = Policy(folder), np.random.default_rng(0)
    found = []
    for task, spec in enumerate(policy.specs):
        if isinstance(policy.settings, brc_discrete.Settings):
            own = rng.integers(0, 256, (CHECKED, *spec.obs_shape)).astype(np.uint8)
            (ours,) = exported.outputs(own, task)
        else:
            own = rng.standard_normal((CHECKED, *spec.obs_shape)).astype(np.float32)
            ours = exported.act(own, spec.id)
        exact, rounded = (acted(policy, own, task, kind) for kind in (np.float64, np.float32))
        unit = np.abs(exact).max() if isinstance(policy.settings, brc_discrete.Settings) else 1.0
        found.append([np.abs(other - exact).max() / unit for other in (ours, rounded)])
    return Differences(*(float(one) for one in np.max(found, axis=0)))


def acted(policy: SavedPolicy, own: np.ndarray, task: int, kind: type[np.floating]) -> np.ndarray:
    """Return what JAX makes of observations: the best actions `[N, A]`, or the values `[N, A]` of discrete ones.

    Args:
      policy: whose network is computed, in `kind` throughout, whatever the precision of the run's products.
      own: observations `[N, ...]` of the task's own width.
      task: the task's number.
      kind: float32 or float64.
    """
    settings, ids = dataclasses.replace(policy.settings, precision="float32"), np.full(len(own), task, np.int32)
    with jax.enable_x64(kind is np.float64):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind), policy.params)
        if isinstance(settings, brc_discrete.Settings):
            return np.asarray(
                expected_value(
                    settings, brc_discrete.critic_outputs(settings, params, jnp.asarray(own), jnp.asarray(ids))
                )
            )
        obs = np.pad(own, ((0, 0), (0, settings.obs_dim - own.shape[1]))).astype(kind)
        act = policy.learner.act(settings, params, obs, ids, jax.random.key(0), 0, deterministic=True)
        return np.asarray(act)[:, : policy.specs[task].action_dim]
