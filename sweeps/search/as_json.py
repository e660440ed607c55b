"""A search, as `sweeps.plan --json` and `sweeps.search STUDY --show --json` say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from records.sweep import read_sweep
from sweeps.search.confirm import Confirmed, confirmed, winner
from sweeps.search.judge import score_of, steps_of
from sweeps.search.study import Search, state_name
from sweeps.search.view import best_command

if TYPE_CHECKING:
    from sweeps.search.study import Study


def settings_values(search: Search) -> dict[str, Any]:
    """What the search is to be."""
    settings = search.base.sweep.search
    members = read_sweep(search.path).members if search.path.exists() else []
    return {
        "search": search.id,
        "budget": search.base.train.env_steps,
        "trials_wanted": search.trials,
        "trials_begun": len({member.varied.get("trial") for member in members}),
        "seeds": settings.seeds,
        "confirm": settings.confirm,
        "confirm_trials": settings.confirm_trials,
        "sampler": settings.sampler,
        "pruner": settings.pruner,
        "space": {key: str(axis) for key, axis in search.space.items()},
    }


def search_values(search: Search, study: Study) -> dict[str, Any]:
    """The trials so far, what the best of them came to on fresh seeds, and the best as a command."""
    trials = study.get_trials(deepcopy=False)
    by_trial = {number: [] for number in range(len(trials))}
    for member in read_sweep(search.path).members:
        by_trial.setdefault(int(member.varied["trial"]), []).append(member.run_dir)
    best = winner(search, study)
    return settings_values(search) | {
        "trials_begun": len(trials),
        "trials": [
            {
                "trial": one.number,
                "values": one.params,
                "state": state_name(one),
                "score": score_of(search, one),
                "env_steps": steps_of(search, one),
                "reason": one.user_attrs.get("reason", ""),
                "run_dirs": by_trial[one.number],
            }
            for one in trials
        ],
        "confirmed": [confirmed_values(one) for one in confirmed(search, study)],
        "best": None if best is None else {"trial": best.number, "command": best_command(search, best)},
    }


def confirmed_values(one: Confirmed) -> dict[str, Any]:
    """A trial on fresh seeds, beside the score that it was chosen by."""
    low, high = one.interval or (None, None)
    return {
        "trial": one.trial.number,
        "score": one.score,
        "confirmed": one.mean,
        "low": low,
        "high": high,
        "scores": {str(seed): score for seed, score in one.scores.items()},
        "failed": {str(seed): reason for seed, reason in one.failed.items()},
        "seeds": one.asked,
        "complete": one.is_complete,
    }
