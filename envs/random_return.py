"""Measures what uniformly random actions score: `python -m envs.random_return [--episodes 20] [TASK ...]`.

The figures are kept in each suite's task table as `random_return`.
"""

from __future__ import annotations

import argparse

import numpy as np

from envs import registry
from envs.seeding import episode_seed, seed_sequence
from envs.spec import TaskSpec
from envs.vector import VectorEnv


def random_returns(spec: TaskSpec, episodes: int, seed: int = 0) -> np.ndarray:
    """Undiscounted returns `[episodes]` of a task under uniformly random actions, one environment an episode."""
    rng = np.random.default_rng(seed_sequence(seed, spec.id, "random_actions"))
    returns = np.zeros(episodes)
    with VectorEnv([spec] * episodes, lambda row, episode: episode_seed(seed, spec.id, "train", row)) as env:
        env.reset()
        while (active := env.episode == 0).any():
            if spec.action_kind == "continuous":
                actions = rng.uniform(-1, 1, (episodes, spec.action_dim)).astype(np.float32)
            else:
                actions = rng.integers(spec.action_dim, size=episodes).astype(np.int32)
            env.start_step(actions, active)
            returns += np.where(active, env.wait_step().reward, 0)
    return returns


def main() -> None:
    parser = argparse.ArgumentParser(description="Mean return of uniformly random actions, task by task.")
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="task ids such as dmc/dog-run; default: all")
    parser.add_argument("--episodes", type=int, default=20)
    arguments = parser.parse_args()
    specs = registry.specs(arguments.tasks) or registry.all_tasks()
    for spec in specs:
        returns = random_returns(spec, arguments.episodes)
        error = returns.std(ddof=1) / np.sqrt(len(returns)) if len(returns) > 1 else np.nan
        print(f"{spec.id:32s} {returns.mean():9.2f} +- {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
