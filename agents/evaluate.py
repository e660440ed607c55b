"""The command `python -m agents.evaluate RUN`: plays a saved policy, and writes a table, films and a page beside it."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, add_point, add_runs, at_least, exit_status
from records.files import write_json
from records.find import find_point
from records.layout import ExitCode
from records.output import add_json, print_json
from records.results import check_results, new_results

if TYPE_CHECKING:
    from agents.saved import SavedPolicy
    from agents.training.evaluate import Act, Evaluation
    from conf.schema import RunConfig
    from envs.spec import TaskSpec

RECORD = "evaluation.json"
PAGE = "index.html"

DESCRIPTION = """\
Play episodes with the policy of a run's checkpoint, and write what came of them to a folder: evaluation.json,
tasks.csv (mean and spread of each task), episodes.csv, the films, and a page with all of them (index.html).
The run itself is only read; it may still be going on."""

EPILOG = """\
examples:
  python -m agents.evaluate runs/quickstart/brc-w64-s0-1a2b3c4d --video
  python -m agents.evaluate 1a2b3c4d@50000 --episodes 50 --tasks cartpole-balance
  python -m agents.evaluate 1a2b3c4d --seed 7 --json

The seeds of episodes are those of the run's own evaluation at the checkpoint, unless --seed names another seed. With
all tasks and the run's own number of episodes, the numbers are then the run's own, bit by bit on the same machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates what a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Evaluates the checkpoint that the arguments name, writes the results, and prints them.

    Raises:
      ConfigError: something in the command line is wrong, or the run cannot be evaluated here.
      OSError: the results cannot be written.
    """
    parsed = parse(arguments)
    run_dir, env_steps = find_point(parsed.runs, parsed.run)

    from agents.saved import recorded_run
    from agents.training.execute import configure_jax
    from agents.training.prepare import usable_gl

    config, specs = recorded_run(run_dir)
    chosen = chosen_tasks(config, specs, parsed.tasks)
    changed = with_arguments(config, chosen, parsed)
    if parsed.out is not None:
        check_results(parsed.out, RECORD)
    gl = usable_gl(changed, chosen)
    configure_jax(config)

    from agents.evaluation import episode_records, evaluation_record
    from agents.saved import saved_policy
    from envs.worker import EnvError

    policy = saved_policy(run_dir, env_steps)
    out = parsed.out or Path("evaluations") / f"{run_dir.name}@{policy.env_steps}"
    check_results(out, RECORD)
    try:
        with new_results(out) as folder:
            (folder / layout.CONFIG).write_text(config_text(changed))
            evaluation, filmed = play_and_film(policy, changed, chosen, folder, gl)
            record = evaluation_record(policy, changed, chosen, evaluation)
            write_results(folder, record, episode_records(chosen, evaluation))
    except (EnvError, FloatingPointError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return ExitCode.FAILED
    drawn = write_page(out)
    if parsed.json:
        print_json("evaluate", record | {"folder": out.absolute()})
    else:
        print_table(record)
        print(f"results: {out / PAGE if drawn else out}")
    if not filmed:
        print(f"error: not all films were made (see {out / layout.VIDEOS / 'log.txt'})", file=sys.stderr)
    return ExitCode.DONE if filmed else ExitCode.FAILED


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what a command line says; raises ConfigError where it makes no sense."""
    parser = Parser(prog="python -m agents.evaluate", description=DESCRIPTION, epilog=EPILOG)
    add_point(parser)
    parser.add_argument("--episodes", type=at_least(1), metavar="N", help="episodes of each task; default: the run's")
    parser.add_argument("--seed", type=at_least(0), metavar="S", help="the seed of the episodes; default: the run's")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="some of the run's tasks; default: all")
    parser.add_argument("--video", action="store_true", help="film the first episode of each task")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder of results; default: evaluations/<run>@<steps>"
    )
    add_json(parser)
    add_runs(parser)
    return parser.parse_args(arguments)


def chosen_tasks(config: RunConfig, specs: Sequence[TaskSpec], names: Sequence[str] | None) -> list[TaskSpec]:
    """Return the specifications of the tasks that are named as in `benchmark.tasks`, in the run's order.

    Raises:
      ConfigError: a task is none of the run's, or is named twice.
    """
    if names is None:
        return list(specs)
    from conf.benchmarks import with_tasks

    ids = tuple(spec.id for spec in specs)
    try:
        narrowed = with_tasks(dataclasses.replace(config.benchmark, include=(), available=ids, tasks=tuple(names)))
    except ConfigError as error:
        raise ConfigError(str(error).replace("benchmark.tasks=", "--tasks ", 1)) from None
    return [spec for spec in specs if spec.id in narrowed.task_ids]


