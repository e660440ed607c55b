"""Executes runs from their configurations: checks, locks, training. Returns the process's exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.training.device import cpuinfo, precision_warning
from agents.training.summary import as_score
from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import layout
from records.entries import Done
from records.layout import ExitCode
from records.remote import remote_run
from records.run_dir import RunDir

if TYPE_CHECKING:
    from agents.training.attempt import Attempt


def execute(config: RunConfig) -> int:
    """Run, or continue, what `config` (with absolute paths) describes.

    Returns:
      A `records.layout.ExitCode`.
    Raises:
      ConfigError: the run cannot begin here.
      OSError: its directory cannot be written.
    """
    return execute_together([config])[identity.run_dir(config)]


def execute_together(configs: Sequence[RunConfig]) -> dict[Path, int]:
    """Run, or continue, side by side what configurations describe that differ in the seed alone.

    Each run has its own directory, lock, record and end: one that fails leaves the others alone.

    Args:
      configs: with absolute paths.
    Returns:
      the `records.layout.ExitCode` of each run's directory.
    Raises:
      ConfigError: a run cannot begin here.
      OSError: a run's directory cannot be written.
    """
    exits: dict[Path, int] = {}
    due = []
    for config in configs:
        run_dir = identity.run_dir(config)
        check_place(config, run_dir)
        if (done := finished(config, run_dir)) is None:
            due.append(config)
        else:
            print(f"finished already: {done.env_steps:,} steps, score {as_score(done.score)}: {run_dir}")
            exits[run_dir] = ExitCode.DONE
    if not due:
        return exits

    from agents.training.prepare import prepare_together
    from agents.training.stop import StopFlag, listening
    from records.lock import LockedError, lock

    prepared = prepare_together(due)
    stops = {one.run_dir: StopFlag(one.run_dir) for one in prepared}
    with contextlib.ExitStack() as held:
        held.enter_context(listening(list(stops.values())))
        locks = {}
        for one in prepared:
            one.run_dir.mkdir(parents=True, exist_ok=True)
            try:
                locks[one.run_dir] = held.enter_context(lock(one.run_dir))
            except LockedError as error:
                print(f"error: {error}", file=sys.stderr)
                exits[one.run_dir] = ExitCode.FAILED
        mine = [one for one in prepared if one.run_dir in locks]
        if mine:
            device = configure_jax(mine[0].config)  # before anything imports JAX
            from agents.training.attempt import Attempt

            attempts = [Attempt(one, stops[one.run_dir], device, locks[one.run_dir]) for one in mine]
            train(attempts)
            exits |= {one.prepared.run_dir: one.exit for one in attempts}
    return exits


def check_place(config: RunConfig, run_dir: Path) -> None:
    """Refuse `resume=false` where a run is already, and to continue a run whose replay was removed or is elsewhere.

    Raises:
      ConfigError: names the directory.
    """
    if not config.resume and (run_dir / layout.METRICS).exists():
        raise ConfigError(
            f"resume=false: {run_dir} holds a run already; move it away, choose another paths.runs, "
            "or leave resume=true to continue it"
        )
    if (run_dir / layout.NO_REPLAY).exists() and finished(config, run_dir) is None:
        raise ConfigError(
            f"train.env_steps={config.train.env_steps}: {run_dir} cannot be continued beyond the budget that it has "
            "reached, because its replay was removed by sweeps.clean; move it away to begin anew"
        )
    if (remote := remote_run(run_dir)) is not None and finished(config, run_dir) is None:
        raise ConfigError(
            f"{run_dir}: is a run of {remote.host}, where its replay is; launcher=ssh-slurm goes on with it there; to "
            "begin anew here, move it away or choose another paths.runs"
        )


def finished(config: RunConfig, run_dir: Path) -> Done | None:
    """Return what DONE says, if the run has reached the budget that is asked for."""
    done = RunDir(run_dir).done()
    return done if done is not None and done.env_steps >= config.train.env_steps else None


def configure_jax(config: RunConfig) -> str:
    """Set what must precede JAX's import, and the persistent compilation cache.

    Returns:
      How many devices JAX computes on, and of which kind, in words.
    Raises:
      ConfigError: JAX_PLATFORMS names a platform that is not here.
    """
    if config.train.deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    import jax

    if config.paths.compilation_cache is not None:
        jax.config.update("jax_compilation_cache_dir", config.paths.compilation_cache)
        # A start compiles some sixty small programs besides the update; together they take seconds.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = (str(error) or "no such device").splitlines()[0].partition(" (set JAX_PLATFORMS")[0]
        raise ConfigError(
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: JAX cannot compute there ({reason}); "
            "allowed: cpu, cuda (with a GPU and jax[cuda]), or unset, which takes the best one"
        ) from None
    warning = precision_warning(config.agent.precision, devices[0].platform, cpuinfo())
    if warning is not None:
        print(warning, file=sys.stderr)
    return f"{len(devices)} x {devices[0].device_kind}"


def train(attempts: Sequence[Attempt]) -> None:
    """Train runs side by side, each until it ends, and end each attempt."""
    from agents.training import loop
    from agents.training.lane import Lane
    from agents.training.opening import team_of
    from agents.training.progress import Progress
    from agents.training.watchdog import Watchdog, end_process

    config = attempts[0].prepared.config
    hang_min = config.launcher.hang_min
    lanes: dict[Lane, Attempt] = {}

    def going() -> list[Path]:
        return [one.prepared.run_dir for one in attempts if not one.over]

    def over(lane: Lane, error: Exception | None) -> None:
        lanes[lane].end(error)

    try:
        team = team_of(attempts[0].prepared, config.launcher.seeds_together)
        for one in attempts:
            try:
                lanes[one.open(team)] = one
            except Exception as error:
                one.end(error)
        if lanes:
            steps = min(lane.env_steps for lane in lanes)
            with (
                Progress(config.train.env_steps, steps) as progress,
                Watchdog(None if hang_min is None else 60 * hang_min, end_process(going)) as watchdog,
            ):
                for lane in lanes:
                    if lane.evaluated is not None:
                        progress.score(lane.evaluated.score)
                loop.train(list(lanes), progress, watchdog.moved, over)
    except Exception as error:
        for one in attempts:
            if not one.over:
                one.end(error)
    finally:
        for one in attempts:
            one.close()
