"""The command `python -m agents.run [-m] [key=value ...]`: composes, checks, then executes one run or many.

Its modules are imported when they are needed, because a mistake in the command line should be answered in a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conf import identity
from conf.typed import ConfigError
from records.command_line import Parser, exit_status
from records.layout import ExitCode
from records.output import print_json
from sweeps.teams import check_seeds, teams

if TYPE_CHECKING:
    from conf.composed import Composed

USAGE = """\
Online multi-task RL with one large categorical critic (BRC).

  python -m agents.run [-m] [key=value ...]

Common commands
  python -m agents.run                                              three small tasks on a laptop CPU
  python -m agents.run benchmark=dmc_hard model=xl seed=3           the paper's setting
  python -m agents.run benchmark=dmc_hard benchmark.tasks=[dog-run] one task
  python -m agents.run -m +sweep=seeds                              five seeds, local or on SLURM
  python -m agents.run -m benchmark.tasks=each                      each task alone
  python -m agents.run -m model.width=512,1024,4096 +sweep=scaling  sizes x seeds
  python -m agents.run -m +experiment=quick_parts plan=true         a sweep of several parts
  python -m agents.run -m +experiment=paper plan=true               every claim of the paper, and what each costs
  python -m agents.run -m +experiment=ablation_loss size=smoke      one claim in miniature
  python -m agents.run -m +sweep=scaling plan=true                  what would run; nothing is started
  python -m agents.run -m +sweep=scaling launcher=slurm             a job array; returns when it is submitted
  python -m agents.run -m +sweep=scaling launcher=ssh-slurm launcher.host=cluster  the same over ssh, on a cluster
  python -m agents.run -m +sweep=decide agent.value_loss=categorical,squared  seeds until the variants are told apart
  python -m agents.run -m +sweep=search launcher.max_parallel=4     hyper-parameter search with Optuna
  python -m agents.fork RUN@5000 agent.discount=0.98                a copy of a run goes on with other settings
  python -m sweeps.status                                           where the runs of the newest sweep stand
  mlflow ui --backend-store-uri sqlite:///mlflow.db                 look at runs
  python -m analysis.report runs/ --out report/                     figures and tables

Repeating a command continues an unfinished run and skips a finished one.

Options
  -m, --multirun     several runs: comma lists, range(..), choice(..), +sweep=NAME; experiments with parts need no -m
  --run-dir DIR      continue the run in DIR with the configuration that is recorded there; again for each further
                     run that launcher.seeds_together has the same process train
  --cfg              print the composed configuration, and stop
  --json             print the plan of plan=true as one JSON object
  -h, --help         print this text, and stop

