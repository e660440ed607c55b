"""The command `python -m agents.collect RUN... --out DIR`: writes trajectories of finished runs as a dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conf.datasets import ABOUT, Origin
from conf.typed import ConfigError, did_you_mean
from records.command_line import Parser, add_runs, at_least, exit_status
from records.decode import DamagedRecordError
from records.find import find_point
from records.layout import ExitCode
from records.results import check_results, new_results
from records.run_dir import RunDir

if TYPE_CHECKING:
    from agents.replay.recorded import Trajectories
    from agents.saved import SavedPolicy
    from envs.spec import TaskSpec

DESCRIPTION = """\
Play episodes with the policies of finished runs, and write what they see and do to a dataset: a Parquet file a task,
and dataset.json. An agent learns from the actions (agent=bc) or from the policies (agent=distill). The runs are only
read."""

EPILOG = """\
examples:
  python -m agents.collect 1a2b3c4d --out expert/ --episodes 100
  python -m agents.collect runs/dmc_hard/brc-w512-dog-*-s0-* --out teachers/     # single-task runs, one for each task
  python -m agents.run agent=distill agent.dataset=teachers/ benchmark=dmc_hard

With several runs of one task, the task's episodes are shared out among them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Collects what a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Collects from the runs that the arguments name.

    Raises:
      ConfigError: something in the command line is wrong, or a run cannot be collected from.
      OSError: the dataset cannot be written.
    """
    parsed = parse(arguments)
    out: Path = parsed.out
    points = [find_point(parsed.runs, name) for name in parsed.run]
    tasks = [finished_tasks(run_dir) for run_dir, _ in points]
    wanted = chosen_tasks(tasks, parsed.tasks)
    check_results(out, ABOUT)

    from agents.dataset import write_dataset
    from agents.saved import saved_policy
    from envs.worker import EnvError

    policies = [saved_policy(run_dir, env_steps) for run_dir, env_steps in points]
    specs = common_specs(policies, wanted)
    try:
        with new_results(out) as folder:
            trajectories, sources = collect(policies, specs, parsed)
            dataset = write_dataset(folder, specs, trajectories, sources)
    except (EnvError, FloatingPointError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return ExitCode.FAILED
    for one in dataset.tasks:
        print(
            f"  {one.id:40s} {one.episodes:6,} episodes {one.transitions:10,} transitions, "
            f"mean return {one.mean_return:,.1f}, success {one.success:.2f}"
        )
    print(f"{out}: dataset {dataset.id}, {len(dataset.tasks)} tasks of {len(sources)} runs")
    return ExitCode.DONE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what a command line says; raises ConfigError where it makes no sense."""
    parser = Parser(prog="python -m agents.collect", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "run",
        nargs="+",
        metavar="RUN[@STEP]",
        help="finished runs, by directory or a part of the name",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the dataset")
    parser.add_argument("--episodes", type=at_least(1), default=25, metavar="N", help="of each task; default: 25")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="some of the runs' tasks, by id; default: all")
    parser.add_argument(
        "--seed", type=at_least(0), metavar="S", help="the seed of the episodes; default: each run's own"
    )
    parser.add_argument(
        "--noise", action="store_true", help="draw actions as in training; default: the best ones, as in evaluation"
    )
    add_runs(parser)
    return parser.parse_args(arguments)


def finished_tasks(run_dir: Path) -> tuple[str, ...]:
    """Return the tasks of a run that trajectories can be collected from.

    Raises:
      ConfigError: the run is damaged, not finished, or takes discrete actions.
    """
    try:
        config, done = RunDir(run_dir).require_config(), RunDir(run_dir).require_done()
    except DamagedRecordError as error:
        raise ConfigError(f"{run_dir.name}: is damaged ({error})") from None
    assert config is not None  # by which the run was found
    if config.agent.actions != "continuous":
        raise ConfigError(f"{run_dir.name}: is a run of agent={config.agent.name}; datasets hold continuous actions")
    if done is None or done.env_steps < config.train.env_steps:
        raise ConfigError(f"{run_dir.name}: is not finished; the command that began the run continues it")
    return config.benchmark.task_ids


