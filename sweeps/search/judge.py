"""What a trial has come to so far, and whether its pruner would stop it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from conf.schema import RunConfig
from sweeps.search.methods import grace_steps
from sweeps.search.scores import Scores, curve, instances
from sweeps.search.study import Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

RUNG = "completed_rung_"
"""What the names begin with under which ASHA and Hyperband note a trial's scores at the rungs."""


def score_of(search: Search, trial: FrozenTrial) -> float | None:
    """The value of a trial that is complete; of another, the mean of its runs so far; None before there is any."""
    values = trial.intermediate_values
    if trial.state.name == "COMPLETE" or not values:
        return trial.value
    return fmean(values.values()) if by_instance(search) else values[max(values)]


def steps_of(search: Search, trial: FrozenTrial) -> int | None:
    """The environment steps that a trial's score is of; None before there is one."""
    if trial.state.name == "COMPLETE" or (by_instance(search) and trial.intermediate_values):
        return search.base.train.env_steps
    return trial.last_step


def by_instance(search: Search) -> bool:
    """Whether a trial's intermediate values are of tasks in ended runs, and not of evaluations."""
    return search.base.sweep.search.pruner == "wilcoxon"


def values_of(search: Search, scores: Sequence[Scores]) -> dict[int, float]:
    """The intermediate values of a trial, as its runs' records have them.

    Args:
      search: the search.
      scores: those of the trial's runs.
    """
    return (instances if by_instance(search) else curve)(scores, search.base.train.env_steps)


def report(study: Study, number: int, step: int, value: float) -> None:
    """Note a trial's value at a step, in place of an earlier one, which Optuna's own `report` would keep.

    Args:
      study: Optuna's study of the search.
      number: the trial's.
      step: environment steps, or the number of an instance.
      value: the trial's score there.
    """
    trial = study.get_trials(deepcopy=False)[number]
    study._storage.set_trial_intermediate_value(trial._trial_id, step, value)


def is_hopeless(search: Search, study: Study, number: int, values: Mapping[int, float]) -> bool:
    """Whether the pruner would stop a trial that has come to these values.

    A rung that was passed before is judged anew where the last of the values lies on it: further runs may have changed
    the mean.

    Args:
      search: the search.
      study: Optuna's study of the search.
      number: the trial's.
      values: the trial's intermediate values up to now.
    """
    frozen = copy.copy(study.get_trials(deepcopy=False)[number])
    before = {step: value for step, value in values.items() if step < max(values)}
    frozen.intermediate_values = dict(values)
    frozen.system_attrs = {
        key: value for key, value in frozen.system_attrs.items() if not key.startswith(RUNG)
    } | rungs(study, search.base, number, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of instances that the best trial lacks, because one of its runs was cut
        return study.pruner.prune(study, frozen)


def rungs(study: Study, config: RunConfig, number: int, reported: Mapping[int, float]) -> dict[str, float]:
    """What ASHA and Hyperband note at a trial: its score at each rung, by which later trials are judged.

    Args:
      study: Optuna's study of the search.
      config: the search's configuration.
      number: the trial's.
      reported: the trial's scores by environment steps; one of them reaches one rung at most, unless
        `sweep.search.grace_steps` is less than `eval.every_steps`.
    """
    settings = config.sweep.search
    if settings.pruner not in ("asha", "hyperband"):
        return {}
    found: dict[str, float] = {}
    at = grace_steps(config) * settings.reduction_factor ** bracket(study, number)
    for steps, score in sorted(reported.items()):
        while at <= steps < config.train.env_steps:
            found[f"{RUNG}{len(found)}"] = score
            at *= settings.reduction_factor
    return found


def bracket(study: Study, number: int) -> int:
    """The bracket in which Hyperband has the trial; 0 with any other pruner."""
    import optuna

    if not isinstance(study.pruner, optuna.pruners.HyperbandPruner):
        return 0
    # Optuna offers no public way to ask; a test keeps watch over this one.
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    trial.number = number
    study.pruner.prune(study, trial)  # makes the brackets, which a pruner lacks until it is first asked
    return study.pruner._get_bracket_id(study, trial)


def prepare(study: Study) -> None:
    """Have Hyperband make its brackets, which samplers look at, so that every process draws alike."""
    bracket(study, 0)
