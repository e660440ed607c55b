"""The command of a deciding sweep: seeds are added, round by round, until its variants are told apart."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agents.training.execute import check_place
from conf.composed import Composed
from conf.schema import DecideConfig
from conf.typed import ConfigError
from envs import registry
from records.layout import ExitCode
from records.lock import LockedError, lock
from records.output import print_json
from records.run_record import write_config
from records.sweep import Sweep, launch_lock, read_sweep
from sweeps.after import wait_for_other
from sweeps.code import Code, kept, store
from sweeps.decide.rounds import advance, conclude, submit_round
from sweeps.decide.sequential import judge
from sweeps.decide.standing import SEED, write_variants
from sweeps.launch import carry_out, code_for, dry_run, job_script, print_hints
from sweeps.opening import manifest_path, open_sweep, parent_runs
from sweeps.outcomes import outcome, print_outcomes
from sweeps.plan.as_json import plan_values
from sweeps.plan.fit import check_fit
from sweeps.plan.plan import Plan, by_launcher, plan, queue_of
from sweeps.plan.tables import print_plan, summary, time_needed
from sweeps.slurm import cluster
from sweeps.status import WATCH_S, watch

ELSEWHERE_S = 2.0
"""Seconds between two looks at a run that another command executes."""


def launch(variants: Sequence[Composed], watch_every_s: float = WATCH_S, as_json: bool = False) -> int:
    """Begin or continue a deciding sweep, here or on SLURM.

    Args:
      variants: one run of each variant, with the first seed.
      watch_every_s: seconds between two looks at jobs that are waited for.
      as_json: whether a plan, which is of all that the budget allows, is printed as JSON.
    Returns:
      0 if nothing is left to decide or a round is submitted, 75 if interrupted (resumable), 1 if a failed run holds up
      a comparison.
    Raises:
      ConfigError: before anything is started.
    """
    settings = variants[0].config.sweep.decide
    check(variants, settings)
    planned = plan(seeded(variants, settings))
    common = planned.common
    path = record_path(planned, settings)
    if as_json:
        print_json("plan", plan_values(planned))
        return ExitCode.DONE
    if variants[0].config.plan or common.dry_run:
        if common.dry_run:
            dry_run(asked(planned, [settings.seeds_per_round] * len(variants)), path)
        else:
            print_plan(planned)
            check_fit(planned)
        print_bounds(planned, settings)
        return ExitCode.DONE
    for one in planned.runs:
        check_place(one.config, one.run_dir)
    check_fit(planned)
    code = code_for(planned)
    if common.on_slurm:
        for launcher, runs in by_launcher(planned.pending):
            cluster.check(launcher, job_script(launcher, runs, path, kept(code, launcher, on_slurm=True)))
        wait_for_other(common.after, path, on_slurm=True)
    sweep = begin(planned, path, settings)
    if common.on_slurm:
        return on_slurm(sweep, common.wait, watch_every_s)
    try:
        with lock(sweep.folder):
            if code is not None:
                store(code)
            wait_for_other(common.after, path, on_slurm=False)
            return run_here(planned, sweep, code)
    except LockedError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.FAILED


def record_path(planned: Plan, settings: DecideConfig) -> Path:
    """Return the path of the sweep's record, whose name follows from the runs with the first seed and the rules."""
    first = dataclasses.replace(planned, runs=planned.runs[:: settings.max_seeds])
    return manifest_path(first, repr(settings))


def deciding_path(variants: Sequence[Composed]) -> Path:
    """Return the path of the record of a deciding sweep that is submitted elsewhere.

    Raises:
      ConfigError: the variants cannot be compared.
    """
    settings = variants[0].config.sweep.decide
    check(variants, settings)
    return record_path(plan(seeded(variants, settings)), settings)


def check(variants: Sequence[Composed], settings: DecideConfig) -> None:
    """Refuse what cannot be decided.

    Raises:
      ConfigError: there is one variant, the command line gives several seeds, scores cannot be compared, or the budget
        is too small to find any difference.
    """
    first = variants[0].config
    if any(SEED in one.varied for one in variants):
        raise ConfigError("seed: a deciding sweep adds seeds itself; give the first one, and sweep.decide.max_seeds")
    if len(variants) < 2:
        raise ConfigError(
            "+sweep=decide: compares two variants or more: give a key several values, such as "
            "agent.value_loss=categorical,squared"
        )
    if first.rerun == "stale":
        raise ConfigError("rerun=stale: a deciding sweep keeps the runs that it has; give other ones with seed=100")
    if len({(one.config.benchmark.task_ids, one.config.train.env_steps) for one in variants}) > 1:
        raise ConfigError("+sweep=decide: the variants have different tasks or train.env_steps: no scores to compare")
    for spec in registry.specs(first.benchmark.task_ids, first.env):
        if spec.norm_low is None:
            raise ConfigError(f"benchmark.tasks: {spec.id} has no constants that make its returns comparable scores")
    if bounds(len(variants), settings)[1] is None:
        raise ConfigError(
            f"sweep.decide.max_seeds={settings.max_seeds}: so few seeds cannot tell {len(variants)} variants apart at "
            f"sweep.decide.alpha={settings.alpha:g}, however much they differ"
        )


