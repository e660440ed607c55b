"""What commands print with `--json` is one object that the schema describes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

from agents.evaluation import evaluation_record
from agents.training.evaluate import Evaluation
from analysis.compare import main as compare_main
from conf import identity
from conf.compose import compose
from envs import registry
from records import layout
from records.layout import ExitCode
from records.output import SCHEMA, plain, print_json
from records.sweep import Member, write_sweep
from sweeps.clean import main as clean_main
from sweeps.command import main as run_main
from sweeps.plan.__main__ import main as plan_main
from sweeps.search import command as search_command
from sweeps.search import study as optuna_study
from sweeps.status.__main__ import main as status_main
from tests.analysis.conftest import runs, write_run  # noqa: F401
from tests.sweeps.conftest import fake_slurm  # noqa: F401
from tests.sweeps.test_clean import make
from tests.sweeps.test_search import TAU, opened

schema = json.loads(SCHEMA.read_text())


def printed(capsys: pytest.CaptureFixture) -> dict[str, Any]:
    """The one object on standard output."""
    value = json.loads(capsys.readouterr().out)
    jsonschema.validate(value, schema)
    return value


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_schema_is_one_itself_and_refuses_what_it_does_not_name():
    jsonschema.Draft202012Validator.check_schema(schema)
    for value in ({}, {"format": 1, "command": "status"}, {"format": 1, "command": "other"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)


def test_what_json_lacks_is_null_or_text():
    assert plain({"a": [math.nan, math.inf, 1.5], 2: Path("runs")}) == {"a": [None, None, 1.5], "2": "runs"}


def test_plan_of_a_sweep_and_of_a_search(capsys: pytest.CaptureFixture):
    assert plan_main(["seed=0,1", "tracking=off", "launcher=local", "--json"]) == ExitCode.DONE
    found = printed(capsys)
    assert found["totals"]["runs"] == found["totals"]["pending"] == 2
    assert [run["varied"] for run in found["runs"]] == [{"seed": "0"}, {"seed": "1"}]
    assert plan_main(["+sweep=search", "launcher=local", "sweep.search.seeds=2", "--json"]) == ExitCode.DONE
    found = printed(capsys)
    assert (found["search"]["seeds"], found["runs"]) == (2, [])
    assert run_main(["-m", "seed=0,1", "--json"]) == ExitCode.BAD_CONFIG
    assert capsys.readouterr().err == "error: --json: is the form of a plan; add plan=true\n"


def test_status_of_a_sweep_and_of_a_folder(folder: Path, capsys: pytest.CaptureFixture):
    members = [Member(folder / "runs" / "quickstart" / f"brc-s{seed}", 10, {"seed": str(seed)}) for seed in range(3)]
    for member in members:
        member.run_dir.mkdir(parents=True)
    done = {"env_steps": 10, "score": 0.5, "evaluation": [], "divergences": {"dmc/dog-run": 3}}
    (members[0].run_dir / layout.DONE).write_text(json.dumps(done))
    (members[1].run_dir / layout.STATUS).write_text(json.dumps({"state": "failed", "time": 1.0, "reason": "boom"}))
    assert status_main(["--json"]) == ExitCode.DONE
    found = printed(capsys)
    assert (found["sweep"], found["runs"]) == (None, [])
    write_sweep(folder / "runs" / layout.SWEEPS / "mine.json", members, {})
    assert status_main(["--json"]) == ExitCode.DONE
    found = printed(capsys)
    assert found["counts"] == {"done": 1, "failed": 1, "new": 1}
    assert [run["reason"] for run in found["runs"]] == ["", "boom", ""]
    assert found["runs"][0]["score"] == 0.5
    assert status_main(["--json", "--watch"]) == ExitCode.BAD_CONFIG
    assert "--json: says where the runs stand once" in capsys.readouterr().err


def test_comparison(folder: Path, runs: Path, write_run, capsys: pytest.CaptureFixture):  # noqa: F811
    for name, shift in (("a", 0.0), ("b", 0.2)):
        for seed in range(3):
            write_run(
                {0: [0, 0], 500: [0.4 + shift + seed / 50, 0.5 + shift + seed / 50]}, seed=seed, name=f"{name}{seed}"
            )
        runs.rename(runs.parent / name)
    sets = [str(runs.parent / "a"), str(runs.parent / "b")]
    assert compare_main([*sets, "--json", "--replicates", "50", "--figure", str(folder / "compare.png")]) == 1
    found = printed(capsys)
    assert found["verdict"] == "better"
    assert found["benchmarks"][0]["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("episodes", [1, 3])
def test_evaluation(folder: Path, capsys: pytest.CaptureFixture, episodes: int):
    config = compose(["benchmark.tasks=[cartpole-balance]"])
    specs = registry.specs(config.benchmark.task_ids, config.env)
    shape = (1, episodes)
    played = Evaluation(np.full(shape, 500.0), np.zeros(shape, bool), np.full(shape, 1000), np.zeros(1, int), {})
    policy = SimpleNamespace(run_dir=folder / "runs", config=config, env_steps=100)
    record = evaluation_record(policy, config, specs, played)
    print_json("evaluate", record | {"folder": folder})
    found = printed(capsys)
    assert (found["score"], found["tasks"][0]["return"]["mean"]) == (0.5, 500.0)


def test_what_runs_take_and_what_of_it_goes(folder: Path, capsys: pytest.CaptureFixture):
    run_dir = make(folder)
    for option, removed in (("--dry-run", False), ("--yes", True)):
        assert clean_main(["--replay", option, "--json"]) == ExitCode.DONE
        found = printed(capsys)
        assert [run["run_dir"] for run in found["runs"]] == [str(run_dir)]
        assert {one["removed"] for one in found["removals"]} == {removed}
        assert {one["kind"] for one in found["removals"]} == {"checkpoints", "replay"}
    assert clean_main(["--json"]) == ExitCode.BAD_CONFIG
    assert capsys.readouterr().err == "error: --json: nobody is asked; add --dry-run or --yes\n"


def test_search(folder: Path, capsys: pytest.CaptureFixture):
    made, study = opened(TAU, "sweep.search.seeds=2", "sweep.search.confirm=2")
    trial = study.ask()
    params = {"agent.tau": optuna_study.suggest(trial, "agent.tau", made.space["agent.tau"])}
    optuna_study.add_members(made, [member for member, _ in optuna_study.members_of(made, 0, params)])
    study.tell(trial, 0.5)
    study.ask()
    assert search_command.main([made.id, "--show", "--json"]) == ExitCode.DONE
    found = printed(capsys)
    assert [one["state"] for one in found["trials"]] == ["complete", "running"]
    assert found["trials"][0]["run_dirs"] == [str(identity.run_dir(config)) for config in made.runs(params)]
    assert found["best"]["trial"] == 0
    assert search_command.main([made.id, "--json"]) == ExitCode.BAD_CONFIG
    assert "add --show" in capsys.readouterr().err
