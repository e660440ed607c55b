"""The command: `python -m agents.run [-m] [key=value ...]`. Composes, checks, then executes one run or many.

It imports lazily, because a mistake in the command line should be answered in a second.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from conf import identity
from conf.typed import ConfigError
from records.layout import ExitCode

USAGE = """\
Online multi-task RL with one large categorical critic (BRC).

  python -m agents.run [-m] [key=value ...]

Common commands
  python -m agents.run                                              three small tasks on a laptop CPU
  python -m agents.run benchmark=dmc_hard model=xl seed=3           the paper's setting
  python -m agents.run benchmark=dmc_hard benchmark.tasks=[dog-run] one task
  python -m agents.run -m +sweep=seeds                              five seeds, local or on SLURM
  python -m agents.run -m model.width=512,1024,4096 +sweep=scaling  sizes x seeds
  python -m agents.run -m +sweep=scaling plan=true                  what would run; nothing is started
  python -m agents.run -m +sweep=scaling launcher=slurm             a job array; returns when it is submitted
  python -m agents.run -m +sweep=search launcher.max_parallel=4     hyper-parameter search with Optuna
  python -m sweeps.status                                           where the runs of the newest sweep stand
  mlflow ui --backend-store-uri sqlite:///mlflow.db                 look at runs
  python -m analysis.report runs/ --out report/                     figures and tables

Repeating a command continues an unfinished run and skips a finished one.

Options
  -m, --multirun     several runs: comma lists, range(..), choice(..), +sweep=NAME
  --run-dir DIR      continue the run in DIR with the configuration recorded there
  --cfg              print the composed configuration, and stop
  -h, --help         this text

Exit status: 0 done, 1 failed, 2 bad configuration, 3 stopped by a search, 75 interrupted and resumable.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's exit status; every mistake in its configuration is one line on standard error."""
    try:
        return _main(list(sys.argv[1:] if arguments is None else arguments))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.BAD_CONFIG
    except OSError as error:
        reason = f"{error.filename or 'writing'}: {error.strerror or error}"
        print(f"error: {' '.join(reason.split())}", file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _main(arguments: list[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print(help_text())
        return ExitCode.DONE
    if arguments[:1] == ["--run-dir"]:
        return continue_run(arguments[1:])

    flags = [argument for argument in arguments if argument.startswith("-")]
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    unknown = [flag for flag in flags if flag not in ("-m", "--multirun", "--cfg")]
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such option; allowed: -m, --run-dir DIR, --cfg, --help")

    from conf.compose import Composed, compose, compose_many, resolve_paths

    multirun = "-m" in flags or "--multirun" in flags
    members = compose_many(overrides) if multirun else [Composed(compose(overrides), {})]
    members = [dataclasses.replace(one, config=resolve_paths(one.config)) for one in members]
    first = members[0].config
    if "--cfg" in flags:
        print(identity.config_to_json(first))
        return ExitCode.DONE
    if first.sweep.search.space:
        if not multirun:
            raise ConfigError(f"sweep.search.space={first.sweep.search.space}: a search is many runs: add -m")
        from sweeps.search.command import launch as launch_search

        return launch_search(overrides)
    if first.plan:
        from sweeps.plan import check_fit, plan, print_plan

        planned = plan(members)
        print_plan(planned)
        check_fit(planned)
        return ExitCode.DONE
    if multirun or first.launcher.name == "slurm" or first.launcher.dry_run:
        from sweeps.launch import launch

        return launch(members)
    from agents.training.execute import execute

    return execute(first)


def continue_run(arguments: list[str]) -> int:
    """Execute the run that a directory records; the directory may have been moved."""
    from records.run_dir import recorded_config

    if len(arguments) != 1:
        raise ConfigError("--run-dir: exactly one directory, and no overrides")
    from agents.training.execute import execute

    return execute(recorded_config(Path(arguments[0])))


def help_text() -> str:
    from conf.help import group_lines, key_lines

    groups = ["Groups (group=choice)", *group_lines()]
    return "\n".join([USAGE, *groups, "", "Keys (key=value; defaults in conf/)", *key_lines()])
