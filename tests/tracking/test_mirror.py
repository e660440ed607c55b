from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from records.entries import Durable
from records.metrics import short_names
from records.rows import Row
from records.run_dir import RunDir
from records.run_record import RunRecord
from tracking import client, mirror


def write_rows(path: Path, count: int) -> list[int]:
    """Write rows of the values 0 to `count - 1`; the position after each."""
    lines = [json.dumps(Row(value, 0, "loss", None, value)._asdict()) + "\n" for value in range(count)]
    path.write_text("".join(lines))
    return np.cumsum([len(line) for line in lines]).tolist()


def test_rows_are_sent_from_where_the_last_send_ended_up_to_what_is_durable(tmp_path: Path):
    path = tmp_path / "rows"
    ends = write_rows(path, 5)
    ((rows, position),) = mirror.batches(Row, path, ends[0], ends[3])
    assert [row.value for row in rows] == [1, 2, 3]
    assert position == ends[3]
    assert list(mirror.batches(Row, path, ends[3], ends[3])) == []


def test_no_batch_is_larger_than_one_call_may_be(tmp_path: Path):
    ends = write_rows(tmp_path / "rows", 2 * client.BATCH + 1)
    sizes = [len(rows) for rows, _ in mirror.batches(Row, tmp_path / "rows", 0, ends[-1])]
    assert sizes == [client.BATCH, client.BATCH, 1]


def test_rows_that_a_resumed_run_has_cut_are_not_asked_for(tmp_path: Path):
    with contextlib.closing(RunRecord(tmp_path)) as written:
        written.metrics.append([Row(1, 1, "loss", None, 1.0)])
        kept = written.coverage()
        written.metrics.append([Row(2, 2, "loss", None, 2.0)])
        written.durable(written.positions())
    RunRecord(tmp_path, kept).close()
    assert RunDir(tmp_path).durable() == Durable(kept.metrics, kept.timing)


def test_haste_of_a_command_is_not_inherited_by_its_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(client.ANSWER_NAME, raising=False)
    with client.short_timeout():
        assert os.environ[client.ANSWER_NAME] == client.SHORT_ANSWER_S
    assert client.ANSWER_NAME not in os.environ
    monkeypatch.setenv(client.ANSWER_NAME, "99")
    with client.short_timeout():
        assert os.environ[client.ANSWER_NAME] == "99"


def test_short_task_names_are_used_where_they_are_unambiguous():
    names = short_names(["dmc/dog-run", "metaworld/hammer", "shadowhand/hammer"])
    assert names == {
        "dmc/dog-run": "dog-run",
        "metaworld/hammer": "metaworld/hammer",
        "shadowhand/hammer": "shadowhand/hammer",
    }
