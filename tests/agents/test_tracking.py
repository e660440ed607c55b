from __future__ import annotations

import json
from pathlib import Path

from agents import tracking


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


def test_short_task_names_are_used_where_they_are_unambiguous():
    names = tracking.short_names(["dmc/dog-run", "metaworld/hammer", "shadowhand/hammer"])
    assert names == {
        "dmc/dog-run": "dog-run",
        "metaworld/hammer": "metaworld/hammer",
        "shadowhand/hammer": "shadowhand/hammer",
    }
