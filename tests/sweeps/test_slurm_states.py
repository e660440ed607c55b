"""No state of SLURM's manual makes status call a job ended that is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from records import layout
from sweeps.slurm import cluster, submission
from sweeps.slurm.submission import Submission, give, job_of, read_submission, write_submission
from sweeps.status import inspect

ENDED, WAITS, EXECUTES = "ended", "waits", "executes"
MANUAL = {
    # Base states and flags, as squeue(1) and sacct(1) list them, with their compact codes.
    "BOOT_FAIL": ("BF", ENDED),
    "CANCELLED": ("CA", ENDED),
    "COMPLETED": ("CD", ENDED),
    "CONFIGURING": ("CF", WAITS),
    "COMPLETING": ("CG", EXECUTES),
    "DEADLINE": ("DL", ENDED),
    "FAILED": ("F", ENDED),
    "NODE_FAIL": ("NF", ENDED),
    "OUT_OF_MEMORY": ("OOM", ENDED),
    "PENDING": ("PD", WAITS),
    "PREEMPTED": ("PR", WAITS),
    "RUNNING": ("R", EXECUTES),
    "RESV_DEL_HOLD": ("RD", WAITS),
    "REQUEUE_FED": ("RF", WAITS),
    "REQUEUE_HOLD": ("RH", WAITS),
    "REQUEUED": ("RQ", WAITS),
    "RESIZING": ("RS", EXECUTES),
    "REVOKED": ("RV", WAITS),
    "SIGNALING": ("SI", EXECUTES),
    "SPECIAL_EXIT": ("SE", WAITS),
    "STAGE_OUT": ("SO", EXECUTES),
    "STOPPED": ("ST", EXECUTES),
    "SUSPENDED": ("S", EXECUTES),
    "TIMEOUT": ("TO", ENDED),
    # Those of later versions.
    "LAUNCH_FAILED": ("", EXECUTES),
    "POWER_UP_NODE": ("", WAITS),
    "RECONFIG_FAIL": ("", EXECUTES),
    "UPDATE_DB": ("", EXECUTES),
}
OTHERS = {
    "CANCELLED by 123": ENDED,
    "CANCELLED+": ENDED,
    "COMPLETED,COMPLETING": EXECUTES,
    "FAILED|REQUEUED": WAITS,
    "NODE_FAIL+REQUEUE_HOLD": WAITS,
    "OUT_OF_ME+": EXECUTES,  # sacct cuts a name: no word that is known
    "BEING_PAINTED": EXECUTES,
    "": EXECUTES,
}
CASES = {
    **{state: meaning for state, (_, meaning) in MANUAL.items()},
    **{code: meaning for code, meaning in MANUAL.values() if code},
    **OTHERS,
}


@pytest.mark.parametrize("state", CASES)
def test_state_of_a_job_is_taken_as_the_manual_has_it(tmp_path: Path, fake_slurm: Path, state: str):
    run_dir, path = tmp_path / "runs" / "quickstart" / "brc-s0", tmp_path / "sweep" / "001.json"
    for folder in (run_dir, path.parent):
        folder.mkdir(parents=True)
    write_submission(path, Submission("7", 1.0, "runs", (("../runs/quickstart/brc-s0",),), 1, 0, 0.0))
    give([run_dir], path, 0)
    (fake_slurm / "queue").write_text(f"6_0|RUNNING\n7_0|{state}\n")
    queue = cluster.queue()
    meaning = CASES[state]
    assert queue == {"6_0": "RUNNING"} | ({} if meaning == ENDED else {"7_0": state})
    found = inspect(run_dir, 10, queue)
    assert (found.name, found.alive) == {ENDED: ("new", False), WAITS: ("queued", True)}.get(meaning, ("running", True))
    (run_dir / layout.STATUS).write_text(json.dumps({"state": "interrupted", "time": 2.0}))
    went_on = inspect(run_dir, 10, queue)
    assert went_on.name == {ENDED: "interrupted", WAITS: "preempted", EXECUTES: "running"}[meaning]


def test_queue_asks_for_jobs_in_every_state(fake_slurm: Path):
    (fake_slurm / "squeue").write_text(f'#!/bin/sh\necho "$*" > {fake_slurm}/asked\n')
    assert cluster.queue() == {}
    assert "--states all" in (fake_slurm / "asked").read_text()


def test_submission_of_many_runs_is_read_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runs = [tmp_path / "runs" / "quickstart" / f"brc-s{seed}" for seed in range(9)]
    path = tmp_path / "sweep" / "001.json"
    for folder in (*runs, path.parent):
        folder.mkdir(parents=True)
    waiting = Submission(None, 1.0, "runs", tuple((f"../runs/quickstart/{run.name}",) for run in runs), 1, 0, 0.0)
    write_submission(path, waiting)
    for index, run_dir in enumerate(runs):
        give([run_dir], path, index)
    read = []
    monkeypatch.setattr(submission, "read_submission", lambda path: read.append(path) or read_submission(path))
    assert [job_of(run_dir).id for run_dir in runs] == [None] * 9
    write_submission(path, dataclasses.replace(waiting, array="7"))
    assert [job_of(run_dir).id for run_dir in runs] == [f"7_{index}" for index in range(9)]
    assert len(read) == 2