def with_arguments(config: RunConfig, specs: Sequence[TaskSpec], parsed: argparse.Namespace) -> RunConfig:
    """Return the run's configuration with the seed, tasks and kind of evaluation that the arguments ask for.

    Raises:
      ConfigError: the seed is too large.
    """
    seed = config.seed if parsed.seed is None else parsed.seed
    if seed >= 2**32:
        raise ConfigError(f"--seed {seed}: must be below 2**32")
    return dataclasses.replace(
        config,
        seed=seed,
        benchmark=dataclasses.replace(config.benchmark, tasks=tuple(spec.id for spec in specs)),
        eval=dataclasses.replace(config.eval, episodes=parsed.episodes or config.eval.episodes, video=parsed.video),
    )


def config_text(config: RunConfig) -> str:
    """Return the configuration that was evaluated, as a folder keeps it."""
    from conf.identity import config_to_json

    return config_to_json(config) + "\n"


def play_and_film(
    policy: SavedPolicy, config: RunConfig, specs: Sequence[TaskSpec], folder: Path, gl: str | None
) -> tuple[Evaluation, bool]:
    """Play the episodes, and film them where films are wanted.

    Args:
      policy: what plays.
      config: says how.
      specs: some of the policy's tasks.
      folder: takes the films.
      gl: the OpenGL back end of films; None: there are none.
    Returns:
      What was played, and whether all films were made.
    Raises:
      EnvError: an environment raised or its process died.
      FloatingPointError: the policy's actions are not finite.
    """
    from rich.console import Console
    from rich.progress import Progress

    from agents.training.evaluate import Evaluator
    from envs.video import Filmer

    filmer: Filmer | None = Filmer(folder, gl) if gl else None
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        closing(Evaluator(config, specs)) as player,
    ):
        job = progress.add_task("playing", total=1.0)
        act = policy_of(policy, config, specs)
        evaluation = player.run(act, policy.env_steps, progress=lambda done: progress.update(job, completed=done))
        assert evaluation is not None  # nothing tells it to stop
        if filmer is None:
            return evaluation, True
        filmer.record(policy.env_steps, evaluation.recordings)
        progress.update(job, description="filming", total=None)
        return evaluation, filmer.finish()


def policy_of(policy: SavedPolicy, config: RunConfig, specs: Sequence[TaskSpec]) -> Act:
    """Return how the saved policy acts in some of its tasks, whose padding may be narrower than that of all."""
    from agents.saved import as_learned
    from agents.training.acting import acting_key, evaluation_policy
    from envs.spec import SpaceSpec

    act = evaluation_policy(policy.learner, policy.settings, policy.params, acting_key(config.seed), policy.env_steps)
    space = SpaceSpec.of(specs)

    def own(obs: np.ndarray, task_ids: np.ndarray) -> np.ndarray:
        actions = act(*as_learned(policy, specs, obs, task_ids))
        sound = actions >= 0 if space.action_kind == "discrete" else np.isfinite(actions)
        if not sound.all():
            raise FloatingPointError(f"{policy.run_dir.name}: the policy's actions are not finite")
        return actions[:, : space.action_dim] if space.action_kind == "continuous" else actions

    return own


def write_results(folder: Path, record: Mapping[str, Any], episodes: Sequence[Mapping[str, Any]]) -> None:
    """Write the record, the table of tasks and the table of episodes."""
    from agents.evaluation import table_rows

    write_json(folder / RECORD, record)
    for name, rows in (("tasks.csv", table_rows(dict(record))), ("episodes.csv", episodes)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def write_page(out: Path) -> bool:
    """Write the page of the folder, by the analysis package's own command; whether it was written."""
    result = subprocess.run([sys.executable, "-m", "analysis.evaluation", str(out)], capture_output=True, text=True)
    if result.returncode != 0:
        print(f"warning: no page: {' '.join(result.stderr.strip().splitlines()[-1:])}", file=sys.stderr)
    return result.returncode == 0


def print_table(record: Mapping[str, Any]) -> None:
    """Print what came of each task: mean, and standard deviation over episodes."""
    from rich.console import Console
    from rich.table import Table

    def shown(values: Mapping[str, float | None] | None, digits: int) -> str:
        if values is None:
            return "-"
        std = "" if values["std"] is None else f" ± {values['std']:.{digits}f}"
        return f"{values['mean']:,.{digits}f}{std}"

    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for name in ("return", "score", "success", "length"):
        table.add_column(name, justify="right")
    for one in record["tasks"]:
        table.add_row(
            one["task"],
            shown(one["return"], 1),
            shown(one["score"], 3),
            shown(one["success"], 2),
            shown(one["length"], 0),
        )
    Console().print(table, highlight=False)
    score = "unknown" if record["score"] is None else f"{record['score']:.3f}"
    print(
        f"mean normalised score {score}: {Path(record['run']).name} at {record['env_steps']:,} steps, "
        f"{record['episodes']} episodes a task, seed {record['seed']}"
    )


if __name__ == "__main__":
    sys.exit(main())
