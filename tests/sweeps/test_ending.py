"""What happens at the end of a sweep, and what waits for the end."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from records import layout
from records.layout import ExitCode, RunOutcome
from records.lock import lock
from records.run_record import write_status
from records.sweep import Sweep, find_sweep
from sweeps.after import wait_for_other
from sweeps.command import main
from sweeps.plan.plan import Planned
from sweeps.slurm.job import end_job
from sweeps.slurm.submission import submissions

RUNS = ["-m", "tracking=off", "train.env_steps=200"]
LOCAL = [*RUNS, "launcher=local", "seed=0,1"]
SLURM = [*RUNS, "launcher=slurm"]


def sweep(name: str | None = None) -> Sweep:
    return find_sweep(Path("runs"), name)


def finish(run_dir: Path, score: float = 0.5) -> None:
    """Give a run its end."""
    (run_dir / layout.DONE).write_text(json.dumps({"env_steps": 200, "score": score, "evaluation": []}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to launch from, in which local runs end at once; those of seed 1 fail."""
    monkeypatch.chdir(tmp_path)

    def carry_out(pending: list[Planned], inline: bool, code: object) -> tuple[dict[Path, int], bool]:
        for one in pending:
            if one.config.seed == 1:
                write_status(one.run_dir, RunOutcome.FAILED, reason="the first seed is unlucky")
            else:
                finish(one.run_dir)
        return {one.run_dir: ExitCode.DONE for one in pending}, False

    monkeypatch.setattr("sweeps.launch.carry_out", carry_out)
    return tmp_path


def told(folder: Path) -> list[dict]:
    """What the user's command was given, each time."""
    path = folder / "told"
    return [json.loads(part) for part in path.read_text().split("\0")[:-1]] if path.exists() else []


TELL = "launcher.notify='cat >> told && printf \"\\\\0\" >> told'"


def test_the_users_command_gets_the_outcome_once_until_runs_begin_anew(folder: Path):
    assert main([*LOCAL, TELL]) == ExitCode.FAILED
    (outcome,) = told(folder)
    assert (outcome["sweep"], outcome["status"], outcome["counts"]) == (sweep().id, "failed", {"done": 1, "failed": 1})
    assert [(one["state"], one["score"], one["reason"]) for one in outcome["runs"]] == [
        ("done", 0.5, ""),
        ("failed", None, "the first seed is unlucky"),
    ]
    finish(sweep().members[1].run_dir)
    assert main([*LOCAL, TELL]) == ExitCode.DONE  # nothing begins
    assert len(told(folder)) == 1
    assert main([*LOCAL, TELL, "seed=1,2"]) == ExitCode.DONE  # another sweep
    assert [one["status"] for one in told(folder)] == ["failed", "done"]


def test_an_end_that_a_kill_came_before_is_told_by_the_same_command(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr("sweeps.launch.end", lambda sweep, failed: pytest.exit("killed"))
        with pytest.raises(pytest.exit.Exception):
            main([*LOCAL, TELL, "seed=0,2"])
    assert told(folder) == []
    assert main([*LOCAL, TELL, "seed=0,2"]) == ExitCode.DONE
    assert main([*LOCAL, TELL, "seed=0,2"]) == ExitCode.DONE
    assert [one["status"] for one in told(folder)] == ["done"]


def test_a_command_that_fails_is_one_line_and_changes_no_status(folder: Path, capsys):
    assert main([*LOCAL, "seed=0,2", "launcher.notify='exit 3'"]) == ExitCode.DONE
    assert "warning: launcher.notify=exit 3: ended with status 3" in capsys.readouterr().err


def test_of_jobs_that_end_together_one_alone_tells(folder: Path, fake_slurm: Path):
    assert main([*SLURM, "seed=0,1", TELL]) == ExitCode.DONE
    first, second = sweep().members
    finish(first.run_dir)
    end_job(sweep().path)
    assert told(folder) == []
    finish(second.run_dir)
    jobs = [threading.Thread(target=end_job, args=[sweep().path]) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [one["status"] for one in told(folder)] == ["done"]


@pytest.mark.parametrize("command", [LOCAL, [*LOCAL, "plan=true"], [*RUNS, "+sweep=decide", "agent.tau=0.01,0.02"]])
def test_a_sweep_that_does_not_exist_is_one_line(folder: Path, command, capsys):
    assert main([*command, "launcher.after=nobody"]) == ExitCode.BAD_CONFIG
    assert capsys.readouterr().err.startswith("error: launcher.after=")


def test_a_run_alone_waits_and_tells_as_a_sweep_does_or_not_at_all(folder: Path, capsys):
    assert main(["tracking=off", "launcher.notify=./tell"]) == ExitCode.BAD_CONFIG
    assert "add -m" in capsys.readouterr().err


def test_a_local_sweep_waits_while_another_is_executed_and_says_so(folder: Path, capsys):
    assert main([*LOCAL, "seed=0,2"]) == ExitCode.DONE
    other = sweep()
    with lock(other.folder):
        waits = threading.Thread(target=wait_for_other, args=[other.id, other.path.with_name("mine.json"), False, 0.02])
        waits.start()
        time.sleep(0.2)
        assert waits.is_alive()
    waits.join(10)
    assert not waits.is_alive()
    said = capsys.readouterr().err
    assert f"waits for {other.id}: 2 done" in said
    assert f"{other.id} has ended: 2 done" in said


def test_jobs_wait_for_all_jobs_of_the_other_sweep_and_for_those_that_it_submits_later(
    folder: Path, fake_slurm: Path, capsys
):
    assert main([*SLURM, "seed=0,1"]) == ExitCode.DONE
    first = sweep()
    (fake_slurm / "queue").write_text("7_0|RUNNING\n7_1|PENDING\n")
    assert (
        main([*SLURM, "seed=5", f"launcher.after={first.id}", "+launcher.slurm.dependency=singleton"]) == ExitCode.DONE
    )
    script = Path((fake_slurm / "submitted").read_text().splitlines()[-1]).read_text()
    assert "#SBATCH --dependency=singleton,afterany:7\n" in script
    waiting = next(submissions(sweep().folder)).array
    (fake_slurm / "queue").write_text("7_0|RUNNING\n9_0|PENDING\n8_0|PENDING\n")
    write_status(first.members[1].run_dir, RunOutcome.INTERRUPTED)
    assert main([*SLURM, "seed=0,1"]) == ExitCode.DONE  # submits the interrupted run again
    updates = (fake_slurm / "updated").read_text().splitlines()
    assert updates[-1] == f"update JobId={waiting} Dependency=singleton,afterany:7:9"
