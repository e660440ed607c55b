"""A deciding sweep starts the runs that matter, each once, whatever happens to the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode, RunOutcome
from records.output import SCHEMA
from records.run_record import write_status
from records.sweep import Sweep, find_sweep
from sweeps.code import Code
from sweeps.command import composed, main
from sweeps.decide.command import check
from sweeps.decide.standing import lines, standing
from sweeps.plan.plan import Planned
from sweeps.slurm.job import end_job
from sweeps.status.__main__ import main as status
from tests.commands import living, wait_until

DECIDE = ["-m", "+sweep=decide", "tracking=off", "train.env_steps=200", "launcher.backoff_s=0"]
LOCAL = [*DECIDE, "launcher=local", "launcher.max_parallel=6"]
TAUS = "agent.tau=0.01,0.012"


class Runs:
    """Runs that end at once with a score that follows from agent.tau; those of three bins fail."""

    def __init__(self) -> None:
        self.started: list[Path] = []
        self.at_most = 10**9

    def carry_out(self, pending: Sequence[Planned], inline: bool, code: Code | None) -> tuple[dict[Path, int], bool]:
        """Stands for `sweeps.launch.carry_out`; is told to stop after `at_most` runs."""
        ended: dict[Path, int] = {}
        for one in pending[: self.at_most]:
            self.started.append(one.run_dir)
            if one.config.agent.num_bins == 3:  # type: ignore[union-attr]
                write_status(one.run_dir, RunOutcome.FAILED, reason="three bins are too few")
                ended[one.run_dir] = ExitCode.FAILED
            else:
                finish(one.run_dir, one.config.agent.tau)
                ended[one.run_dir] = ExitCode.DONE
        return ended, len(pending) > self.at_most


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The runs of commands that are given in an empty folder."""
    monkeypatch.chdir(tmp_path)
    found = Runs()
    monkeypatch.setattr("sweeps.decide.command.carry_out", found.carry_out)
    return found


def sweep() -> Sweep:
    return find_sweep(Path("runs"), None)


def finish(run_dir: Path, score: float) -> None:
    """Give a run its end."""
    rows = [
        {"env_steps": 200, "update_steps": 0, "name": "eval/score", "task": task, "value": score}
        for task in ("dmc/a", None)
    ]
    (run_dir / layout.DONE).write_text(json.dumps({"env_steps": 200, "score": score, "evaluation": rows}))


def test_variants_that_differ_are_told_apart_with_the_fewest_seeds_and_the_verdict_is_kept(runs: Runs, capsys):
    assert main([*LOCAL, TAUS, "sweep.decide.max_seeds=12"]) == ExitCode.DONE
    assert len(runs.started) == len(set(runs.started)) == 12  # six seeds of each of two, of twelve
    assert "agent.tau=0.012 is better" in capsys.readouterr().out
    record = json.loads(sweep().path.read_text())
    assert [one["seeds"] for one in record["verdict"]["variants"]] == [6, 6]
    assert record["verdict"]["comparisons"][0]["better"] == "agent.tau=0.012"
    assert main([*LOCAL, TAUS, "sweep.decide.max_seeds=12"]) == ExitCode.DONE
    assert len(runs.started) == 12


