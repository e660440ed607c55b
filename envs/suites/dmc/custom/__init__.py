"""Tasks beyond dm_control's suite, as used with TD-MPC2 and BRC: other rewards on its models, and a longer reacher."""

from __future__ import annotations

from typing import Any

from dm_control import suite
from dm_control.rl import control

from envs.suites.dmc.custom import ball_in_cup, cheetah, hopper, pendulum, reacher, walker

DOMAINS = {
    "cheetah": cheetah.DOMAIN,
    "walker": walker.DOMAIN,
    "hopper": hopper.DOMAIN,
    "reacher": reacher.DOMAIN,
    "ball_in_cup": ball_in_cup.DOMAIN,
    "pendulum": pendulum.DOMAIN,
}


def load(domain_name: str, task_name: str, task_kwargs: dict[str, Any] | None = None) -> control.Environment:
    """An environment, as `dm_control.suite.load` builds it; stock tasks come from there.

    Args:
      domain_name: such as "cheetah".
      task_name: such as "run_backwards".
      task_kwargs: `random` (a seed or a `RandomState`) and `time_limit` (seconds), both optional.

    Raises:
      ValueError: no such domain or task.
    """
    domain = DOMAINS.get(domain_name)
    if domain is None or task_name not in domain.tasks:
        return suite.load(domain_name, task_name, task_kwargs)
    task_kwargs = {"time_limit": domain.time_limit} | (task_kwargs or {})
    time_limit = task_kwargs.pop("time_limit")
    task = domain.tasks[task_name](**task_kwargs)
    return control.Environment(domain.physics(), task, time_limit=time_limit, control_timestep=domain.control_timestep)
