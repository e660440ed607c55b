"""The command `python -m agents.fork RUN@STEP [-m] [key=value ...]`: goes on from a checkpoint with keys changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conf import identity
from conf.fork import compose_forks
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import layout
from records.command_line import Parser, add_runs, exit_status
from records.find import find_point
from records.layout import ExitCode
from records.run_dir import recorded_config
from sweeps.command import rebased, start
from sweeps.teams import check_seeds

DESCRIPTION = """\
Continue a copy of a run from one of its checkpoints, with some keys changed. A fork is a run of its own, in a directory
of its own, which begins with its source's history up to that step: they share learning, data and noise until then. With
no key changed, a fork is equal to its source to the bit. Repeating a command continues its fork."""

EPILOG = """\
A run keeps its newest two checkpoints, and those that checkpoint.keep=[100000,200000] or checkpoint.keep_every=100000
names. Keys that decide what a checkpoint is of cannot change: seed, tasks, networks' sizes, options of environments.

examples:
  python -m agents.run checkpoint.keep=[5000]
  python -m agents.fork runs/quickstart/brc-w64-s0-9071adac@5000 agent.discount=0.98
  python -m agents.fork 9071adac@5000 -m agent.learning_rate=1e-4,1e-3      # several forks; launcher=slurm submits them
  python -m analysis.compare runs/ runs/ --a "brc w64 discount=0.99" --b "brc w64 discount=0.98 source=fork@5000"

exit status: as of python -m agents.run"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what a command line asks for, and returns the exit status; each mistake is one line on standard error."""
    return exit_status(lambda: dispatch(sys.argv[1:] if arguments is None else arguments))


def dispatch(arguments: Sequence[str]) -> int:
    """Begins or continues the forks that the arguments ask for.

    Raises:
      ConfigError: there is no such run or checkpoint, or an override is not allowed.
    """
    options = parse(arguments)
    run_dir, env_steps = find_source(options.source, options.runs)
    forks = [
        rebased(one) for one in compose_forks(recorded_config(run_dir), env_steps, options.overrides, options.multirun)
    ]
    if options.cfg:
        print(identity.config_to_json(forks[0].config))
        return ExitCode.DONE
    check_seeds([fork.config for fork in forks])
    if not all(has_begun(fork.config) for fork in forks):
        check_checkpoint(run_dir, env_steps)
    return start(forks, options.multirun)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options and overrides of a command line, which may stand in any order.

    Raises:
      ConfigError: there is no such option, or it lacks its value.
    """
    parser = Parser(prog="python -m agents.fork", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "source", metavar="RUN@STEP", help="the run's directory or a part of its name, and the env step"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="what the fork does otherwise")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="several forks: comma lists, range(..), choice(..)"
    )
    parser.add_argument("--cfg", action="store_true", help="print the first fork's configuration, and stop")
    add_runs(parser)
    return parser.parse_intermixed_args(arguments)


def find_source(text: str, runs: Path) -> tuple[Path, int]:
    """Return the directory of the run, and the environment steps, that `RUN@STEP` names.

    Raises:
      ConfigError: the text is of another form, or there is no such run.
    """
    run_dir, env_steps = find_point(runs, text)
    if env_steps is None:
        raise ConfigError(f"{text}: a run and an env step belong here, as in runs/quickstart/brc-w64-s0-9071adac@5000")
    return run_dir.resolve(), env_steps


def has_begun(config: RunConfig) -> bool:
    """Return whether a fork has a checkpoint of its own, so that it needs its source no more."""
    return any((identity.run_dir(config) / layout.CHECKPOINTS).glob("step-*"))


def check_checkpoint(run_dir: Path, env_steps: int) -> None:
    """Refuse a checkpoint that is not there, or not whole.

    Raises:
      ConfigError: names the run and the checkpoints that it has.
    """
    from agents.training.checkpoint import CheckpointStore, DamagedError
    from agents.training.fork import check_source
    from records.rows import LostRowsError

    steps = CheckpointStore(run_dir / layout.CHECKPOINTS).steps()
    if env_steps not in steps:
        there = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
        raise ConfigError(
            f"{run_dir.name}@{env_steps}: the run has no checkpoint at this step; {there} "
            f"(checkpoint.keep=[{env_steps}] would have kept it)"
        )
    try:
        check_source(run_dir, env_steps)
    except (DamagedError, LostRowsError) as error:
        others = ", ".join(str(step) for step in steps if step != env_steps)
        raise ConfigError(
            f"{run_dir.name}@{env_steps}: cannot be forked: {error}; other checkpoints: {others or 'none'}"
        ) from None