def test_a_command_that_is_told_to_stop_is_continued_by_the_same_command(runs: Runs, capsys):
    runs.at_most = 2
    assert main([*LOCAL, TAUS]) == ExitCode.INTERRUPTED
    assert "decision goes on" in capsys.readouterr().out
    assert status(["--json"]) == ExitCode.DONE
    assert printed(capsys)["over"] is False
    runs.at_most = 10
    assert main([*LOCAL, TAUS]) == ExitCode.DONE
    assert len(runs.started) == len(set(runs.started)) == 12
    capsys.readouterr()
    assert status([]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "leads: agent.tau=0.012" in shown
    assert "decision over: 12 runs, of 30 at most" in shown
    assert status(["--json"]) == ExitCode.DONE
    verdict = printed(capsys)
    assert (verdict["over"], verdict["leader"]) == (True, "agent.tau=0.012")
    assert {key: verdict[key] for key in ("variants", "comparisons")} == json.loads(sweep().path.read_text())["verdict"]


def printed(capsys: pytest.CaptureFixture) -> dict[str, Any]:
    """The verdict that `sweeps.status --json` has printed, as the schema describes it."""
    value = json.loads(capsys.readouterr().out)
    jsonschema.validate(value, json.loads(SCHEMA.read_text()))
    return value["verdict"]


def test_a_failed_run_is_shown_and_holds_up_its_variant_alone(runs: Runs, capsys):
    bins = "agent.num_bins=3,51"
    assert main([*LOCAL, bins]) == ExitCode.FAILED
    said = capsys.readouterr().out
    assert "held up by a failed run" in said
    assert "three bins are too few" in said
    assert len(runs.started) == 6
    assert main([*LOCAL, bins, "sweep.decide.failed_score=-1"]) == ExitCode.DONE
    assert "agent.num_bins=51 is better" in capsys.readouterr().out


def test_the_plan_says_what_a_decision_takes_at_least_and_at_most(runs: Runs, capsys):
    assert main([*LOCAL, TAUS, "plan=true"]) == ExitCode.DONE
    said = capsys.readouterr().out
    assert "a decision of 2 variants: at least 12 runs" in said
    assert "at most 30 runs (15 seeds each)" in said
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ([TAUS, "seed=0,1"], "seed: a deciding sweep adds seeds itself"),
        ([], "two variants or more"),
        ([TAUS, "sweep.decide.max_seeds=3"], "max_seeds=3: so few seeds cannot tell 2 variants apart"),
        (["benchmark.tasks=each"], "different tasks"),
    ],
)
def test_what_cannot_be_decided_is_refused(overrides, problem):
    members = composed([*DECIDE[1:], *overrides], multirun=True)
    with pytest.raises(ConfigError, match=problem):
        check(members, members[0].config.sweep.decide)


def test_on_slurm_the_last_job_of_a_round_submits_the_next(runs: Runs, fake_slurm: Path, capsys):
    command = [*DECIDE, "launcher=slurm", "launcher.runs_per_gpu=6", TAUS]
    assert main(command) == ExitCode.DONE
    first = sweep().members
    assert len(first) == 6
    for one in first[1:]:
        finish(one.run_dir, float(one.varied["agent.tau"]))
    end_job(sweep().path)
    assert len(sweep().members) == 6  # one is out
    finish(first[0].run_dir, 0.01)
    end_job(sweep().path)
    end_job(sweep().path)  # of another job, at the same time
    submitted = (fake_slurm / "submitted").read_text().splitlines()
    assert (len(sweep().members), len(submitted)) == (12, 2)
    for one in sweep().members:
        finish(one.run_dir, float(one.varied["agent.tau"]))
    end_job(sweep().path)
    record = json.loads(sweep().path.read_text())
    assert record["verdict"]["comparisons"][0]["better"] == "agent.tau=0.012"
    capsys.readouterr()
    assert main(command) == ExitCode.DONE
    assert "agent.tau=0.012 is better" in capsys.readouterr().out
    assert len((fake_slurm / "submitted").read_text().splitlines()) == 2


def test_a_standing_does_not_depend_on_the_order_in_which_runs_ended(runs: Runs):
    assert main([*LOCAL, TAUS]) == ExitCode.DONE
    whole = sweep()
    turned = Sweep(whole.path, whole.members[::-1], {}, [], whole.owner, decide=whole.decide)
    mine, theirs = standing(whole, set()), standing(turned, set())
    assert [one.state for one in mine.verdict.comparisons] == [one.state for one in theirs.verdict.comparisons]
    assert (mine.scores == theirs.scores[::-1])[:, :6].all()
    assert lines(mine)[0] == lines(theirs)[0]


DRIVER = """
import sys
from sweeps import pool
from sweeps.command import main
pool.run_command = lambda run_dir: [sys.executable, "-m", "tests.sweeps.fake_run", str(run_dir), "0.5"]
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_command_that_is_killed_is_continued_and_no_run_is_executed_twice(tmp_path: Path):
    command = [sys.executable, "-c", DRIVER, *LOCAL, "agent.tau=0.01,0.5", "launcher.max_parallel=2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with living(*command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(list(tmp_path.glob(f"runs/*/*/{layout.DONE}"))) >= 3, 60, "three runs that are done")
        process.kill()
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == ExitCode.DONE, result.stdout + result.stderr
    assert "agent.tau=0.01 is better" in result.stdout
    members = find_sweep(tmp_path / "runs", None).members
    assert [len((one.run_dir / "starts").read_text().splitlines()) for one in members] == [1] * 12