Exit status: 0 done, 1 failed, 2 bad configuration, 3 stopped by a search, 75 interrupted and resumable.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what a command line asks for, and returns the exit status; each mistake is one line on standard error."""
    return exit_status(lambda: dispatch(list(sys.argv[1:] if arguments is None else arguments)))


def dispatch(arguments: Sequence[str]) -> int:
    """Composes what the arguments ask for, and hands it to the part of the project that executes it.

    Raises:
      ConfigError: the command line or the configuration is not allowed.
    """
    options = parse(arguments)
    if options.help:
        print(help_text())
        return ExitCode.DONE
    if options.run_dir is not None:
        if options.overrides or options.multirun or options.cfg or options.json:
            raise ConfigError("--run-dir: directories alone, and no overrides or other options")
        return continue_runs(options.run_dir)
    several = options.multirun or lists_parts(options.overrides)
    members = composed(options.overrides, several)
    if any(one.config.launcher.after is not None for one in members):
        from sweeps.after import with_whole_names

        members = with_whole_names(members)
    first = members[0].config
    if options.json and not first.plan:
        raise ConfigError("--json: is the form of a plan; add plan=true")
    if options.cfg:
        print(identity.config_to_json(first))
        return ExitCode.DONE
    check_seeds([one.config for one in members])
    if first.launcher.name == "ssh-slurm" and not first.plan:
        from sweeps.remote.submit import launch as launch_elsewhere

        return launch_elsewhere(options.overrides, options.multirun, members)
    if first.sweep.search.space:
        if not several:
            raise ConfigError(f"sweep.search.space={first.sweep.search.space}: a search is many runs: add -m")
        from sweeps.search.command import launch as launch_search

        return launch_search(options.overrides, as_json=options.json)
    if first.sweep.decide.max_seeds is not None:
        if not several:
            raise ConfigError(f"sweep.decide.max_seeds={first.sweep.decide.max_seeds}: a decision is many runs: add -m")
        from sweeps.decide.command import launch as launch_decision

        return launch_decision(members, as_json=options.json)
    return start(members, several, options.json)


def lists_parts(overrides: Sequence[str]) -> bool:
    """Whether the command's experiment has parts, which make a sweep without `-m`.

    Raises:
      ConfigError: an override cannot be read, or the experiment's parts are not as they should be.
    """
    from conf.axes import parts_of
    from conf.overrides import parse as parsed

    return any(text.lstrip("+").startswith("experiment=") for text in overrides) and bool(parts_of(parsed(overrides)))


def start(members: Sequence[Composed], multirun: bool, as_json: bool = False) -> int:
    """Plans, launches or executes the runs of a command, as their configuration says; returns the exit status.

    Args:
      members: the runs.
      multirun: whether the command line asks for many, so that one alone is a sweep too.
      as_json: whether a plan is printed as JSON.
    Raises:
      ConfigError: the configuration is not allowed here.
    """
    first = members[0].config
    if first.plan:
        from sweeps.plan.as_json import plan_values
        from sweeps.plan.fit import check_fit
        from sweeps.plan.plan import plan
        from sweeps.plan.tables import print_plan

        planned = plan(members)
        if as_json:
            print_json("plan", plan_values(planned))
        else:
            print_plan(planned)
        check_fit(planned)
        return ExitCode.DONE
    if first.launcher.name == "ssh-slurm":  # a command that sends more than code
        from sweeps.remote.place import place_of

        place_of(one.config for one in members)
    if multirun or first.launcher.name == "slurm" or first.launcher.dry_run:
        from sweeps.launch import launch

        return launch(members)
    for key, value in (("after", first.launcher.after), ("notify", first.launcher.notify)):
        if value is not None:
            raise ConfigError(f"launcher.{key}={value}: is of a sweep: add -m, which one run may be too")
    from agents.training.execute import execute

    return execute(first)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options and overrides of a command line, which may stand in any order.

    Raises:
      ConfigError: there is no such option, or it lacks its value.
    """
    usage = "python -m agents.run [-m] [--cfg] [--json] [--run-dir DIR] [--help] [key=value ...]"
    parser = Parser(prog="python -m agents.run", usage=usage, add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--cfg", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run-dir", type=Path, action="append")
    parser.add_argument("overrides", nargs="*")
    return parser.parse_intermixed_args(arguments)


def composed(overrides: Sequence[str], multirun: bool) -> list[Composed]:
    """The runs of a command line, with paths that no longer depend on the folder of launch.

    Raises:
      ConfigError: an override is not allowed, or the networks of another run cannot begin a run.
    """
    from conf.compose import compose, compose_many
    from conf.composed import Composed

    members = compose_many(overrides) if multirun else [Composed(compose(overrides), {})]
    return [rebased(one) for one in members]


def rebased(member: Composed) -> Composed:
    """The run with paths that no longer depend on the folder of launch.

    Raises:
      ConfigError: the networks of another run of the sweep cannot begin the run.
    """
    from agents.training.source import check, check_parts, resolved

    if member.source is not None:
        try:
            check(member.config, member.source)
        except ConfigError as error:
            raise ConfigError(f"part {member.part}: init_from={member.config.init_from}: {error}") from None
        check_parts(member.config)
    return dataclasses.replace(member, config=resolved(member.config))


def continue_runs(run_dirs: Sequence[Path]) -> int:
    """Executes the runs that directories record, and returns the exit status; a directory may have been moved.

    A run whose sweep has used its budget in GPU-hours does not begin.

    Raises:
      ConfigError: a directory holds no run, or the runs are none of which one process could train all.
    """
    from records.run_dir import recorded_config

    configs = [recorded_config(run_dir) for run_dir in run_dirs]
    if len(teams((config, config) for config in configs)) > 1:
        raise ConfigError(
            f"--run-dir: {len(configs)} runs; one, or at most launcher.seeds_together that differ in the seed alone"
        )
    refused = False
    if configs[0].launcher.max_gpu_hours is not None:
        from sweeps.budget import refuse_spent

        due = [config for config in configs if not refuse_spent(identity.run_dir(config), config)]
        refused, configs = len(due) < len(configs), due
    from agents.training.execute import execute, execute_together

    several = len(configs) > 1
    exits = list(execute_together(configs).values()) if several else [execute(config) for config in configs]
    if refused:
        exits.append(ExitCode.INTERRUPTED)
    by_weight = (ExitCode.FAILED, ExitCode.INTERRUPTED, ExitCode.STOPPED, ExitCode.DONE)
    return next(code for code in by_weight if code in exits)


def help_text() -> str:
    """What `--help` prints: common commands, options, and every group and key of the configuration."""
    from conf.help import group_lines, key_lines

    groups = ["Groups (group=choice)", *group_lines()]
    return "\n".join([USAGE, *groups, "", "Keys (key=value; defaults in conf/)", *key_lines()])
