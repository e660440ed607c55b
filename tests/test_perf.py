"""The scripts that measure a GPU and a run's memory work, on sizes that say nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def printed(*arguments: str) -> str:
    """What a script prints; its programs are compiled without optimisations, which halves the time."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    result = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_gpus_table_has_updates_seeds_and_whole_runs():
    table = printed("perf.gpu", "--tiny")
    for row in (
        r"product +256 float32 +[\d.e-]+ TFLOP/s",
        r"update +width 8 float32 +[\d.]+ ms +[\d.e-]+ TFLOP/s, \d+% of the product's",
        r"update +width 8 tf32 +[\d.]+ ms",
        r"update +width 8 bf16 +[\d.]+ ms",
        r"update +width 8 float32 +[\d.]+ ms .*, naive",
        r"seeds +2 at width 8 +[\d.]+ ms +[\d.]+ times as fast",
        r"run +quickstart width 16 +[\d.]+ env steps/s +[\d.]+ h for [\d,]+ steps",
    ):
        assert re.search(row, table), f"{row}\n{table}"


def test_a_restored_state_is_held_once():
    """Beside a state of half a gigabyte: its largest array, and what JAX takes."""
    report = printed("perf.memory", "model=l", "agent.batch_size=8", "train.env_steps=500")
    found = dict(re.findall(r"^  (\w+) +([\d.]+) GiB$", report.partition("restore\n")[2], re.MULTILINE))
    assert 0 < float(found["state"]) <= float(found["restore_peak_beside_imports"]) < 1.5 * float(found["state"])
