"""What SLURM's words for a job's state mean for the runs that the job was given.

A job counts as ended only where every word of its state says so. A word that is not known here, such as one of a later
version, is of a job that lives: taking a living job for an ended one would give its runs away twice.
"""

from __future__ import annotations

import re

ENDED = {
    "BOOT_FAIL": "BF",
    "CANCELLED": "CA",
    "COMPLETED": "CD",
    "DEADLINE": "DL",
    "FAILED": "F",
    "NODE_FAIL": "NF",
    "OUT_OF_MEMORY": "OOM",
    "TIMEOUT": "TO",
}
"""The states that a job does not leave, and their compact codes. A job that is preempted may go back to the queue, and
one that is revoked is another cluster's of the federation."""
WAITING = {
    "CONFIGURING": "CF",
    "PENDING": "PD",
    "POWER_UP_NODE": "",
    "PREEMPTED": "PR",
    "REQUEUED": "RQ",
    "REQUEUE_FED": "RF",
    "REQUEUE_HOLD": "RH",
    "RESV_DEL_HOLD": "RD",
    "REVOKED": "RV",
    "SPECIAL_EXIT": "SE",
}
"""The states of a job that executes nothing now, and may later."""


def words(state: str) -> list[str]:
    """The names in a state as SLURM writes it: `CANCELLED by 123`, `COMPLETED,COMPLETING`, `CG`."""
    return re.findall(r"[A-Z_]+", state)


def has_ended(state: str) -> bool:
    """Whether a job in this state will never execute anything again."""
    names = words(state)
    return bool(names) and all(name in ENDED or name in ENDED.values() for name in names)


def is_waiting(state: str) -> bool:
    """Whether a job in this state executes nothing now, and may later."""
    return any(name in WAITING or name in WAITING.values() for name in words(state))
