"""The plan of a command, as `sweeps.plan --json` says it."""

from __future__ import annotations

from typing import Any

from sweeps.plan.plan import Plan, Planned, remaining_seconds


def plan_values(plan: Plan) -> dict[str, Any]:
    """Every run and what it needs, and the totals."""
    return {
        "on_slurm": plan.common.on_slurm,
        "totals": {
            "runs": len(plan.runs),
            "finished": sum(one.state.name == "done" for one in plan.runs),
            "alive": sum(one.state.alive for one in plan.runs),
            "pending": len(plan.pending),
            "seconds": remaining_seconds(plan.runs),
        },
        "runs": [run_values(one) for one in plan.runs],
        "search": None,
    }


def run_values(one: Planned) -> dict[str, Any]:
    """One run: its size, its budget, how long it takes and where it stands."""
    return {
        "run_dir": one.run_dir,
        "part": one.part,
        "varied": one.varied,
        "benchmark": one.config.benchmark.name,
        "tasks": len(one.config.benchmark.task_ids),
        "critic_params": one.size.critic_params,
        "actor_params": one.size.actor_params,
        "learner_bytes": one.size.learner_bytes,
        "device_bytes": one.size.device_bytes,
        "replay_bytes": one.size.replay_bytes,
        "budget": one.config.train.env_steps,
        "state": one.state.name,
        "env_steps": one.state.env_steps,
        "by_other_code": one.stale,
        "seconds": one.estimate.seconds,
        "seconds_left": one.seconds_left,
        "estimate": one.estimate.source,
    }
