"""Looks after some of a search's trials: begins, follows, prunes and tells them; any number of processes may.

Runs know nothing of Optuna: they write their evaluations, which are read here, and obey a stop file, which is written
here. A worker holds a lock for every trial that it looks after; a trial that is begun and whose lock nobody holds
belonged to a process that died, and whoever finds it first goes on with the same run.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError, show
from records import layout
from records.files import write_json
from records.lock import Lock, try_lock
from records.run_dir import RunDir, write_config
from records.sweep import Member, join_sweep
from sweeps.pool import Pool, RetryPolicy, on_signals
from sweeps.search.scores import Scores
from sweeps.search.study import Search, add_member, is_over, reopen, sampler, state_name, suggest, tell
from sweeps.status import WATCH_S, inspect

if TYPE_CHECKING:
    from sweeps.search.study import Study, Trial


@dataclass(frozen=True)
class Intervals:
    """How often a search is looked at, in seconds.

    Attributes:
      poll_s: between two looks at the runs.
      claim_s: between two looks for a trial that could be taken on.
      watch_s: between two looks at the jobs that are waited for.
    """

    poll_s: float = 0.5
    claim_s: float = 2.0
    watch_s: float = WATCH_S


DEFAULT_INTERVALS = Intervals()


@dataclass
class Claimed:
    """A trial that this process looks after, until it closes `lock`."""

    trial: Trial
    config: RunConfig
    run_dir: Path
    lock: Lock
    reported: set[int]
    begun: bool = False
    scores: Scores = field(init=False)

    def __post_init__(self) -> None:
        self.scores = Scores(self.run_dir)


class Worker:
    """Looks after up to `parallel` trials at once.

    Args:
      search: the search.
      study: Optuna's study of the search.
      parallel: trials at once.
      new_session: whether runs are to be out of reach of the terminal's Ctrl-C.
      intervals: how often to look.
      gpus: the GPUs to deal out to trials.
    """

    def __init__(
        self,
        search: Search,
        study: Study,
        parallel: int,
        new_session: bool,
        intervals: Intervals = DEFAULT_INTERVALS,
        gpus: Sequence[str] = (),
    ):
        launcher = search.base.launcher
        retry_policy = RetryPolicy(launcher.max_crashes, launcher.backoff_s, time.time())
        self.search, self.study = search, study
        self.pool = Pool([], parallel, retry_policy, new_session, gpus)
        self.claimed: dict[int, Claimed] = {}
        self._parallel, self._intervals = parallel, intervals
        self._settings = search.base.sweep.search
        self._next_claim = 0.0

    def poll(self) -> None:
        """Collect what has ended, prune, and give free slots to further trials at once."""
        self.pool.poll()
        for number, one in list(self.claimed.items()):
            if self._follow(number, one):
                one.lock.release()
                del self.claimed[number]
                self._next_claim = 0.0
        if self.pool.stopping or time.monotonic() < self._next_claim:
            return
        while len(self.claimed) < self._parallel and self._claim():
            pass
        self._next_claim = time.monotonic() + self._intervals.claim_s
        self.pool.poll()

    def _claim(self) -> bool:
        """Take on a trial whose process died, or a new one; whether there was any."""
        with self.search.locked():
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if state_name(frozen) == "running" and frozen.number not in self.claimed:
                    held = self._try_lock(frozen.number)
                    if held is not None:
                        self._take(frozen.number, held)
                        return True
            if len(trials) >= self._settings.trials:
                return False
            number = len(trials)
            held = self._try_lock(number)
            assert held is not None, f"trial {number} is locked and does not exist"
            self.study.ask()
            self._take(number, held)
            return True

    def _try_lock(self, number: int) -> Lock | None:
        return try_lock(self.search.folder / f"trial-{number:04d}.lock")

    def _take(self, number: int, held: Lock) -> None:
        """Draw what the trial lacks of values (all of a new one's), and put its run into the manifest."""
        self.study.sampler = sampler(self.search.base, number)
        trial = reopen(self.study, number)
        params = {key: suggest(trial, key, axis) for key, axis in self.search.space.items()}
        try:
            config = self.search.trial(params)
        except ConfigError as error:  # each value is allowed, but not these together
            self._fail(trial, str(error))
            held.release()
            return
        run_dir = identity.run_dir(config)
        reported = set(self.study.get_trials(deepcopy=False)[number].intermediate_values)
        join_sweep(run_dir, self.search.id)
        self.claimed[number] = Claimed(trial, config, run_dir, held, reported)
        varied = {"trial": str(number)} | {key: show(value) for key, value in params.items()}
        add_member(self.search, Member(run_dir, config.train.env_steps, varied))

    def _follow(self, number: int, one: Claimed) -> bool:
        """Report a trial's new scores, stop it if they are low, start its run if it has to; whether it has ended."""
        budget = one.config.train.env_steps
        self._report(number, one)
        if self.pool.has(one.run_dir):
            return False
        state = inspect(one.run_dir, budget, {})
        stop = RunDir(one.run_dir).stop()
        if state.name == "running":  # of a process that died, or another trial's with the same values
            one.begun = True
            return False
        if state.name == "done":
            tell(self.study, number, "complete", one.scores.final(budget))
        elif stop is not None and stop.by == self.search.id:
            tell(self.study, number, "pruned")
        elif state.name == "failed" and one.begun:
            self._fail(one.trial, state.reason)
        elif self.pool.stopping:
            return False
        else:
            one.begun = True
            one.run_dir.mkdir(parents=True, exist_ok=True)
            write_config(one.run_dir, one.config)
            self.pool.add(one.run_dir)
            return False
        return True

    def _report(self, number: int, one: Claimed) -> None:
        for steps, score in sorted(one.scores.read().items()):
            if 0 < steps <= one.config.train.env_steps and steps not in one.reported:
                one.reported.add(steps)
                one.trial.report(score, steps)
                if steps < one.config.train.env_steps and one.trial.should_prune():
                    reason = f"trial {number} pruned at {steps:,} steps: score {score:.3f}"
                    write_json(one.run_dir / layout.STOP, {"by": self.search.id, "reason": reason})

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        tell(self.study, trial.number, "failed")

    def run(self, wait: bool, show: Callable[[], None] = lambda: None) -> bool:
        """Work until every trial has ended (or, without `wait`, none is left to begin) or a signal comes.

        Args:
          show: called now and then, to say where the trials stand.
        Returns:
          Whether every trial has ended.
        """
        with on_signals(self.pool.stop, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            try:
                while True:
                    self.poll()
                    show()
                    over = is_over(self.search, self.study)
                    if self.pool.stopping and not self.pool.poll():
                        return over
                    if over or not (wait or self.claimed or self.pool.stopping):
                        return over
                    time.sleep(self._intervals.poll_s)
            except BaseException:
                # The storage went away, say: what runs checkpoints, and the next command goes on from there.
                self.pool.stop()
                while self.pool.poll():
                    time.sleep(self._intervals.poll_s)
                raise
            finally:
                for one in self.claimed.values():
                    one.lock.release()
