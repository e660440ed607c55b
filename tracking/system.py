"""Samples what the machine does — processors, memory, disk, network, GPUs — into a file of the run's directory."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from records.files import append_to
from records.rows import Sample, last_rows, whole_lines

INTERVAL_S = 10.0
INTERVAL_NAME = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"  # MLflow's own name for another interval
MB = 1e6


class Sampler:
    """A thread that appends rows `{sample, time_ms, name, value}` until it is stopped, with or without a server."""

    def __init__(self, path: Path):
        self._path = path
        self._interval_s = float(os.environ.get(INTERVAL_NAME, INTERVAL_S))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        psutil.cpu_percent()  # what follows is the use since the call before
        began = psutil.net_io_counters()
        with append_to(self._path) as file:
            file.truncate(whole_lines(self._path))  # a machine may die in the middle of a line
            last = last_rows(Sample, self._path, 4096)
            sample = last[-1].sample + 1 if last else 0
            while not self._stop.wait(self._interval_s):
                now_ms = int(1000 * time.time())
                values = machine(self._path, began) | gpus()
                rows = [
                    {"sample": sample, "time_ms": now_ms, "name": f"system/{name}", "value": round(value, 1)}
                    for name, value in values.items()
                ]
                file.write("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode())
                file.flush()
                sample += 1


def machine(place: Path, began) -> dict[str, float]:
    """Use of processors, memory, the disk that holds `place`, and the network since `began`; as MLflow names them."""
    memory, disk, network = psutil.virtual_memory(), psutil.disk_usage(str(place)), psutil.net_io_counters()
    values = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / MB,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
        "disk_usage_percentage": disk.percent,
        "disk_usage_megabytes": disk.used / MB,
        "disk_available_megabytes": disk.free / MB,
    }
    if began is not None and network is not None:  # None where there is no network
        values["network_receive_megabytes"] = (network.bytes_recv - began.bytes_recv) / MB
        values["network_transmit_megabytes"] = (network.bytes_sent - began.bytes_sent) / MB
    return values


def gpus() -> dict[str, float]:
    """Use of the NVIDIA GPUs that this process may see; empty where there are none or the driver does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        handles = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
        values: dict[str, float] = {}
        for index, handle in enumerate(handles):
            values |= {f"gpu_{index}_{name}": value for name, value in of_gpu(handle).items()}
        return values
    except pynvml.NVMLError:
        return {}
    finally:
        pynvml.nvmlShutdown()


def visible_gpus(visible: str | None) -> list[Any]:
    """Return NVML's handles of the GPUs that CUDA would show, in CUDA's order.

    Args:
      visible: the value of CUDA_VISIBLE_DEVICES: numbers or UUIDs, separated by commas; None shows all.
    """
    import pynvml

    if visible is None:
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    names = [name.strip() for name in visible.split(",")]
    handles = []
    for name in names:
        if name.isdigit():
            handles.append(pynvml.nvmlDeviceGetHandleByIndex(int(name)))
        elif name.startswith(("GPU-", "MIG-")):
            handles.append(pynvml.nvmlDeviceGetHandleByUUID(name))
        else:  # CUDA shows no GPU from the first name on that means none
            break
    return handles


def of_gpu(handle: Any) -> dict[str, float]:
    """Return what one GPU does, as MLflow names the values; what the driver cannot tell is left out."""
    import pynvml

    def ask(question: Callable[[], Any]) -> float | None:
        try:
            return question()
        except pynvml.NVMLError:
            return None

    used = ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    total = ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    watts = ask(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
    limit = ask(lambda: pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000)
    found = {
        "utilization_percentage": ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "memory_usage_megabytes": None if used is None else used / MB,
        "memory_usage_percentage": None if used is None or not total else 100 * used / total,
        "power_usage_watts": watts,
        "power_usage_percentage": None if watts is None or not limit else 100 * watts / limit,
    }
    return {name: value for name, value in found.items() if value is not None}
