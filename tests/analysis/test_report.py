from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.report import main
from records import layout
from records.layout import ExitCode


def report(runs: Path, out: Path, *options: str) -> int:
    return main([str(runs), "--out", str(out), "--replicates", "20", *options])


def test_report_writes_each_figure_with_its_table(runs: Path, tmp_path: Path, write_run, capsys: pytest.CaptureFixture):
    for seed in range(2):
        for width in (64, 128):
            write_run({0: [0.1, 0.2], 500: [0.3 + seed / 10, 0.4]}, seed=seed, width=width)
    assert report(runs, tmp_path / "out") == 0
    figures = (
        "learning_curves",
        "aggregate",
        "final",
        "profile",
        "improvement",
        "efficiency",
        "differences",
        "scaling",
        "scaling_compute",
    )
    names = [f"{name}.{kind}" for name in figures for kind in ("png", "pdf", "csv", "tex")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*names, "index.html", "runs.csv", "claims.csv"]
    )
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / "index.html")]
    assert (tmp_path / "out" / "aggregate.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(tmp_path / "out" / "aggregate.csv")["variant"].tolist() == ["brc w64"] * 2 + ["brc w128"] * 2


@pytest.mark.slow
def test_report_is_the_same_every_time(runs: Path, tmp_path: Path, write_run):
    for seed in range(3):
        write_run({0: [0.1 * seed, 0.2], 500: [0.3 + seed / 10, 0.4 * seed]}, seed=seed)
    report(runs, tmp_path / "out")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    report(runs, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir() if path.read_bytes() != first[path.name]} == set()


def test_each_of_several_benchmarks_has_its_own_files(runs: Path, tmp_path: Path, write_run):
    write_run({0: [0.1, 0.2]}, benchmark="easy")
    write_run({0: [0.1, 0.2]}, benchmark="hard")
    report(runs, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert {"aggregate-easy.png", "aggregate-hard.png", "learning_curves-easy.png", "overall.png"} <= names
    assert "aggregate.png" not in names


def test_report_names_what_it_left_out(runs: Path, tmp_path: Path, write_run, capsys: pytest.CaptureFixture):
    write_run({0: [0.1, 0.2]})
    (write_run({}, seed=1, name="started") / layout.METRICS).unlink()
    assert report(runs, tmp_path / "out") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:] == [
        "left out, or to be known:",
        "  started: no metrics.jsonl",
        "  toy: no scaling figure: fewer than two critic sizes to compare",
    ]


def test_bad_input_is_one_line_and_status_2(tmp_path: Path, runs: Path, write_run, capsys: pytest.CaptureFixture):
    assert report(tmp_path / "missing", tmp_path / "out") == ExitCode.BAD_CONFIG
    write_run({0: [0.1, 0.2]})
    (tmp_path / "file").touch()
    assert report(runs, tmp_path / "file") == ExitCode.BAD_CONFIG
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 2
    assert "no such folder" in lines[0]
    assert "exists" in lines[1]
    assert not (tmp_path / "out").exists()


def test_a_date_that_matplotlib_would_fail_at_is_refused(tmp_path: Path, runs: Path, write_run, capsys, monkeypatch):
    write_run({0: [0.1, 0.2]})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "x")
    assert report(runs, tmp_path / "out") == ExitCode.BAD_CONFIG
    assert (
        capsys.readouterr().err
        == "error: SOURCE_DATE_EPOCH=x: must be a whole number of seconds since 1970, or unset\n"
    )


@pytest.mark.slow
def test_a_name_is_drawn_letter_by_letter(tmp_path: Path):
    rows = [f"dmc_hard,multitask,dog $\\frac{{1$ τ,{seed},1,{100 * seed}" for seed in range(2)]
    curves = tmp_path / "curves.csv"
    curves.write_text("\n".join(["benchmark,mode,task,seed,eval_index,score", *rows]), encoding="utf-8")
    assert report(curves, tmp_path / "out") == ExitCode.DONE
    assert "dog $\\frac{1$ τ" in (tmp_path / "out" / "learning_curves.csv").read_text(encoding="utf-8")


def test_a_path_that_the_terminal_cannot_show_is_escaped(tmp_path: Path, runs: Path, write_run, monkeypatch):
    write_run({0: [0.1, 0.2]})
    with (tmp_path / "printed").open("w", encoding="ascii") as printed:
        monkeypatch.setattr(sys, "stdout", printed)
        assert report(runs, tmp_path / "τ") == ExitCode.DONE
    assert (tmp_path / "printed").read_text().startswith(f"{tmp_path}/\\u03c4/index.html\n")


def test_help_loads_no_plotting_library(tmp_path: Path):
    code = (
        "import sys; from analysis import report\n"
        "try: report.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'pandas', 'seaborn', 'matplotlib', 'numpy', 'jax'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--replicates" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"
