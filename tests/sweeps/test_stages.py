"""Runs that begin with the networks of others wait for these, in the local pool and on SLURM."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conf.compose import compose
from conf.links import transfer_from
from conf.schema import RunConfig
from records import layout
from records.layout import ExitCode
from records.run_dir import RunDir
from sweeps.command import lists_parts, main
from sweeps.stages import stages

TRANSFER = ["+experiment=transfer", "size=smoke", "tracking=off", "benchmark.max_tasks=1"]


def test_a_source_is_of_an_earlier_stage_than_what_begins_with_it():
    config = compose([])

    def after(name: str) -> RunConfig:
        return dataclasses.replace(config, source=transfer_from(config, 5, name))

    runs = {Path("c"): after("b"), Path("b"): after("a"), Path("a"): config, Path("d"): after("elsewhere")}
    assert [list(stage) for stage in stages(runs)] == [[Path("a"), Path("d")], [Path("b")], [Path("c")]]


def test_an_experiment_with_parts_is_a_sweep_without_being_told():
    assert lists_parts(["+experiment=transfer"])
    assert lists_parts(["seed=1", "+experiment=paper"])
    assert not lists_parts(["+experiment=reference_spacing"])
    assert not lists_parts(["seed=1"])


def test_jobs_of_a_part_depend_on_those_of_its_source(tmp_path: Path, monkeypatch, fake_slurm: Path):
    monkeypatch.chdir(tmp_path)
    assert main([*TRANSFER, "launcher=slurm"]) == ExitCode.DONE
    paths = (fake_slurm / "submitted").read_text().splitlines()
    waits = [re.findall(r"#SBATCH --dependency=(\S+)", Path(path).read_text()) for path in paths]
    assert waits == [[], [], ["afterany:7:8"]]  # sources and scratch are six runs, and an array here has three


def test_networks_of_another_form_are_refused_before_anything_runs(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mismatch = ["-m", *TRANSFER, "benchmark=quickstart", "plan=true"]
    assert main(mismatch) == ExitCode.BAD_CONFIG  # source and new tasks are the same then
    (line,) = capsys.readouterr().err.splitlines()
    assert "the source has trained on this task" in line


@pytest.mark.slow
def test_transfer_is_one_command(tmp_path: Path):
    command = [sys.executable, "-m", "agents.run", *TRANSFER, "launcher=inline", "report=false"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == ExitCode.DONE, result.stderr
    done = [path.parent for path in tmp_path.glob(f"runs/*/*/{layout.DONE}")]
    configs = {path: RunDir(path).require_config() for path in done}
    learnt = [path for path, config in configs.items() if config is not None and config.source.kind == "transfer"]
    assert (len(done), len(learnt)) == (9, 3)
    for path in learnt:
        manifest = json.loads((path / layout.MANIFEST).read_text())
        source = Path(manifest["source"]["run_dir"])
        assert source in done
        assert manifest["source"]["identity"] == json.loads((source / layout.MANIFEST).read_text())["identity"]
