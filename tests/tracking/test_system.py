from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from records.rows import whole_lines
from tracking import system


def test_samples_are_numbered_on_after_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(system.INTERVAL_NAME, "0.05")
    path = tmp_path / "system.jsonl"
    path.write_text('{"sample":6,"time_ms":1,"name":"system/a","value":1}\n{"sample":7,"time')
    sampler = system.Sampler(path)
    deadline = time.monotonic() + 20
    while whole_lines(path) < 500 and time.monotonic() < deadline:
        time.sleep(0.02)
    sampler.stop()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["sample"] for row in rows} >= {6, 7}
    first = {row["name"]: row["value"] for row in rows if row["sample"] == 7}
    assert 0 <= first["system/cpu_utilization_percentage"] <= 100
    assert 0 < first["system/system_memory_usage_percentage"] <= 100
    assert whole_lines(path) == path.stat().st_size


class Driver:
    """What `pynvml` answers of two GPUs, the first of which does not say how much power it draws."""

    class NVMLError(Exception):
        pass

    def __init__(self, missing: bool = False):
        self.missing = missing

    def nvmlInit(self) -> None:  # noqa: N802
        if self.missing:
            raise self.NVMLError

    def nvmlShutdown(self) -> None:  # noqa: N802
        pass

    def __getattr__(self, name: str):
        power = {0: None, 1: 70_000}
        answers = {
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetHandleByUUID": lambda uuid: {"GPU-b": 1}[uuid],
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=(1 - handle) * 2**30, total=2**31),
            "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50 * (1 - handle)),
            "nvmlDeviceGetPowerManagementLimit": lambda handle: 700_000,
        }

        def draw(handle: int) -> int:
            if power[handle] is None:
                raise self.NVMLError
            return power[handle]

        return draw if name == "nvmlDeviceGetPowerUsage" else answers[name]


IDLE = {
    "utilization_percentage": 0,
    "memory_usage_megabytes": 0,
    "memory_usage_percentage": 0,
    "power_usage_watts": 70,
    "power_usage_percentage": 10,
}


@pytest.mark.parametrize("visible", [None, "0,1", "0,GPU-b"])
def test_gpus_are_numbered_and_what_they_do_not_tell_is_left_out(visible: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert system.gpus() == pytest.approx(
        {
            "gpu_0_utilization_percentage": 50,
            "gpu_0_memory_usage_megabytes": 1073.741824,
            "gpu_0_memory_usage_percentage": 50,
            **{f"gpu_1_{name}": value for name, value in IDLE.items()},
        }
    )


def test_only_the_gpus_that_cuda_shows_are_sampled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert system.gpus() == pytest.approx({f"gpu_0_{name}": value for name, value in IDLE.items()})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert system.gpus() == {}


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", Driver(missing=True))
    assert system.gpus() == {}
