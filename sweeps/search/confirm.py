"""The best trials again on fresh seeds: which, on what runs, and what of their scores was owed to selection.

The best of many noisy scores is too high, since luck is selected too. Runs that took no part in the selection show what
the values are worth. The search's record lists these runs, so nothing of this depends on Optuna's storage.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from conf import identity
from conf.schema import RunConfig
from conf.typed import show
from records.sweep import Member, read_sweep
from sweeps.search.scores import Scores
from sweeps.search.study import FRESH_SEED, Search, complete_trials, place_of
from sweeps.status import RunState, inspect

if TYPE_CHECKING:
    from sweeps.search.study import FrozenTrial, Study

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Confirmed:
    """A trial and what its values came to on fresh seeds.

    Attributes:
      trial: the trial.
      score: the trial's score in the search, which it was chosen by.
      scores: seed -> the score of the run on it, of runs that are done.
      failed: seed -> why the run on it failed.
      asked: how many fresh seeds there are to be.
    """

    trial: FrozenTrial
    score: float
    scores: Mapping[int, float]
    failed: Mapping[int, str]
    asked: int

    @property
    def is_complete(self) -> bool:
        """Whether every fresh seed has its score; a mean without the seeds that failed would flatter the values."""
        return len(self.scores) == self.asked

    @property
    def mean(self) -> float | None:
        """The mean score over the fresh seeds that are done."""
        return fmean(self.scores.values()) if self.scores else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's interval of the mean, at 95%; None with fewer than two seeds."""
        return student_interval(list(self.scores.values()))


def student_interval(values: list[float]) -> tuple[float, float] | None:
    """The interval in which the mean lies that normal values were drawn around, at 95%; None of fewer than two."""
    if len(values) < 2:
        return None
    import numpy as np
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return fmean(values) - half, fmean(values) + half


def chosen(search: Search, study: Study) -> list[FrozenTrial]:
    """The trials that are to run again: those with the highest scores, one for each combination of values."""
    settings = search.base.sweep.search
    if not settings.confirm:
        return []
    first: dict[str, FrozenTrial] = {}
    for trial in complete_trials(study):
        first.setdefault(repr(sorted(trial.params.items())), trial)
    return list(first.values())[: settings.confirm_trials]


def wanted(search: Search, study: Study) -> list[tuple[FrozenTrial, int]]:
    """The trials that are to run again, and a fresh seed: an entry for each run, the best trial's first seed first."""
    return [(trial, seed) for seed in search.fresh_seeds for trial in chosen(search, study)]


def fresh_run(search: Search, trial: FrozenTrial, seed: int) -> tuple[Member, RunConfig]:
    """The run of a trial's values on a fresh seed, as the search's record lists it, and its configuration."""
    config = dataclasses.replace(search.trial(trial.params), seed=seed)
    varied = {"trial": str(trial.number), FRESH_SEED: str(seed)}
    varied |= {key: show(value) for key, value in trial.params.items()}
    return Member(identity.run_dir(config), config.train.env_steps, varied), config


def fresh_members(search: Search) -> dict[tuple[int, int], Member]:
    """The runs on fresh seeds that the search's record lists, by the trial's number and the seed."""
    known = read_sweep(search.path).members if search.path.exists() else []
    places = {place_of(member): member for member in known if FRESH_SEED in member.varied}
    return {(int(trial or 0), int(seed or 0)): member for (trial, _, seed), member in places.items()}


def runs_left(search: Search, study: Study) -> int:
    """How many runs on fresh seeds have not ended, those that have not begun included."""
    members = fresh_members(search) if search.base.sweep.search.confirm else {}
    keys = [(trial.number, seed) for trial, seed in wanted(search, study)]
    return sum(key not in members or state_of(members[key]).name not in ("done", "failed") for key in keys)


def state_of(member: Member) -> RunState:
    """Where a run on a fresh seed stands."""
    return inspect(member.run_dir, member.env_steps, {})


def confirmed(search: Search, study: Study) -> list[Confirmed]:
    """What every trial came to that has runs on fresh seeds, the highest confirmed score first."""
    by_trial: dict[int, dict[int, Member]] = defaultdict(dict)
    for (number, seed), member in fresh_members(search).items():
        by_trial[number][seed] = member
    found = [result(trial, by_trial[trial.number]) for trial in complete_trials(study) if trial.number in by_trial]
    return sorted(found, key=lambda one: (one.is_complete, one.mean or 0.0), reverse=True)


def result(trial: FrozenTrial, members: Mapping[int, Member]) -> Confirmed:
    """What one trial came to.

    Args:
      trial: the trial.
      members: the trial's runs on fresh seeds, by seed.
    """
    states = {seed: state_of(member) for seed, member in sorted(members.items())}
    scores = {
        seed: Scores(members[seed].run_dir).final(members[seed].env_steps)
        for seed, state in states.items()
        if state.name == "done"
    }
    failed = {seed: state.reason for seed, state in states.items() if state.name == "failed"}
    assert trial.value is not None
    return Confirmed(trial, trial.value, scores, failed, len(members))


def winner(search: Search, study: Study) -> FrozenTrial | None:
    """The trial with the highest confirmed score; before there is one, that with the highest score in the search."""
    complete = [one for one in confirmed(search, study) if one.is_complete]
    return complete[0].trial if complete else next(iter(complete_trials(study)), None)
