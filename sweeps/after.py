"""Starts a sweep after another one has ended: this machine waits, and SLURM's jobs depend on those of the other."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from conf.composed import Composed
from conf.typed import ConfigError
from records.lock import is_held
from records.sweep import Member, Sweep, read_sweep
from sweeps.cancel import WORKERS
from sweeps.slurm.dependency import before
from sweeps.status import RunState, counts, search_jobs, states_of

LOOK_S = 2.0
SAY_S = 60.0
LOOKS = 2
"""So many looks in turn must find nothing: a requeue leaves a moment in which a job is neither running nor waiting."""


def with_whole_names(members: Sequence[Composed]) -> list[Composed]:
    """The same runs, where `launcher.after` is the whole id of the sweep that it means.

    Raises:
      ConfigError: there is no such sweep, or there are several.
    """
    named = []
    for one in members:
        launcher = one.config.launcher
        if launcher.after is not None:
            launcher = dataclasses.replace(launcher, after=before(launcher.after, Path(one.config.paths.runs)).id)
        named.append(dataclasses.replace(one, config=dataclasses.replace(one.config, launcher=launcher)))
    return named


def wait_for_other(after: str | None, path: Path, on_slurm: bool, look_s: float = LOOK_S) -> None:
    """Wait until another sweep has ended, and say what is waited for.

    Jobs wait in SLURM's queue themselves, so that for a sweep on SLURM only what this machine executes is waited for.

    Args:
      after: the other sweep; None: nothing is waited for.
      path: the record of the sweep that waits.
      on_slurm: whether the sweep that waits is one of SLURM's.
      look_s: seconds between two looks.
    Raises:
      ConfigError: there is no such sweep, or the sweep would wait for itself.
    """
    if after is None:
        return
    sweep = before(after, path.parents[1])
    if sweep.path == path:
        raise ConfigError(f"launcher.after={after}: is this sweep itself")
    quiet, said, said_at = 0, "", 0.0
    while True:
        sweep = read_sweep(sweep.path)
        states = states_of(sweep)
        going = is_executed_here(sweep) or (not on_slurm and is_on_slurm(sweep, states))
        quiet = 0 if going else quiet + 1
        if quiet == LOOKS:
            break
        text = counts(list(states.values()))
        if going and (text != said or time.monotonic() - said_at > SAY_S):
            said, said_at = text, time.monotonic()
            print(f"waits for {sweep.id}: {text}", file=sys.stderr, flush=True)
        time.sleep(look_s)
    if said:
        print(f"{sweep.id} has ended: {counts(list(states.values()))}", file=sys.stderr, flush=True)


def is_executed_here(sweep: Sweep) -> bool:
    """Whether a command executes the sweep's runs itself."""
    return any(is_held(place) for place in (sweep.folder, *sweep.folder.glob(f"{WORKERS}/*")))


def is_on_slurm(sweep: Sweep, states: Mapping[Member, RunState]) -> bool:
    """Whether a run or a job of the sweep goes on, or waits to."""
    return any(state.alive for state in states.values()) or bool(search_jobs(sweep))
