"""Measures what uniformly random actions score: `python -m envs.random_return [--episodes 20] [TASK ...]`.

The mean returns are kept in each suite's task table as `random_return`.
"""

from __future__ import annotations

import argparse

import numpy as np

from envs import registry
from envs.seeding import episode_seed, seed_sequence
from envs.spec import TaskSpec
from envs.vector import VectorEnv, default_workers


def random_episodes(
    spec: TaskSpec, episodes: int, num_envs: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Undiscounted returns and successes `[episodes]` of a task under uniformly random actions.

    Environment `k` plays the episodes `k, k + num_envs, ...`; an episode depends on (seed, task, its number) alone.

    Args:
      spec: the task.
      episodes: exactly the episodes 0 to `episodes - 1` are played.
      num_envs: at once; None: one a core.
      seed: of starts and actions.
    """
    num_envs = min(num_envs or default_workers(episodes), episodes)
    quota = np.asarray([len(range(row, episodes, num_envs)) for row in range(num_envs)])
    returns, successes = np.zeros(episodes), np.zeros(episodes, bool)

    def reset_seed(row: int, episode: int) -> int:
        return episode_seed(seed, spec.id, "train", row + episode * num_envs)

    def actions_of(row: int) -> np.random.Generator:
        number = row + int(env.episode[row]) * num_envs
        return np.random.default_rng(seed_sequence(seed, spec.id, "random_actions", number))

    with VectorEnv([spec] * num_envs, reset_seed) as env:
        env.reset()
        rngs = [actions_of(row) for row in range(num_envs)]
        while (active := env.episode < quota).any():
            rows = np.flatnonzero(active)
            playing = rows + env.episode[rows] * num_envs
            env.start_step(np.stack([uniform_action(spec, rng) for rng in rngs]), active)
            step = env.wait_step()
            returns[playing] += step.reward[rows]
            successes[playing] |= step.success[rows]
            for row in rows[step.episode_over[rows]]:
                rngs[row] = actions_of(row)
    return returns, successes


def uniform_action(spec: TaskSpec, rng: np.random.Generator) -> np.ndarray:
    """`[A]` in [-1, 1], or `[]`, one of the discrete actions."""
    if spec.action_kind == "continuous":
        return rng.uniform(-1, 1, spec.action_dim).astype(np.float32)
    return np.asarray(rng.integers(spec.action_dim), np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description="What uniformly random actions score, task by task.")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="task ids such as dmc/dog-run; default: all")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--envs", type=int, help="environments that play them; default: one a core")
    arguments = parser.parse_args()
    specs = registry.specs(arguments.tasks) or registry.all_tasks()
    for spec in specs:
        returns, successes = random_episodes(spec, arguments.episodes, arguments.envs)
        error = returns.std(ddof=1) / np.sqrt(len(returns)) if len(returns) > 1 else np.nan
        print(f"{spec.id:36s} {returns.mean():9.2f} +- {error:.2f}  success {successes.mean():.2f}", flush=True)


if __name__ == "__main__":
    main()
