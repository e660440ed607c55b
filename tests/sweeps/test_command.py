"""Every command answers a mistake with one line and a status, and options may stand in any place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from records import layout
from records.command_line import EXIT_BROKEN_PIPE, exit_status
from records.layout import ExitCode
from sweeps.cancel import main as cancel
from sweeps.command import main, parse
from sweeps.logs import main as logs
from sweeps.plan.__main__ import main as plan
from sweeps.search.command import main as search
from sweeps.slurm.job import main as job
from sweeps.status.__main__ import main as status
from sweeps.sync import main as sync


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "--run-dir", "here", "seed=1"],
        ["seed=1", "--run-dir", "here", "-m"],
        ["--run-dir=here", "seed=1", "--multirun"],
    ],
)
def test_options_may_stand_before_between_and_after_overrides(arguments: list[str]):
    options = parse(arguments)
    assert (options.run_dir, options.overrides, options.multirun) == ([Path("here")], ["seed=1"], True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cfgs"], "--cfgs: no such option; usage: python -m agents.run"),
        (["seed=1", "--run"], "--run: no such option"),
        (["--run-dir"], "--run-dir: expected one argument"),
        (["seed=1", "--run-dir", "here"], "--run-dir: directories alone"),
        (["--run-dir", "here", "--cfg"], "--run-dir: directories alone"),
        (["--run-dir", "here"], "--run-dir here: no run to continue"),
    ],
)
def test_mistaken_options_end_in_one_line(tmp_path: Path, monkeypatch, capsys, arguments: list[str], expected: str):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {expected}")


@pytest.mark.parametrize("command", [cancel, logs, main, plan, search, status, sync])
def test_every_command_refuses_an_unknown_option_in_one_line(tmp_path: Path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert command(["--nonsense", "one"]) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --nonsense: no such option; usage: python -m ")


def test_errors_of_the_system_are_one_line_that_names_the_file(capsys):
    def body() -> int:
        raise PermissionError(13, "Permission denied", "runs/DONE")

    assert exit_status(body) == ExitCode.FAILED
    assert capsys.readouterr().err == "error: runs/DONE: Permission denied\n"


def test_too_little_memory_is_one_line(capsys):
    def body() -> int:
        raise MemoryError("Unable to allocate 745. GiB")

    assert exit_status(body) == ExitCode.FAILED
    assert capsys.readouterr().err == "error: there is too little memory: Unable to allocate 745. GiB\n"


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        (status, ["--runs", "/"], "no runs in / yet"),
        (status, ["--runs", "/dev/null"], "no runs in /dev/null yet"),
        (job, [], "error: the following arguments are required: SUBMISSION, INDEX"),
        (job, ["nothing", "0"], "error: nothing: no submission here that has a job 0"),
        (job, ["nothing", "-1"], "error: "),
        (search, ["nothing"], "error: runs: no sweeps here"),
    ],
)
def test_odd_arguments_are_answered_in_one_line(tmp_path: Path, monkeypatch, capsys, command, arguments, expected):
    monkeypatch.chdir(tmp_path)
    command(arguments)
    said = capsys.readouterr()
    (line,) = (said.out + said.err).splitlines()
    assert line.startswith(expected)


@pytest.mark.parametrize("module", ["agents.run", "sweeps.plan", "sweeps.status"])
def test_output_that_nobody_reads_ends_a_command_without_a_word(module: str):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as output:
        result = subprocess.run(
            [sys.executable, "-m", module, "--help"], stdout=output, stderr=subprocess.PIPE, timeout=60
        )
    assert (result.returncode, result.stderr) == (EXIT_BROKEN_PIPE, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed_keep_no_command_from_its_work(tmp_path: Path, closed: str):
    run_dir = tmp_path / "runs" / "quickstart" / "brc-s0"
    run_dir.mkdir(parents=True)
    (run_dir / layout.CONFIG).write_text('{"train": {"env_steps": 500}}')
    command = [sys.executable, "-m", "sweeps.status"]
    result = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert (b"1 new" in result.stdout) == (">&- 2" not in closed and closed != ">&-")


def test_command_in_a_folder_that_is_gone_says_so(tmp_path: Path):
    command = [sys.executable, "-m", "sweeps.status"]
    script = 'rmdir "$PWD"; exec "$@"'
    (tmp_path / "gone").mkdir()
    result = subprocess.run(
        ["sh", "-c", script, "sh", *command], cwd=tmp_path / "gone", capture_output=True, text=True, timeout=60
    )
    assert result.returncode == ExitCode.FAILED
    assert result.stderr == "error: the folder of the command: No such file or directory\n"


def test_full_device_is_said():
    with Path("/dev/full").open("w") as output:
        command = [sys.executable, "-m", "sweeps.plan", "--help"]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == ExitCode.FAILED
    assert result.stderr == "error: reading or writing: No space left on device\n"
