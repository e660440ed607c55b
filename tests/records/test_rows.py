"""Rows are read whole or not at all, from anywhere in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from records.decode import DamagedRecordError
from records.rows import Row, last_rows, read_rows, whole_lines

ROW = {"env_steps": 1, "update_steps": 2, "name": "eval/score", "task": None, "value": 0.5}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_only_whole_lines_count(tmp_path: Path):
    path = tmp_path / "rows"
    assert whole_lines(path) == 0
    path.write_text("torn")
    assert whole_lines(path) == 0
    path.write_text("one\ntwo\ntorn")
    assert whole_lines(path) == len("one\ntwo\n")


def test_a_last_line_that_is_not_whole_is_not_there_yet(tmp_path: Path):
    path = write(tmp_path / "rows", ROW, ROW | {"env_steps": 3})
    whole = path.stat().st_size
    with path.open("a") as file:
        file.write(json.dumps(ROW))
    assert [(row.env_steps, end) for row, end in read_rows(Row, path)] == [(1, whole // 2), (3, whole)]
    assert list(read_rows(Row, tmp_path / "missing")) == []


def test_reading_begins_at_the_next_whole_row_and_ends_at_a_position(tmp_path: Path):
    path = write(tmp_path / "rows", *(ROW | {"env_steps": step} for step in range(4)))
    length = path.stat().st_size // 4
    assert [row.env_steps for row, _ in read_rows(Row, path, length)] == [1, 2, 3]
    assert [row.env_steps for row, _ in read_rows(Row, path, length + 5)] == [2, 3]
    assert [row.env_steps for row, _ in read_rows(Row, path, 0, 2 * length)] == [0, 1]
    assert [row.env_steps for row in last_rows(Row, path, 2 * length + 5)] == [2, 3]


def test_lines_without_what_is_looked_for_are_passed_over(tmp_path: Path):
    path = write(tmp_path / "rows", ROW, ROW | {"name": "train/return"}, "no json")
    assert [row.name for row, _ in read_rows(Row, path, having=(b'"eval/',))] == ["eval/score"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[]", "a line holds a list"),
        ("null", "a line holds null"),
        ("{", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(ROW | {"env_steps": "many"}), "the env_steps of a row is text"),
        (json.dumps(ROW | {"env_steps": True}), "the env_steps of a row is true or false"),
        (json.dumps(ROW | {"env_steps": 2**63}), "more than 63 bits"),
        (json.dumps(ROW | {"task": ["dmc/dog-run"]}), "the task of a row is a list"),
        (json.dumps(ROW | {"value": None}), "the value of a row is null"),
        (json.dumps(ROW | {"value": float("nan")}), "no finite number"),
        (json.dumps({"env_steps": 1}), "a row has no update_steps"),
        ("9" * 5000, "no JSON"),
    ],
)
def test_a_line_that_is_no_row_is_named_with_file_number_and_reason(tmp_path: Path, line: str, reason: str):
    path = write(tmp_path / "rows", ROW, line)
    with pytest.raises(DamagedRecordError, match=f"rows: line 2: .*{reason}"):
        list(read_rows(Row, path))
    assert last_rows(Row, path, 10**6)[0] == Row(**ROW)
