"""Steps per second of every back end beside plain one-after-another stepping: `python -m envs.bench benchmark=NAME`.

The contenders take turns in one process, so that their ratios are fair whatever else the machine does; starts are
measured in fresh processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from conf.compose import compose
from conf.typed import ConfigError
from envs import registry
from envs.random_actions import random_actions
from envs.seeding import episode_seed
from envs.spec import SpaceSpec, TaskSpec
from envs.vector import VectorEnv, default_workers
from records.command_line import Parser, at_least, exit_status
from records.layout import ExitCode

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN = "one after another"
TURN = 20  # steps: short, as a shared machine's clock changes within seconds
SAMPLED_PROCESSES = 4  # of those that one process per task would take


class OneAfterAnother:
    """The tasks as their own libraries step them, in a loop that fills one padded array of observations."""

    def __init__(self, specs: Sequence[TaskSpec]):
        self.specs, self.space = specs, SpaceSpec.of(specs)
        self._obs = np.zeros((len(specs), *self.space.obs_shape), self.space.obs_dtype)
        self._envs = [registry.plain(spec) for spec in specs]

    def reset(self) -> None:
        for row, env in enumerate(self._envs):
            self._put(row, env.reset(seed=row)[0])

    def step(self, actions: np.ndarray) -> None:
        for row, (env, spec) in enumerate(zip(self._envs, self.specs, strict=True)):
            own = actions[row, : spec.action_dim] if spec.action_kind == "continuous" else int(actions[row])
            obs, _, terminated, truncated, _ = env.step(own)
            self._put(row, env.reset()[0] if terminated or truncated else obs)

    def _put(self, row: int, obs: np.ndarray) -> None:
        if obs.ndim == 1:
            self._obs[row, : len(obs)] = obs
        else:
            self._obs[row] = obs

    def close(self) -> None:
        for env in self._envs:
            env.close()


class Vectorised:
    """The tasks in a `VectorEnv`."""

    def __init__(self, specs: Sequence[TaskSpec], backend: str, workers: int | None):
        self._env = VectorEnv(
            specs,
            lambda row, episode: episode_seed(0, specs[row].id, "train", episode),
            backend="inline" if backend == "inline" else "process",
            workers=workers,
        )

    def reset(self) -> None:
        self._env.reset()

    def step(self, actions: np.ndarray) -> None:
        self._env.start_step(actions)
        self._env.wait_step()

    def close(self) -> None:
        self._env.close()


Contender = OneAfterAnother | Vectorised


def contender(name: str, specs: Sequence[TaskSpec], workers: int | None) -> Contender:
    """What steps the tasks in the way of that name."""
    if name == PLAIN:
        return OneAfterAnother(specs)
    if name == "envpool":
        from envs.envpool import adopt

        specs = adopt(specs)
    return Vectorised(specs, name, workers)


def step_seconds(
    contenders: dict[str, Contender], actions: np.ndarray, rounds: int, advance: Callable[[], None]
) -> dict[str, list[float]]:
    """Seconds that each contender takes in each round; contenders take turns of `TURN` steps.

    Args:
      contenders: by name.
      actions: `[steps, N, A]`, of a round.
      rounds: how many.
      advance: called after each round.
    """
    for one in contenders.values():
        one.reset()
    seconds: dict[str, list[float]] = {name: [0.0] * rounds for name in contenders}
    for turn in range(rounds):
        for first in range(0, len(actions), TURN):
            for name, one in contenders.items():
                begun = time.perf_counter()
                for action in actions[first : first + TURN]:
                    one.step(action)
                seconds[name][turn] += time.perf_counter() - begun
        advance()
    return seconds


def start(name: str, specs: Sequence[TaskSpec], workers: int | None) -> dict[str, float]:
    """Seconds until all environments have been reset once, and the memory of this process and its children then."""
    import psutil

    begun = time.perf_counter()
    one = contender(name, specs, workers)
    one.reset()
    seconds = time.perf_counter() - begun
    me = psutil.Process()
    shared_out = sum(process.memory_full_info().pss for process in [me, *me.children(recursive=True)])
    one.close()
    return {"seconds": seconds, "bytes": float(shared_out)}


def start_elsewhere(name: str, overrides: Sequence[str]) -> dict[str, float]:
    """`start` in a fresh process."""
    command = [sys.executable, "-m", "envs.bench", "--start", name, *overrides]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def print_start(names: Sequence[str], specs: Sequence[TaskSpec], overrides: Sequence[str], progress: Progress) -> None:
    """Measure and print the table of starts: time until all environments are ready, and memory.

    Args:
      names: of the contenders.
      specs: the tasks.
      overrides: of the command line, for the fresh processes that are measured.
      progress: shows how far it is.
    """
    from rich.table import Table

    sampled = specs[:: -(-len(specs) // SAMPLED_PROCESSES)]
    job = progress.add_task("starting", total=len(names) + len(sampled))
    starts = {}
    for name in names:
        starts[name] = start_elsewhere(name, overrides)
        progress.advance(job)
    one_each = []
    for spec in sampled:
        one_each.append(start_elsewhere(PLAIN, [*overrides, f"benchmark.tasks=[{spec.id}]"])["bytes"])
        progress.advance(job)
    per_task = statistics.mean(one_each) * len(specs)
    table = Table(title=f"start of {len(specs)} tasks, to the first observation")
    for column in ("back end", "seconds", f"against {PLAIN}", "memory", "against a process per task"):
        table.add_column(column, justify="left" if column == "back end" else "right")
    for name, one in starts.items():
        ratio, share = starts[PLAIN]["seconds"] / one["seconds"], one["bytes"] / per_task
        table.add_row(name, f"{one['seconds']:.2f}", f"{ratio:.2f}x", f"{one['bytes'] / 2**30:.2f} GiB", f"{share:.0%}")
    progress.remove_task(job)
    progress.console.print(table)
    progress.console.print(
        f"a process per task: {per_task / 2**30:.2f} GiB, {len(specs)} times the mean of {len(sampled)}"
    )


def print_steps(
    names: Sequence[str],
    specs: Sequence[TaskSpec],
    workers: int | None,
    steps: int,
    rounds: int,
    progress: Progress,
) -> None:
    """Measure and print the table of rates.

    Args:
      names: of the contenders.
      specs: the tasks.
      workers: processes of the vector environment; None: one a core.
      steps: in a round.
      rounds: how many.
      progress: shows how far it is.
    """
    from rich.table import Table

    job = progress.add_task("stepping", total=rounds)
    with contextlib.ExitStack() as stack:
        contenders = {name: stack.enter_context(contextlib.closing(contender(name, specs, workers))) for name in names}
        rngs = [np.random.default_rng(row) for row in range(len(specs))]
        actions = np.stack([random_actions(specs, rngs) for _ in range(steps)])
        seconds = step_seconds(contenders, actions, rounds, lambda: progress.advance(job))
    progress.remove_task(job)
    table = Table(title=f"{steps} steps of {len(specs)} tasks, resets included; median of {rounds} rounds")
    for column in ("back end", "ms a step of all", "task steps/s", f"against {PLAIN}"):
        table.add_column(column, justify="left" if column == "back end" else "right")
    for name, values in seconds.items():
        each = statistics.median(values) / steps
        ratio = statistics.median(plain / own for plain, own in zip(seconds[PLAIN], values, strict=True))
        table.add_row(name, f"{each * 1e3:.2f}", f"{len(specs) / each:,.0f}", f"{ratio:.2f}x")
    progress.console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Times what a command line names, and returns the exit status."""
    return exit_status(lambda: bench(arguments))


