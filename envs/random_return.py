"""Measures what uniformly random actions score: `python -m envs.random_return [--episodes 20] [TASK ...]`.

The mean returns are kept in each suite's task table as `random_return`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from envs import registry
from envs.episodes import Schedule, play
from envs.random_actions import random_actions
from envs.seeding import episode_seed, seed_sequence
from envs.spec import TaskSpec
from envs.vector import VectorEnv, default_workers
from records.command_line import Parser, at_least, exit_status
from records.layout import ExitCode


def random_episodes(
    spec: TaskSpec, episodes: int, num_envs: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Undiscounted returns and successes `[episodes]` of a task under uniformly random actions.

    An episode depends on (seed, task, its number) alone.

    Args:
      spec: the task.
      episodes: exactly the episodes 0 to `episodes - 1` are played.
      num_envs: environments at once; None: one a core.
      seed: of starts and actions.
    """
    schedule = Schedule([spec], episodes, min(num_envs or default_workers(episodes), episodes))

    def reset_seed(row: int, turn: int) -> int:
        return episode_seed(seed, spec.id, "train", schedule.number(row, turn))

    rngs: dict[int, np.random.Generator] = {}  # by the episode's number

    def act(_: np.ndarray) -> np.ndarray:
        playing = [schedule.number(row, int(turn)) for row, turn in enumerate(env.episode)]
        for number in playing:
            if number not in rngs:
                rngs[number] = np.random.default_rng(seed_sequence(seed, spec.id, "random_actions", number))
        return random_actions(schedule.rows, [rngs[number] for number in playing])

    with VectorEnv(schedule.rows, reset_seed) as env:
        played = play(env, schedule, env.reset(), act)
    assert played is not None  # nothing tells it to stop
    return played.returns[0], played.successes[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the tasks that a command line names, and returns the exit status."""
    return exit_status(lambda: measure(arguments))


def measure(arguments: Sequence[str] | None) -> int:
    """Prints, task by task, what random actions score.

    Raises:
      ConfigError: the arguments make no sense, or name a task that is not there.
    """
    parser = Parser(
        prog="python -m envs.random_return", description="What uniformly random actions score, task by task."
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="task ids such as dmc/dog-run; default: all")
    parser.add_argument("--episodes", type=at_least(1), default=20, help="episodes of each task; default: 20")
    parser.add_argument("--envs", type=at_least(1), help="environments that play them; default: one a core")
    parsed = parser.parse_args(arguments)
    for spec in registry.specs(parsed.tasks) or registry.all_tasks():
        returns, successes = random_episodes(spec, parsed.episodes, parsed.envs)
        error = returns.std(ddof=1) / np.sqrt(len(returns)) if len(returns) > 1 else np.nan
        print(f"{spec.id:36s} {returns.mean():9.2f} +- {error:.2f}  success {successes.mean():.2f}", flush=True)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
