"""The examples run as they are written, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # `python` is this one

pytestmark = pytest.mark.slow


def example(folder: Path, *command: str) -> str:
    result = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_training_from_python_prints_the_returns_of_each_evaluation(tmp_path: Path):
    printed = example(tmp_path, sys.executable, str(EXAMPLES / "train_in_python.py"))
    rows = [line.split()[0] for line in printed.splitlines()[-3:]]
    assert rows == ["0", "500", "1000"]
    drawn = example(tmp_path, sys.executable, str(EXAMPLES / "own_figure.py"), "runs/", "curve.png")
    assert drawn.splitlines()[-1] == "curve.png"
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_two_settings_are_trained_reported_and_compared(tmp_path: Path):
    printed = example(tmp_path, "bash", str(EXAMPLES / "compare_two_settings.sh"))
    assert printed.splitlines()[-1] in ("exit status 0", "exit status 1")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "agent.discount" in page


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path):
    notebook = nbformat.read(EXAMPLES / "results.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert "image/png" in kinds
    assert "text/html" in kinds  # the table
