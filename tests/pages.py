"""Carries out a page of the documentation in a copy of the repository.

A fenced block whose first line names a file after the language is a step: a whole file to write or, in a `diff` block,
lines to replace in a file that is there. A block of `sh` is run line by line.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Step:
    """One block of a page: its language, the file that it is about (if any), and its text."""

    language: str
    path: str | None
    text: str


def steps_of(page: str) -> list[Step]:
    """Return the blocks of a page that are steps, in order."""
    found = [Step(*match.groups()) for match in BLOCK.finditer(page)]
    return [step for step in found if step.path is not None or step.language == "sh"]


def edited(text: str, diff: str) -> str:
    """Return the text with the lines that a diff shows replaced, where exactly one place in the text fits."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"{text.count(before)} places have the lines\n{before}"
    return text.replace(before, after)


def copy_of_the_repository(folder: Path) -> Path:
    """Copy what git knows of, and files that it does not know of yet but does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def carry_out(page: Path, folder: Path, timeout_s: float = 500) -> list[str]:
    """Carry out all steps of a page in a copy of the repository at `folder`; return what each command printed."""
    copy_of_the_repository(folder)
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    printed = []
    for step in steps_of(page.read_text()):
        if step.language == "sh":
            for line in step.text.splitlines():
                result = subprocess.run(
                    line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s
                )
                assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
                printed.append(result.stdout)
            continue
        assert step.path is not None
        path = folder / step.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(edited(path.read_text(), step.text) if step.language == "diff" else step.text)
    return printed
