from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from records import files, layout
from records.rows import Row
from records.run_dir import RunRecord
from tracking import mirror as tracking


def test_rows_are_sent_from_where_the_last_send_ended_up_to_what_is_durable(tmp_path: Path):
    path = tmp_path / "rows"
    lines = [json.dumps({"value": value}).encode() + b"\n" for value in range(5)]
    path.write_bytes(b"".join(lines))
    start, stop = len(lines[0]), len(b"".join(lines[:4]))
    ((rows, position),) = tracking.batches(path, start, stop)
    assert [row["value"] for row in rows] == [1, 2, 3]
    assert position == stop
    assert list(tracking.batches(path, stop, stop)) == []


def test_no_batch_is_larger_than_one_call_may_be(tmp_path: Path):
    path = tmp_path / "rows"
    path.write_text('{"value": 1}\n' * (2 * tracking.BATCH + 1))
    sizes = [len(rows) for rows, _ in tracking.batches(path, 0, path.stat().st_size)]
    assert sizes == [tracking.BATCH, tracking.BATCH, 1]


def test_rows_that_a_resumed_run_has_cut_are_not_asked_for(tmp_path: Path):
    with contextlib.closing(RunRecord(tmp_path)) as written:
        written.metrics.append([Row(1, 1, "loss", None, 1.0)])
        kept = written.coverage()
        written.metrics.append([Row(2, 2, "loss", None, 2.0)])
        written.durable(written.positions())
    RunRecord(tmp_path, kept).close()
    assert files.read_json(tmp_path / layout.DURABLE) == {"metrics": kept.metrics, "timing": kept.timing}


def test_haste_of_a_command_is_not_inherited_by_its_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(tracking.ANSWER_NAME, raising=False)
    with tracking.impatient():
        assert os.environ[tracking.ANSWER_NAME] == tracking.ANSWER_S
    assert tracking.ANSWER_NAME not in os.environ
    monkeypatch.setenv(tracking.ANSWER_NAME, "99")
    with tracking.impatient():
        assert os.environ[tracking.ANSWER_NAME] == "99"


def test_short_task_names_are_used_where_they_are_unambiguous():
    names = tracking.short_names(["dmc/dog-run", "metaworld/hammer", "shadowhand/hammer"])
    assert names == {
        "dmc/dog-run": "dog-run",
        "metaworld/hammer": "metaworld/hammer",
        "shadowhand/hammer": "shadowhand/hammer",
    }