def seeded(variants: Sequence[Composed], settings: DecideConfig) -> list[Composed]:
    """Every run that the budget allows, variant by variant."""
    return [
        Composed(
            dataclasses.replace(one.config, seed=one.config.seed + place),
            one.varied | {SEED: str(one.config.seed + place)},
            one.part,
        )
        for one in variants
        for place in range(settings.max_seeds or 0)
    ]


def bounds(variants: int, settings: DecideConfig) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The seeds of each variant in the shortest decision, and where all are as different as can be.

    The latter is None where even that would not be seen.
    """
    shape = (variants, settings.max_seeds or 0)
    verdicts = [
        judge(
            np.broadcast_to(np.minimum(np.arange(variants), groups)[:, None], shape) * 1.0,
            np.zeros(shape, bool),
            settings,
        )
        for groups in range(variants)
    ]
    decided = all(one.state in ("decided", "moot") for one in verdicts[-1].comparisons)
    return min((one.seeds for one in verdicts), key=sum), verdicts[-1].seeds if decided else None


def print_bounds(planned: Plan, settings: DecideConfig) -> None:
    """Print how many runs the decision takes at least and at most, and how long they take."""
    variants = len(planned.runs) // (settings.max_seeds or 1)
    fewest = asked(planned, bounds(variants, settings)[0])
    print(
        f"a decision of {variants} variants: at least {len(fewest.runs)} runs, {time_needed(fewest)}; "
        f"at most {len(planned.runs)} runs ({settings.max_seeds} seeds each), {time_needed(planned)}"
    )


def asked(planned: Plan, seeds: Sequence[int]) -> Plan:
    """The part of a plan with so many seeds of each variant."""
    each = len(planned.runs) // len(seeds)
    runs = [one for place, one in enumerate(planned.runs) if place % each < seeds[place // each]]
    return dataclasses.replace(planned, runs=tuple(runs))


def begin(planned: Plan, path: Path, settings: DecideConfig) -> Sweep:
    """Write the sweep's record with the first round's runs, or with those that it has already, and return the sweep."""
    with launch_lock(path):
        planned = planned.refreshed()
        known = {one.run_dir for one in read_sweep(path).members} if path.exists() else set()
        each = settings.max_seeds or 0
        first_round = {
            one.run_dir for one in asked(planned, [settings.seeds_per_round] * (len(planned.runs) // each)).runs
        }
        now = dataclasses.replace(
            planned, runs=tuple(one for one in planned.runs if one.run_dir in known | first_round)
        )
        print(summary(now), file=sys.stderr, flush=True)
        parents = parent_runs(now, path) if now.pending else {}
        sweep = open_sweep(now, path, parents, decide=dataclasses.asdict(settings))
        write_variants(sweep, [one.config for one in planned.runs[::each]])
        for one in now.pending:
            write_config(one.run_dir, one.config)
    return sweep


def run_here(planned: Plan, sweep: Sweep, code: Code | None) -> int:
    """Execute round after round on this machine, and return the command's exit status."""
    by_dir = {one.run_dir: one for one in planned.runs}
    ended: dict[Path, int] = {}
    while True:
        with launch_lock(sweep.path):
            sweep, now, due = advance(sweep, queue_of(planned.common.runs), given_up=ended.__contains__)
        if not due and not now.verdict.over:
            time.sleep(ELSEWHERE_S)
            continue
        fresh = [by_dir[one.run_dir] for one in due if one.run_dir not in ended]
        if not fresh:
            break
        statuses, stopped = carry_out(fresh, planned.common.inline, code)
        ended |= statuses
        if stopped:
            break
    members = {one.run_dir for one in now.asked}
    started = dataclasses.replace(planned, runs=tuple(one for one in planned.runs if one.run_dir in members))
    print_outcomes(started, {one.run_dir: outcome(one, ended) for one in started.runs})
    return conclude(sweep, now)


def on_slurm(sweep: Sweep, wait: bool, watch_every_s: float) -> int:
    """Submit what is due, and the rounds after it where the command waits; return the command's exit status."""
    now = submit_round(sweep.path, in_job=False, retry=True)
    if now.verdict.over:
        return conclude(read_sweep(sweep.path), now)
    print_hints(sweep)
    while wait and not now.verdict.over:
        try:
            watch(read_sweep(sweep.path), until_over=True, every_s=watch_every_s)
        except KeyboardInterrupt:
            print("the jobs go on", file=sys.stderr)
            return ExitCode.INTERRUPTED
        now = submit_round(sweep.path, in_job=False, retry=False)
    return conclude(read_sweep(sweep.path), now) if wait else ExitCode.DONE
