"""Where the runs of a sweep stand, as `sweeps.status --json` says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from conf.uris import is_web
from records.remote import remote_sweep
from records.sweep import Member, Sweep
from sweeps.slurm import cluster
from sweeps.status import RunState, failed, log_of, mlflow_pages, seconds_left, unmirrored


def status_values(sweep: Sweep, states: Mapping[Member, RunState]) -> dict[str, Any]:
    """The sweep's runs in its own order, and how many are in each state; without a sweep, all runs of a folder."""
    jobs = cluster.search_jobs(sweep.folder, sweep.owner)
    return {
        "sweep": sweep.id if sweep.path.suffix else None,
        "counts": dict(Counter(state.name for state in states.values())),
        "runs": [run_values(member, state) for member, state in states.items()],
        "search_jobs": dict(jobs) if jobs is not None else None,
        "mlflow": [page for page in mlflow_pages(sweep) if is_web(page)],
        "unmirrored": unmirrored(sweep),
        "remote": remote_values(sweep),
        "verdict": verdict_values(sweep, states),
    }


def remote_values(sweep: Sweep) -> dict[str, Any] | None:
    """The other machine that has the sweep, and when its records were brought last; None for a sweep of this one."""
    remote = remote_sweep(sweep.path) if sweep.path.suffix else None
    return {"host": remote.host, "folder": remote.folder, "fetched": remote.fetched} if remote else None


def verdict_values(sweep: Sweep, states: Mapping[Member, RunState]) -> dict[str, Any] | None:
    """What a deciding sweep says of its variants so far, and whether no further run matters; None for another sweep."""
    if sweep.decide is None:
        return None
    from sweeps.decide.standing import recorded, standing

    now = standing(sweep, failed(states))
    return {"over": now.verdict.over, "leader": now.leads} | dict(recorded(now))


def run_values(member: Member, state: RunState) -> dict[str, Any]:
    """One run: what the sweep asked for, and what has come of it."""
    return {
        "run_dir": member.run_dir,
        "part": member.part,
        "varied": member.varied,
        "state": state.name,
        "env_steps": state.env_steps,
        "budget": member.env_steps,
        "score": state.score,
        "env_steps_per_s": state.rate,
        "seconds_left": seconds_left(member, state),
        "job": state.job,
        "reason": state.reason,
        "log": log_of(member.run_dir),
        "divergences": state.divergences,
    }
