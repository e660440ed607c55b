"""Which learners there are. A new one is a module with a `LEARNER`, its settings in `conf.agents`, and a line here."""

from __future__ import annotations

from typing import Any

from agents.learner import brc, brc_discrete, imitation
from agents.learner.types import Learner
from conf.schema import RunConfig

LEARNERS: dict[str, Learner[Any, Any, Any]] = {
    "brc": brc.LEARNER,
    "brc_discrete": brc_discrete.LEARNER,
    "imitation": imitation.LEARNER,
}
"""`agent.learner` -> the learner."""


def learner_of(config: RunConfig) -> Learner[Any, Any, Any]:
    """Return the learner that the configured agent is."""
    return LEARNERS[config.agent.learner]
