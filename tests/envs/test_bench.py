"""The benchmark of stepping compares every back end in one run."""

import re
import subprocess
import sys

import pytest

from envs.bench import main


@pytest.mark.slow
def test_every_back_end_is_timed_against_plain_stepping():
    tasks = "benchmark.tasks=[metaworld/reach,dmc/hopper-hop]"
    command = [sys.executable, "-m", "envs.bench", "benchmark=metaworld_dmc", tasks, "--steps", "20", "--rounds", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout.startswith("metaworld_dmc: 2 tasks, ")
    rows = {line.split("│")[1].strip(): line for line in result.stdout.splitlines() if line.startswith("│")}
    assert rows.keys() >= {"one after another", "process", "inline"}
    assert re.search(r"1\.00x", rows["one after another"])
    assert "a process per task: " in result.stdout


def test_an_unknown_back_end_is_one_line():
    command = [sys.executable, "-m", "envs.bench", "--backends", "threads"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == "error: --backends=threads: must be one of process, envpool, inline\n"


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--rounds", "-1"], ["--round", "1"], ["benchmark=nosuch"]])
def test_a_wrong_argument_is_one_line(capsys, arguments):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {arguments[0]}")
