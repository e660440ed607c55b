"""Looks after some of a search's trials: begins, follows, prunes and tells them; any number of processes may.

Runs know nothing of Optuna: they write their evaluations, which are read here, and obey a stop file, which is written
here. A worker holds a lock for every trial that it looks after; a trial that is begun and whose lock nobody holds
belonged to a process that died, and whoever finds it first goes on with the same runs. When all trials have ended, each
run of the best ones on a fresh seed is looked after in the same way.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from conf.typed import ConfigError
from records.lock import Lock, is_held, try_lock
from sweeps.budget import spent
from sweeps.driven import Driven, advance, is_stopped, stop
from sweeps.pool import Pool, RetryPolicy, on_signals
from sweeps.search.confirm import fresh_members, fresh_run, runs_left, state_of, wanted
from sweeps.search.judge import by_instance, is_hopeless, report, values_of
from sweeps.search.methods import sampler
from sweeps.search.scores import Scores
from sweeps.search.study import (
    Search,
    add_members,
    members_of,
    reopen,
    state_name,
    suggest,
    tell,
    trials_left,
)
from sweeps.status import WATCH_S, RunState

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
    """What this process looks after, until it gives back `lock`: a trial, or a run of one on a fresh seed.

    Attributes:
      trial: the trial; None for a run on a fresh seed, of which Optuna learns nothing.
      runs: the trial's runs, in the order in which they begin.
      lock: keeps others from it.
      reported: the trial's intermediate values that Optuna's study has.
      stopping: why the trial's runs are told to end for good; empty where they are not.
      scores: those of each run.
    """

    trial: Trial | None
    runs: list[Driven]
    lock: Lock
    reported: dict[int, float]
    stopping: str = ""
    scores: list[Scores] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = [Scores(one.run_dir) for one in self.runs]


class Worker:
    """Looks after as many trials at once as keep `parallel` runs busy.

    Args:
      search: the search.
      study: Optuna's study of the search.
      parallel: runs at once.
      new_session: whether runs are to be out of reach of the terminal's Ctrl-C.
      intervals: how often to look.
      gpus: the GPUs to deal out to runs.
      variables: further variables of the runs' environment.
    """

    def __init__(
        self,
        search: Search,
        study: Study,
        parallel: int,
        new_session: bool,
        intervals: Intervals = DEFAULT_INTERVALS,
        gpus: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ):
        launcher = search.base.launcher
        retry_policy = RetryPolicy(launcher.max_crashes, launcher.backoff_s, time.time())
        self.search, self.study = search, study
        self.pool = Pool([], parallel, retry_policy, new_session, gpus, variables)
        self.claimed: dict[str, Claimed] = {}
        self._parallel, self._intervals = parallel, intervals
        self._budget = search.base.train.env_steps
        self.spent = ""
        self._busy, self._wanted = 0, 0
        self._next_look = 0.0
        self._next_claim = 0.0

    def poll(self) -> None:
        """Collect what has ended, prune, and give free slots to further trials at once."""
        self.pool.poll()
        self._busy = self._wanted = 0
        for name, one in list(self.claimed.items()):
            if self._follow(one):
                one.lock.release()
                del self.claimed[name]
                self._next_claim = self._next_look = 0.0
        self._look_at_budget()
        self.pool.poll()
        if self.pool.stopping or self.spent or time.monotonic() < self._next_claim:
            return
        while self._wanted < self._parallel and self._claim():
            pass
        self._next_claim = time.monotonic() + self._intervals.claim_s

    def _look_at_budget(self) -> None:
        """Note, now and then, whether the search's GPU-hours are used, after which no run begins."""
        allowed = self.search.base.launcher.max_gpu_hours
        if allowed is not None and not self.spent and time.monotonic() >= self._next_look:
            self.spent = spent(self.search.path, allowed) or ""
            self._next_look = time.monotonic() + self._intervals.claim_s

    def _claim(self) -> bool:
        """Take on a trial whose process died, a new one, or a run on a fresh seed; whether there was any."""
        with self.search.locked():
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if state_name(frozen) == "running":
                    held = self._try_lock(trial_lock(frozen.number))
                    if held is not None:
                        self._take(frozen.number, held)
                        return True
            if len(trials) < self.search.trials:
                number = len(trials)
                held = self._try_lock(trial_lock(number))
                assert held is not None, f"trial {number} is locked and does not exist"
                self.study.sampler = sampler(self.search.base, self.search.space, number)
                self.study.ask()
                self._take(number, held)
                return True
            return not trials_left(self.search, self.study) and self._claim_fresh()

    def _try_lock(self, name: str) -> Lock | None:
        return None if name in self.claimed else try_lock(self.search.folder / f"{name}.lock")

    def _take(self, number: int, held: Lock) -> None:
        """Draw what the trial lacks of values (all of a new one's), and put its runs into the manifest."""
        self.study.sampler = sampler(self.search.base, self.search.space, number)
        trial = reopen(self.study, number)
        params = {key: suggest(trial, key, axis) for key, axis in self.search.space.items()}
        try:
            listed = members_of(self.search, number, params)
        except ConfigError as error:  # each value is allowed, but not these together
            self._fail(trial, str(error))
            held.release()
            return
        add_members(self.search, [member for member, _ in listed])
        runs = [Driven(config, member.run_dir) for member, config in listed]
        reported = dict(self.study.get_trials(deepcopy=False)[number].intermediate_values)
        claimed = Claimed(trial, runs, held, reported)
        if any(is_stopped(one.run_dir, self.search.id) for one in runs):
            # Its process died before it could say so: no run begins again, not even one that failed.
            claimed.stopping = f"trial {number} was stopped before"
            for one in runs:
                one.begun = True
        self._follow_from_now(trial_lock(number), claimed)

    def _claim_fresh(self) -> bool:
        """Take on a run of one of the best trials on a fresh seed, all of which are listed; whether any was left."""
        entries = wanted(self.search, self.study)
        known = fresh_members(self.search)
        missing = [entry for entry in entries if (entry[0].number, entry[1]) not in known]
        add_members(self.search, [fresh_run(self.search, trial, seed)[0] for trial, seed in missing])
        known = fresh_members(self.search) if missing else known
        for trial, seed in entries:
            if state_of(known[trial.number, seed]).name in ("done", "failed"):
                continue
            name = f"confirm-{trial.number:04d}-{seed}"
            held = self._try_lock(name)
            if held is not None:
                member, config = fresh_run(self.search, trial, seed)
                self._follow_from_now(name, Claimed(None, [Driven(config, member.run_dir)], held, {}))
                return True
        return False

    def _follow_from_now(self, name: str, claimed: Claimed) -> None:
        self.claimed[name] = claimed
        self._wanted += len(claimed.runs)

    def _follow(self, one: Claimed) -> bool:
        """Report new scores, stop runs of no more use, begin those that have a slot; whether the trial has ended."""
        if one.trial is not None:
            self._report(one, one.trial)
        states = [self._advance(one, run) for run in one.runs]
        if not {state.name for state in states} <= {"done", "failed", "stopped"}:
            return False
        if one.trial is None:
            return True
        failed = next((index for index, state in enumerate(states) if state.name == "failed"), None)
        if failed is not None:
            seed = f"seed {one.runs[failed].config.seed}: " if len(one.runs) > 1 else ""
            self._fail(one.trial, f"{seed}{states[failed].reason}")
        elif all(state.name == "done" for state in states):
            score = fmean(scores.final(self._budget) for scores in one.scores)
            tell(self.study, one.trial.number, "complete", score)
        else:
            tell(self.study, one.trial.number, "pruned")
        return True

    def _advance(self, one: Claimed, run: Driven) -> RunState:
        """Begin the run where it has to begin and a slot is free, or stop it with its trial; where it stands."""
        begin = not one.stopping and not self.spent and self._busy < self._parallel
        state = advance(run, self.pool, self.search.id, begin)
        if state.name == "failed" and len(one.runs) > 1 and not one.stopping:
            one.stopping = "another run of the trial has failed"
        if one.stopping and state.name not in ("done", "failed"):
            stop(run, self.pool, self.search.id, one.stopping)
            state = RunState("running" if is_going(run, self.pool) else "stopped", state.env_steps)
        self._busy += state.alive
        self._wanted += state.name not in ("done", "failed", "stopped")
        return state

    def _report(self, one: Claimed, trial: Trial) -> None:
        """Note what the trial's runs have come to, and decide whether it is worth going on with."""
        values = values_of(self.search, one.scores)
        changed = [step for step, value in values.items() if one.reported.get(step) != value]
        for earlier, step in itertools.pairwise([0, *values]):
            if step in changed and not self._is_awaited(one, earlier, step):
                one.reported[step] = values[step]
                report(self.study, trial.number, step, values[step])
                if by_instance(self.search) or step >= self._budget:
                    continue
                self._judge(one, trial, {at: value for at, value in values.items() if at <= step}, f"{step:,} steps")
        ended = sum(scores.is_final(self._budget) for scores in one.scores) if by_instance(self.search) else 0
        if changed and 0 < ended < len(one.runs):
            self._judge(one, trial, values, f"{ended} of {len(one.runs)} runs")

    def _judge(self, one: Claimed, trial: Trial, values: dict[int, float], when: str) -> None:
        if is_hopeless(self.search, self.study, trial.number, values) and not one.stopping:
            score = fmean(values.values()) if by_instance(self.search) else values[max(values)]
            one.stopping = f"trial {trial.number} pruned at {when}: score {score:.3f}"

    def _is_awaited(self, one: Claimed, earlier: int, step: int) -> bool:
        """Whether a run that goes on beside others will soon be at the step too, so that its score counts as well."""
        at = [max(scores.at, default=0) for scores in one.scores]
        beside = [steps for run, steps in zip(one.runs, at, strict=True) if is_going(run, self.pool)]
        return not by_instance(self.search) and any(earlier <= steps < step for steps in beside)

    def _fail(self, trial: Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        tell(self.study, trial.number, "failed")

    def run(self, wait: bool, show: Callable[[], None] = lambda: None) -> bool:
        """Work until the search is over (or, without `wait`, nothing is left to begin), told to stop, or out of hours.

        Args:
          show: called now and then, to say where the trials stand.
        Returns:
          Whether the search is over.
        """
        with on_signals(self.pool.stop, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            try:
                while True:
                    self.poll()
                    show()
                    over = is_over(self.search, self.study)
                    if (self.pool.stopping or self.spent) and not self.pool.poll():
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


def trial_lock(number: int) -> str:
    """The name of a trial's lock."""
    return f"trial-{number:04d}"


def is_going(run: Driven, pool: Pool) -> bool:
    """Whether a process executes the run, here or elsewhere."""
    return pool.is_running(run.run_dir) or is_held(run.run_dir)


def is_over(search: Search, study: Study) -> bool:
    """Whether every trial has ended, and every run on a fresh seed."""
    return not trials_left(search, study) and not runs_left(search, study)
