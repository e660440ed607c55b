"""Samples what the machine does — processors, memory, disk, network, GPUs — into a file of the run's directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import psutil

from records.files import tail_lines

INTERVAL_S = 10.0
INTERVAL_NAME = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"  # MLflow's own name for another interval
GPU_S = 5.0
GPU_FIELDS = ("utilization.gpu", "memory.used", "memory.total", "power.draw", "power.limit")
MB, MIB = 1e6, 2**20


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
        with self._path.open("ab") as file:
            file.truncate(whole_lines(self._path))  # a machine may die in the middle of a line
            last = tail_lines(self._path, 1)
            sample = json.loads(last[0])["sample"] + 1 if last else 0
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


def whole_lines(path: Path, limit: int = 65536) -> int:
    """Bytes of a file up to its last line's end; 0 where there is no file."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        begin = max(0, size - limit)
        file.seek(begin)
        return begin + file.read(size - begin).rfind(b"\n") + 1


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
    """Use of the NVIDIA GPUs that this process may see; empty where there are none or they do not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = [program, f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(
            command + ([f"--id={visible}"] if visible else []), capture_output=True, text=True, timeout=GPU_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_gpus(result.stdout) if result.returncode == 0 else {}


def parse_gpus(table: str) -> dict[str, float]:
    """nvidia-smi's answer to `GPU_FIELDS`: a line a GPU, MiB and watts. What it cannot tell is left out."""
    values: dict[str, float] = {}
    for index, line in enumerate(table.strip().splitlines()):
        use, used, total, draw, limit = (number(text) for text in line.split(","))
        found = {
            "utilization_percentage": use,
            "memory_usage_megabytes": used and used * MIB / MB,
            "memory_usage_percentage": used and total and 100 * used / total,
            "power_usage_watts": draw,
            "power_usage_percentage": draw and limit and 100 * draw / limit,
        }
        values |= {f"gpu_{index}_{name}": value for name, value in found.items() if value is not None}
    return values


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # such as [N/A]
        return None