def chosen_tasks(tasks: Sequence[Sequence[str]], names: Sequence[str] | None) -> list[str]:
    """Return the ids of the tasks that are to be collected, in the order in which the runs have them.

    Raises:
      ConfigError: no run has learned a task that is named.
    """
    known = list(dict.fromkeys(task for one in tasks for task in one))
    if names is None:
        return known
    for name in names:
        if all(name not in (task, task.split("/", 1)[1]) for task in known):
            raise ConfigError(
                f"--tasks {name}: no run has learned it; {did_you_mean(name, known)}learned: {', '.join(known)}"
            )
    return [task for task in known if task in names or task.split("/", 1)[1] in names]


def common_specs(policies: Sequence[SavedPolicy], tasks: Sequence[str]) -> list[TaskSpec]:
    """Return the specifications of tasks, on which all policies must agree.

    Raises:
      ConfigError: two runs were trained with other options of a task's suite.
    """
    found: dict[str, TaskSpec] = {}
    for policy in policies:
        for spec in policy.specs:
            if found.setdefault(spec.id, spec) != spec:
                raise ConfigError(f"{policy.run_dir.name}: has other options of {spec.id} than a run before it")
    return [found[task] for task in tasks]


def collect(
    policies: Sequence[SavedPolicy], specs: Sequence[TaskSpec], parsed: argparse.Namespace
) -> tuple[list[Trajectories], list[Origin]]:
    """Play the episodes of all tasks, and return each task's trajectories and who played.

    Args:
      policies: those who play.
      specs: `[T]`, the tasks.
      parsed: how many episodes, by which seed, and whether with noise.
    Raises:
      EnvError: an environment raised or its process died.
      FloatingPointError: a policy's actions are not finite.
    """
    from rich.console import Console
    from rich.progress import Progress

    from agents.taking import How, played

    how = How(parsed.seed, parsed.noise)
    players = {spec.id: [policy for policy in policies if spec in policy.specs] for spec in specs}
    parts: dict[str, list[Any]] = {spec.id: [] for spec in specs}
    console, sources = Console(stderr=True), []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        job = progress.add_task("collecting", total=len(policies))
        for policy in policies:
            begun = len(sources)
            own = [spec for spec in specs if spec in policy.specs]
            shares: dict[int, list[TaskSpec]] = {}  # by the number of episodes
            for spec in own:
                rank, count = players[spec.id].index(policy), len(players[spec.id])
                shares.setdefault(len(range(rank, parsed.episodes, count)), []).append(spec)
            for episodes, part in shares.items():
                if episodes > 0:
                    tell = lambda done, before=begun: progress.update(job, completed=before + done)  # noqa: E731
                    for spec, one in zip(part, played(policy, part, episodes, begun, how, tell), strict=True):
                        parts[spec.id].append(one)
            sources.append(origin(policy, own))
    return [joined(parts[spec.id]) for spec in specs], sources


def origin(policy: SavedPolicy, specs: Sequence[TaskSpec]) -> Origin:
    """Return what a dataset says of a policy that acted in some tasks."""
    from conf import identity

    manifest = RunDir(policy.run_dir).manifest()
    commit = manifest.starts[-1].git_commit if manifest and manifest.starts else None
    tasks = tuple(spec.id for spec in specs)
    return Origin(policy.run_dir.name, identity.hash_of(policy.config), policy.env_steps, commit, tasks)


def joined(parts: Sequence[Trajectories]) -> Trajectories:
    """Return the trajectories of a task by several policies one after another."""
    if len(parts) == 1:
        return parts[0]
    return type(parts[0])(*(np.concatenate(values) for values in zip(*parts, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