def bench(argv: Sequence[str] | None) -> int:
    """Run the benchmark that the command line asks for, and return the exit status.

    Raises:
      ConfigError: something in the command line is wrong.
    """
    parser = Parser(
        prog="python -m envs.bench",
        description="Times the back ends of a benchmark's environments against stepping one after another.",
        epilog="example: python -m envs.bench benchmark=metaworld env.workers=8",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for agents.run; benchmark=... above all")
    parser.add_argument("--backends", default="process,envpool,inline", help="comma list; default: %(default)s")
    parser.add_argument("--steps", type=at_least(1), default=200, help="vector steps a round; default: %(default)s")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="default: %(default)s")
    parser.add_argument("--no-start", action="store_true", help="leave out start-up times and memory")
    parser.add_argument("--start", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(argv)
    config = compose(arguments.overrides)
    specs = registry.specs(config.benchmark.task_ids, config.env)
    if arguments.start:
        print(json.dumps(start(arguments.start, specs, config.env.workers)))
        return ExitCode.DONE

    from rich.console import Console
    from rich.progress import Progress

    names = [PLAIN]
    for name in arguments.backends.split(","):
        if name not in ("process", "envpool", "inline"):
            raise ConfigError(f"--backends={name}: must be one of process, envpool, inline")
        if name == "envpool":
            from envs.envpool import adopt

            try:
                adopt(specs)
            except ConfigError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
        names.append(name)
    workers = config.env.workers or default_workers(len(specs))
    print(f"{config.benchmark.name}: {len(specs)} tasks, {workers} workers", flush=True)
    with Progress(console=Console(), transient=True) as progress:
        print_steps(names, specs, workers, arguments.steps, arguments.rounds, progress)
        if not arguments.no_start:
            print_start(names, specs, arguments.overrides, progress)
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
