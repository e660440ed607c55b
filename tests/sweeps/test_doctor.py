"""The doctor says in a line each what works, and nothing that hangs or dies spoils more than its own line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from records.layout import ExitCode
from sweeps import doctor, filesystem
from sweeps.doctor import Finding, Question, finding_of, processor_finding
from sweeps.filesystem import FileSystemError
from tests.commands import wait_until


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('echo noise; echo \'{"verdict": "ok", "text": "fine"}\'', Finding("ok", "fine")),
        ("kill -SEGV $$", "the check was ended by SIGSEGV"),
        ("echo boom >&2; exit 3", "the check failed: boom"),
        ("echo 'postgresql://me:secret@host/db is away' >&2; exit 3", "postgresql://me:***@host/db is away"),
        ("exit 3", "the check failed: status 3"),
        ("echo 7", "the check failed: status 0"),
    ],
)
def test_check_that_fails_in_any_way_is_one_line(script: str, expected: Finding | str):
    found = finding_of(["sh", "-c", script], 30, essential=False)
    if isinstance(expected, Finding):
        assert found == expected
    else:
        assert (found.verdict, expected in found.text) == ("note", True), found
        assert finding_of(["sh", "-c", script], 30, essential=True).verdict == "wrong"


def test_check_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path):
    script = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    begun = time.monotonic()
    found = finding_of(["sh", "-c", script], 0.5, essential=True)
    assert time.monotonic() - begun < 20
    assert found == Finding("wrong", "no answer in 0.5 s", found.advice)
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not lives(child), 10, "the end of what the check started")


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_folder_that_keeps_what_is_written_passes_and_is_left_as_it_was(tmp_path: Path):
    with filesystem.scratch(tmp_path / "runs" / "of" / "mine") as folder:
        assert filesystem.examine(folder) == "flock"
    assert list(tmp_path.iterdir()) == []


def test_folder_without_flock_passes_with_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refuse_flock(tmp_path / "patched", monkeypatch, errno.ENOLCK)
    assert doctor.find_file_system(Question(tmp_path, "", None)).verdict == "ok"
    assert "lease files" in doctor.find_file_system(Question(tmp_path, "", None)).text


def refuse_flock(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have flock fail with an error number, in this process and in those that it starts."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    error = f"OSError({number}, 'refused')"
    patch_children(folder, monkeypatch, f"import fcntl\ndef refuse(*_): raise {error}\nfcntl.flock = refuse\n")


def patch_children(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have every Python process that is started from now on execute `text` first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path(__file__).parents[2]}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "import fcntl, os\nfcntl.flock, open_ = lambda *_: None, os.open\n"
            "os.open = lambda path, flags, *mode, **kw: "
            "open_(path, flags & ~os.O_EXCL if str(path).endswith('.lease') else flags, *mode, **kw)\n",
            "locks do not exclude: 4 processes added 40, of which",
        ),
        (
            "import os\nopen_ = os.open\nos.open = lambda path, flags, *mode, **kw: "
            "open_(path, flags & ~os.O_EXCL, *mode, **kw)\n",
            "exclusive creation gives one file to two processes",
        ),
        ("import os\ndef fsync(_): raise OSError(22, 'Invalid argument')\nos.fsync = fsync\n", "Invalid argument"),
    ],
    ids=["locks", "exclusive", "fsync"],
)
def test_file_system_on_which_processes_disturb_each_other_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
):
    patch_children(tmp_path / "patched", monkeypatch, text)
    with filesystem.scratch(tmp_path) as folder, pytest.raises(FileSystemError, match=expected):
        filesystem.examine(folder)


def test_folder_that_cannot_be_written_is_wrong_and_says_what_to_do(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("files", "processor")})
    assert doctor.main(["/proc/runs"]) == ExitCode.FAILED
    files, processor = capsys.readouterr().out.splitlines()
    assert files.startswith("wrong  file system        /proc/runs: ")
    assert "paths.runs" in files
    assert processor.startswith(("ok ", "note "))


def test_machine_on_which_runs_work_has_status_0(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("files", "slurm")})
    assert doctor.main([str(tmp_path)]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", lines[1].split()[0]]
    assert lines[1].split()[1] == "SLURM"


@pytest.mark.slow
def test_every_check_answers_on_this_machine(tmp_path: Path, capsys):
    assert doctor.main([str(tmp_path)]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line[7:].split("  ")[0] for line in lines] == [check.title for check in doctor.CHECKS.values()]
    assert all(line.startswith(("ok ", "note ")) for line in lines)


@pytest.mark.parametrize(
    ("flags", "verdict", "expected"),
    [
        ("flags\t\t: fpu sse2 avx avx2 fma", "ok", "AVX2 and FMA"),
        ("flags\t\t: fpu sse2 avx", "note", "no AVX2 and no FMA"),
        ("flags\t\t: fpu sse2", "wrong", "no AVX"),
        ("Features\t: fp asimd", "ok", "a processor"),
    ],
)
def test_processor_is_judged_by_the_features_that_compiled_libraries_use(flags: str, verdict: str, expected: str):
    found = processor_finding("a processor", ["processor\t: 0", flags])
    assert found.verdict == verdict
    assert expected in found.text


def test_slurm_is_asked_and_orders_that_are_set_aside_are_named(fake_slurm: Path, monkeypatch: pytest.MonkeyPatch):
    question = Question(fake_slurm, "", None)
    (fake_slurm / "queue").write_text("7_0|RUNNING\n")
    monkeypatch.setenv("SBATCH_PARTITION", "debug")
    found = doctor.find_slurm(question)
    assert found.verdict == "ok"
    assert "1 jobs of yours" in found.text
    assert "SBATCH_PARTITION=debug" in found.text
    (fake_slurm / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert "squeue does not" in doctor.find_slurm(question).text


def test_slurm_with_a_command_missing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.find_slurm(Question(tmp_path, "", None))
    assert (found.verdict, found.text) == ("note", "scontrol and squeue missing")


def test_database_is_said_to_be_possible_and_none_is_left(tmp_path: Path):
    found = doctor.find_mlflow(Question(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", None))
    assert found.verdict == "ok"
    assert list(tmp_path.iterdir()) == []


def test_server_that_is_away_is_noted_with_what_runs_do_meanwhile(tmp_path: Path):
    found = doctor.find_mlflow(Question(tmp_path, "http://127.0.0.1:1", None))
    assert found.verdict == "note"
    assert "no server answers at http://127.0.0.1:1" in found.text
    assert "runs go on" in found.advice


def test_password_is_refused_and_not_repeated(tmp_path: Path, capsys):
    assert doctor.main([str(tmp_path), "--uri", "http://me:secret@host"]) == ExitCode.BAD_CONFIG
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "secret" not in captured.err


def test_doctor_starts_without_jax():
    code = "import sys, sweeps.doctor, sweeps.filesystem; print('jax' in sys.modules, 'mlflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == ["False", "False"]
