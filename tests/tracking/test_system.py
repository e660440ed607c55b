from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tracking import system


def test_samples_are_numbered_on_after_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(system.INTERVAL_NAME, "0.05")
    path = tmp_path / "system.jsonl"
    path.write_text('{"sample":6,"time_ms":1,"name":"system/a","value":1}\n{"sample":7,"time')
    sampler = system.Sampler(path)
    deadline = time.monotonic() + 20
    while system.whole_lines(path) < 500 and time.monotonic() < deadline:
        time.sleep(0.02)
    sampler.stop()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["sample"] for row in rows} >= {6, 7}
    first = {row["name"]: row["value"] for row in rows if row["sample"] == 7}
    assert 0 <= first["system/cpu_utilization_percentage"] <= 100
    assert 0 < first["system/system_memory_usage_percentage"] <= 100
    assert system.whole_lines(path) == path.stat().st_size


def test_only_whole_lines_count(tmp_path: Path):
    path = tmp_path / "rows"
    assert system.whole_lines(path) == 0
    path.write_text("torn")
    assert system.whole_lines(path) == 0
    path.write_text("one\ntwo\ntorn")
    assert system.whole_lines(path) == len("one\ntwo\n")


def test_gpus_are_numbered_and_what_they_do_not_tell_is_left_out():
    found = system.parse_gpus("50, 1024, 2048, [N/A], 700.00\n0, 0, 2048, 70.00, 700.00\n")
    assert found == pytest.approx(
        {
            "gpu_0_utilization_percentage": 50,
            "gpu_0_memory_usage_megabytes": 1073.741824,
            "gpu_0_memory_usage_percentage": 50,
            "gpu_1_utilization_percentage": 0,
            "gpu_1_memory_usage_megabytes": 0,
            "gpu_1_memory_usage_percentage": 0,
            "gpu_1_power_usage_watts": 70,
            "gpu_1_power_usage_percentage": 10,
        }
    )
