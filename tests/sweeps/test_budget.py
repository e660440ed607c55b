"""A sweep's budget in GPU-hours refuses a plan of more, and lets no run begin once the hours are used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conf import identity
from conf.compose import compose_many, resolve_paths
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from records.run_dir import RunDir
from records.run_record import write_config, write_manifest
from records.sweep import Member, join_sweep, write_sweep
from sweeps import budget
from sweeps.command import main
from sweeps.launch import launch
from sweeps.search.trials import Worker
from sweeps.status import inspect
from sweeps.status.__main__ import main as status
from tests.sweeps.test_search import QUICK, TAU, fake_runs, opened, starts  # noqa: F401

SLURM = ["launcher=slurm", "tracking=off"]


def used(run_dir: Path, config, hours: float, device: str) -> None:
    """Have a run's record say that its loop took so long on such a device."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_config(run_dir, config)
    write_manifest(run_dir, config, [], {}, device, "flock", {})
    phases = {"time/environment_s": 10**6, "time/act_s": 1800 * hours, "time/evaluation_s": 1800 * hours}
    for steps in (100, 200):
        for name, seconds in phases.items():
            row = {"env_steps": steps, "update_steps": 0, "name": name, "task": None, "value": seconds * steps / 200}
            with (run_dir / layout.TIMING).open("a") as file:
                file.write(json.dumps(row) + "\n")


def swept(folder: Path, *overrides: str) -> list:
    """The configurations of a sweep of two runs whose record is written."""
    configs = [resolve_paths(one.config, folder) for one in compose_many([*SLURM, "seed=0,1", *overrides])]
    members = [Member(identity.run_dir(config), config.train.env_steps, {}) for config in configs]
    write_sweep(folder / "runs" / layout.SWEEPS / "mine.json", members, {})
    for member in members:
        join_sweep(member.run_dir, "mine")
    return configs


@pytest.mark.parametrize(
    ("device", "packed", "hours"), [("2 x NVIDIA H200", 1, 6.0), ("1 x NVIDIA H200", 4, 0.75), ("8 x cpu", 1, 0.0)]
)
def test_run_has_used_its_recorded_time_times_its_part_of_the_gpus(
    tmp_path: Path, device: str, packed: int, hours: float
):
    (config, _) = swept(tmp_path, f"launcher.runs_per_gpu={packed}")
    used(identity.run_dir(config), config, 3, device)
    assert budget.used_by(identity.run_dir(config)) == pytest.approx(hours)
    assert budget.used_by(tmp_path) == 0


@pytest.mark.parametrize(
    ("flag", "value", "count"),
    [
        ("gpus_per_node", 2, 2),
        ("gpus", "a100:4", 4),
        ("gpus_per_node", "a100", 1),
        ("gres", "gpu:a100:2,shard:8", 2),
        ("gres", "gpu", 1),
        ("gres", "license:3", 0),
        ("gpus_per_node", None, 0),
    ],
)
def test_flag_of_sbatch_asks_for_so_many_gpus(flag: str, value: object, count: int):
    assert budget.count_of(flag, value) == count


def test_plan_of_more_is_refused_with_both_numbers_and_nothing_is_submitted(
    tmp_path: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    members = compose_many([*SLURM, "seed=0,1", "launcher.max_gpu_hours=0.001"])
    with pytest.raises(ConfigError, match=r"max_gpu_hours=0.001: the plan needs roughly 0\.\d+ GPU-hours; raise"):
        launch(members)
    assert not (fake_slurm / "submitted").exists()
    configs = swept(tmp_path)
    used(identity.run_dir(configs[0]), configs[0], 30, "1 x NVIDIA H200")
    with pytest.raises(ConfigError, match=r"=20: the plan needs .*, besides 30\.00 that its runs have used"):
        launch(compose_many([*SLURM, "seed=0,1", "launcher.max_gpu_hours=20"]))
    assert not (fake_slurm / "submitted").exists()
    assert launch(compose_many([*SLURM, "seed=0,1", "launcher.max_gpu_hours=100"])) == ExitCode.DONE
    assert (fake_slurm / "submitted").exists()


def test_few_hours_are_shown_as_more_than_none():
    assert [budget.in_words(hours) for hours in (0, 0.0042, 0.31, 1234.5)] == ["0.00", "0.0042", "0.31", "1,234.50"]


def test_run_of_a_sweep_whose_hours_are_used_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    began = []
    monkeypatch.setattr("agents.training.execute.execute", lambda config: began.append(config) or ExitCode.DONE)
    first, second = swept(tmp_path, "launcher.max_gpu_hours=2")
    used(identity.run_dir(first), first, 1, "1 x NVIDIA H200")
    write_config(identity.run_dir(second), second)
    assert main(["--run-dir", str(identity.run_dir(second))]) == ExitCode.DONE
    used(identity.run_dir(first), first, 3, "1 x NVIDIA H200")
    assert main(["--run-dir", str(identity.run_dir(second))]) == ExitCode.INTERRUPTED
    assert len(began) == 1
    reason = "launcher.max_gpu_hours=2: 3.00 GPU-hours are used; with a larger one the command goes on"
    assert capsys.readouterr().err == f"not begun: {reason}\n"
    state = inspect(identity.run_dir(second), second.train.env_steps, {})
    assert (state.name, state.reason) == ("interrupted", reason)
    assert status([]) == ExitCode.DONE
    assert f"not begun: {reason}" in capsys.readouterr().out
    assert RunDir(identity.run_dir(second)).status().pid


@pytest.mark.usefixtures("fake_runs")
def test_search_begins_nothing_when_its_hours_are_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "used_by", lambda run_dir: 0.6 * (run_dir / layout.DONE).exists())
    settings = [TAU, "sweep.search.trials=9", "sweep.search.pruner=off", "launcher.max_gpu_hours=1"]
    made, study = opened(*settings)
    worker = Worker(made, study, 1, new_session=True, intervals=QUICK)
    assert not worker.run(wait=True)
    assert worker.spent.startswith("launcher.max_gpu_hours=1: 1.20 GPU-hours are used")
    assert len(starts(Path.cwd())) == 2
