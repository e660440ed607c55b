"""Sweeps on a real SLURM of one node with two fake GPUs: whatever happens to a job, its runs lose nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from records import layout
from records.layout import ExitCode
from records.provenance import ROOT
from records.sweep import find_sweep
from sweeps.code import pack
from sweeps.slurm.cluster import queue as slurm_queue
from sweeps.slurm.states import is_waiting
from tests import slurm_cluster, torture
from tests.commands import TINY, only_run, rows, run

pytestmark = pytest.mark.slow

SHORT = [*TINY, "train.env_steps=300", "eval.every_steps=150"]
SWEEP = ["-m", *SHORT, "tracking=off", "launcher=slurm", "launcher.backoff_s=0.1"]
LONGER = ["seed=0", "train.env_steps=1500"]
SMALL = ["launcher.slurm.gpus_per_node=null", "launcher.slurm.cpus_per_task=1", "launcher.slurm.mem=2G"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    reason = slurm_cluster.missing()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def slurm(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands, from this process too, speak to the cluster."""
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The metrics of a run that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = run(folder, *SHORT, *LONGER, "tracking=off")
    assert result.returncode == 0, result.stderr
    return (only_run(folder) / layout.METRICS).read_bytes()


def jobs() -> dict[str, str]:
    """Job id -> state of what has not ended."""
    lines = slurm_cluster.command("squeue", "-h", "-r", "-o", "%i|%T").split()
    return dict(line.split("|") for line in lines)


def wait_for(what: Callable[[], object], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def members(folder: Path) -> list[Path]:
    return [member.run_dir for member in find_sweep(folder / "runs", None).members]


def training(run_dir: Path) -> bool:
    """Whether the run has recorded a step."""
    path = run_dir / layout.TIMING
    return path.exists() and path.stat().st_size > 0


def starts(run_dir: Path) -> list[dict]:
    return json.loads((run_dir / layout.MANIFEST).read_text())["starts"]


def status(folder: Path, module: str = "status", *arguments: str) -> str:
    command = [sys.executable, "-m", f"sweeps.{module}", *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_array_of_three_with_one_failing_and_only_that_one_again(tmp_path: Path, slurm: None):
    arguments = [*SWEEP, *SMALL, "agent.learning_rate=1.0e-3,1.0e+30,2.0e-3", "wait=true"]
    result = run(tmp_path, *arguments)
    assert result.returncode == ExitCode.FAILED, result.stdout + result.stderr
    assert "submitted 3 runs as job array" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 done, 1 failed"
    _, failed, *_ = members(tmp_path)
    said = json.loads((failed / layout.STATUS).read_text())
    assert "not finite" in said["reason"]
    assert any("not finite" in line for line in said["last_lines"])
    with np.load(failed / layout.BATCH) as batch:
        assert batch["obs"].shape[:2] == (1, 16)
    job = json.loads((failed / layout.STATUS).read_text())["slurm"]
    shown = slurm_cluster.command("scontrol", "-o", "show", "job", job["SLURM_JOB_ID"])
    assert "JobState=FAILED" in shown
    assert "ExitCode=1:0" in shown
    assert "2 done" in status(tmp_path)
    assert "not finite" in status(tmp_path)

    again = run(tmp_path, *arguments)
    assert again.returncode == ExitCode.FAILED
    assert "3 runs: 2 finished already, 1 to run" in again.stderr
    assert "submitted 1 runs" in again.stdout
    assert again.stdout.splitlines()[-1] == "2 skipped, 1 failed"
    assert [len(starts(run_dir)) for run_dir in members(tmp_path)] == [1, 2, 1]


def test_cancelled_sweep_checkpoints_stays_cancelled_and_goes_on_when_launched_again(tmp_path: Path, slurm: None):
    arguments = [
        *SWEEP,
        *SMALL,
        "seed=0,1",
        "launcher.max_parallel=1",
        "launcher.slurm.time=10",
        "train.env_steps=2000",
    ]
    begun = time.monotonic()
    result = run(tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - begun < 30  # it does not wait
    first, _ = members(tmp_path)
    wait_for(lambda: training(first))
    assert len(jobs()) == 2
    repeated = run(tmp_path, *arguments)
    assert "2 running or queued, 0 to run" in repeated.stderr
    sweep = find_sweep(tmp_path / "runs", None)
    assert "cancelled 2 jobs" in status(tmp_path, "cancel", sweep.id)
    wait_for(lambda: not jobs())
    time.sleep(8)  # a requeued job would be back by now
    assert jobs() == {}
    assert json.loads((first / layout.STATUS).read_text())["state"] == "interrupted"
    assert any((first / layout.CHECKPOINTS).glob("step-*"))
    assert "1 interrupted, 1 new" in status(tmp_path)
    resumed = run(tmp_path, *arguments, "launcher.max_parallel=2", "wait=true")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len(starts(first)) == 2
    assert "continuing from" in (first / layout.LOG).read_text()


def test_packed_runs_share_one_job_and_each_is_run_once(tmp_path: Path, slurm: None):
    """Also where the job has two tasks, which is what would run everything twice under `srun`."""
    small = [*SMALL, "launcher.slurm.gpus_per_node=1", "+launcher.slurm.ntasks_per_node=2"]
    result = run(tmp_path, *SWEEP, *small, "seed=0,1", "launcher.runs_per_gpu=2", "wait=true")
    assert result.returncode == 0, result.stdout + result.stderr
    both = members(tmp_path)
    (one,), (other,) = (starts(run_dir) for run_dir in both)
    assert one["slurm"]["SLURM_JOB_ID"] == other["slurm"]["SLURM_JOB_ID"]
    assert [one["code"], other["code"]] == [path.name for path in (tmp_path / "runs" / layout.CODE).iterdir()] * 2
    ends = [(run_dir / layout.DONE).stat().st_mtime for run_dir in both]
    assert max(one["time"], other["time"]) < min(ends)  # at the same time
    for run_dir in both:
        steps = [row["env_steps"] for row in rows(run_dir / layout.METRICS) if row["name"] == "critic/loss"]
        assert steps == sorted(set(steps))


MARKED = """

MARK = "old"


def execute(config):
    from records.decode import read_object
    from records.files import write_json
    from records.layout import RunOutcome
    from records.provenance import provenance
    from records.run_record import write_status

    run_dir = identity.run_dir(config)
    marks = [*(read_object(run_dir / "marks.json") or {"marks": []})["marks"], [MARK, provenance("", "flock")]]
    write_json(run_dir / "marks.json", {"marks": marks})
    if len(marks) == 1 and config.seed < 2:  # goes on when it is launched again
        write_status(run_dir, RunOutcome.INTERRUPTED)
        return ExitCode.INTERRUPTED
    write_json(run_dir / layout.DONE, {"env_steps": config.train.env_steps, "score": None, "evaluation": []})
    return ExitCode.DONE
"""


def test_queued_runs_execute_the_code_of_the_submission_whatever_is_edited(
    tmp_path: Path, slurm: None, monkeypatch: pytest.MonkeyPatch
):
    """Also runs that are launched again; a run of this checkout only writes down which code it is."""
    checkout = tmp_path / "checkout"
    for path in pack().files:
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, checkout / path)
    source = checkout / "agents" / "training" / "execute.py"
    source.write_text(f"{source.read_text()}{MARKED}")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(checkout)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    commit = subprocess.run([*git, "rev-parse", "HEAD"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    slurm_cluster.command("scontrol", "update", "PartitionName=low", "State=DOWN")
    try:
        result = run(checkout, *SWEEP, *SMALL, "seed=range(0,20)", "launcher.runs_per_job=10")
    finally:
        source.write_text(source.read_text().replace('MARK = "old"', 'MARK = "new"'))
        slurm_cluster.command("scontrol", "update", "PartitionName=low", "State=UP")
    assert "submitted 20 runs" in result.stdout, result.stderr
    wait_for(lambda: not jobs())
    assert "submitted 2 runs again" in status(checkout, "status", "--relaunch")
    wait_for(lambda: not jobs())
    (snapshot,) = (checkout / "runs" / layout.CODE).iterdir()
    marks = [json.loads((run_dir / "marks.json").read_text())["marks"] for run_dir in members(checkout)]
    assert [len(one) for one in marks] == [2, 2, *[1] * 18]
    assert {(mark, start["code"], start["git_commit"]) for one in marks for mark, start in one} == {
        ("old", snapshot.name, commit)
    }
    assert [layout.DONE in os.listdir(run_dir) for run_dir in members(checkout)] == [True] * 20


def test_requeued_job_continues_as_if_nothing_had_happened(tmp_path: Path, slurm: None, undisturbed: bytes):
    assert run(tmp_path, *SWEEP, *SMALL, *LONGER).returncode == 0
    (run_dir,) = members(tmp_path)
    wait_for(lambda: training(run_dir))
    (job,) = jobs()
    slurm_cluster.command("scontrol", "requeue", job)
    wait_for(lambda: not jobs())
    assert "1 done" in status(tmp_path)
    assert [start["slurm"].get("SLURM_RESTART_COUNT", "0") for start in starts(run_dir)] == ["0", "1"]
    assert "continuing from" in (run_dir / layout.LOG).read_text()
    assert (run_dir / layout.METRICS).read_bytes() == undisturbed


def test_preempted_job_checkpoints_gives_way_and_continues(tmp_path: Path, slurm: None, undisturbed: bytes):
    """By a job of a partition with precedence, soon after the start: nothing is counted as a time-out."""
    result = run(tmp_path, *SWEEP, *SMALL, *LONGER, "launcher.slurm.cpus_per_task=8")
    assert result.returncode == 0, result.stderr
    (run_dir,) = members(tmp_path)
    wait_for(lambda: training(run_dir))
    slurm_cluster.command("sbatch", "--partition=high", "--cpus-per-task=8", "--output=/dev/null", "--wrap", "sleep 12")
    wait_for(lambda: "PENDING" in jobs().values() and "RUNNING" in jobs().values())
    wait_for(lambda: "1 preempted" in status(tmp_path), 30)
    wait_for(lambda: not jobs())
    assert "1 done" in status(tmp_path)
    assert [start["slurm"].get("SLURM_RESTART_COUNT", "0") for start in starts(run_dir)] == ["0", "1"]
    assert not (run_dir / layout.CRASHES).exists()
    assert (run_dir / layout.METRICS).read_bytes() == undisturbed


def test_job_at_its_time_limit_checkpoints_and_goes_back_to_the_queue(tmp_path: Path, slurm: None, undisturbed: bytes):
    arguments = [*SWEEP, *SMALL, *LONGER, "launcher.slurm.time=10", "launcher.signal_delay_s=50"]
    assert run(tmp_path, *arguments).returncode == 0
    (run_dir,) = members(tmp_path)
    wait_for(lambda: training(run_dir))
    # SLURM looks twice a minute; until it does, the run holds still instead of training for so long.
    process = psutil.Process(json.loads((run_dir / layout.STATUS).read_text())["pid"])
    process.suspend()
    (job,) = jobs()
    slurm_cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    wait_for(lambda: told(process))
    slurm_cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=10")  # enough for the rest
    process.resume()
    wait_for(lambda: not jobs())
    assert "1 done" in status(tmp_path)
    assert [start["slurm"].get("SLURM_RESTART_COUNT", "0") for start in starts(run_dir)] == ["0", "1"]
    assert "continuing from" in (run_dir / layout.LOG).read_text()
    assert not (run_dir / layout.CRASHES).exists()
    assert (run_dir / layout.METRICS).read_bytes() == undisturbed


def told(process: psutil.Process) -> bool:
    """Whether SIGTERM waits for a suspended process to go on."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (pending,) = (line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(pending, 16) & 1 << (signal.SIGTERM - 1))


def test_run_that_is_killed_is_restarted_by_its_job_and_given_up_in_the_end(tmp_path: Path, slurm: None):
    arguments = [*SWEEP, *SMALL, "seed=0", "launcher.max_crashes=1", "train.env_steps=100000"]
    assert run(tmp_path, *arguments).returncode == 0
    (run_dir,) = members(tmp_path)
    for count in (1, 2):
        wait_for(lambda count=count: (run_dir / layout.MANIFEST).exists() and len(starts(run_dir)) == count)
        os.kill(json.loads((run_dir / layout.STATUS).read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: not jobs())
    assert "failed: killed by SIGKILL" in status(tmp_path)
    assert len((run_dir / layout.CRASHES).read_text().splitlines()) == 2


def test_sweep_waits_for_another_whose_job_is_requeued_and_for_a_round_that_is_submitted_later(
    tmp_path: Path, slurm: None
):
    rules = [f"sweep.decide.{rule}" for rule in ("max_seeds=2", "seeds_per_round=1", "alpha=0.6", "futility=0")]
    first = [*SWEEP, *SMALL, "+sweep=decide", "agent.learning_rate=1.0e-3,2.0e-3", "launcher.runs_per_gpu=2", *rules]
    assert run(tmp_path, *first).returncode == ExitCode.DONE
    other = find_sweep(tmp_path / "runs", None)
    tell = "launcher.notify='cat > told.json'"
    second = run(tmp_path, *SWEEP, *SMALL, "seed=7", f"launcher.after={other.id}", tell)
    assert second.returncode == ExitCode.DONE, second.stdout + second.stderr
    (waiting,) = members(tmp_path)
    wait_for(lambda: any(training(one.run_dir) for one in other.members))
    (job,) = [job for job, state in jobs().items() if state == "RUNNING"]
    slurm_cluster.command("scontrol", "requeue", job)
    wait_for(lambda: "verdict" in json.loads(other.path.read_text()) or training(waiting), timeout_s=400)
    assert not training(waiting)
    wait_for((waiting / layout.DONE).exists, timeout_s=200)
    ended = json.loads((waiting / layout.MANIFEST).read_text())["starts"][0]["time"]
    whole = find_sweep(tmp_path / "runs", other.id).members
    assert [len(starts(one.run_dir)) for one in whole][2:] == [1, 1]
    assert "decision over: 4 runs, of 4 at most" in status(tmp_path, "status", other.id)
    assert all(json.loads((one.run_dir / layout.STATUS).read_text())["time"] < ended for one in whole)
    wait_for((tmp_path / "told.json").exists)
    assert json.loads((tmp_path / "told.json").read_text())["status"] == "done"


def test_search_of_two_jobs_goes_on_when_one_is_killed(tmp_path: Path, slurm: None):
    """The other takes over its trial where that stood; none is lost or repeated."""
    space = "sweep.search.space={agent.tau:{low:0.001,high:0.02}}"
    settings = ["+sweep=search", space, "sweep.search.trials=3", "sweep.search.pruner=off", "launcher.max_parallel=2"]
    result = run(tmp_path, *SWEEP, *SMALL, *settings, "train.env_steps=600")
    assert result.returncode == 0, result.stderr
    assert "submitted 2 jobs" in result.stdout
    again = run(tmp_path, *SWEEP, *SMALL, *settings, "train.env_steps=600")
    assert "has jobs already: 2" in again.stdout
    assert "submitted" not in again.stdout
    wait_for(lambda: len(members(tmp_path)) == 2 and all(map(training, members(tmp_path))))
    (worker,) = (
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "sweeps.search" in (process.info["cmdline"] or []) and process.info["cmdline"][-2:] == ["--job", "0"]
    )
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not jobs())
    sweep = find_sweep(tmp_path / "runs", None)
    assert status(tmp_path, "search", sweep.id, "--show").count("complete") == 3
    assert sorted(len(starts(run_dir)) for run_dir in members(tmp_path)) == [1, 1, 2]


def test_search_of_several_seeds_confirms_its_best_trial_and_more_jobs_help(tmp_path: Path, slurm: None):
    space = "sweep.search.space={agent.tau:{low:0.001,high:0.02}}"
    settings = ["+sweep=search", space, "sweep.search.trials=2", "sweep.search.seeds=2", "sweep.search.pruner=off"]
    settings += ["launcher.max_parallel=2", "launcher.runs_per_gpu=2", "launcher.runs_per_job=2"]
    assert run(tmp_path, *SWEEP, *SMALL, *settings).returncode == 0
    wait_for(lambda: not jobs())
    again = run(tmp_path, *SWEEP, *SMALL, *settings, "sweep.search.confirm=2", "sweep.search.confirm_trials=1")
    assert "submitted 1 jobs" in again.stdout, again.stderr
    wait_for(lambda: not jobs())
    sweep = find_sweep(tmp_path / "runs", None)
    assert [len(starts(run_dir)) for run_dir in members(tmp_path)] == [1] * 6
    assert "lost to selection: " in status(tmp_path, "search", sweep.id, "--show")


def test_cancelled_search_checkpoints_its_trials_and_goes_on_when_launched_again(tmp_path: Path, slurm: None):
    space = "sweep.search.space={agent.tau:{low:0.001,high:0.02}}"
    settings = ["+sweep=search", space, "sweep.search.trials=2", "sweep.search.pruner=off", "launcher.max_parallel=2"]
    search = [*SWEEP, *SMALL, *settings, "train.env_steps=2000"]
    assert run(tmp_path, *search).returncode == 0
    assert "jobs of the search: 2" in status(tmp_path)
    wait_for(lambda: len(members(tmp_path)) == 2 and all(map(training, members(tmp_path))))
    sweep = find_sweep(tmp_path / "runs", None)
    assert "cancelled 2 jobs" in status(tmp_path, "cancel", sweep.id)
    wait_for(lambda: not jobs())
    assert "2 interrupted" in status(tmp_path)
    assert "submitted 2 jobs" in run(tmp_path, *search).stdout
    wait_for(lambda: not jobs())
    assert "2 done" in status(tmp_path)
    assert [len(starts(run_dir)) for run_dir in members(tmp_path)] == [2, 2]


def test_sweep_survives_kills_requeues_and_time_limits_with_every_number_unchanged(tmp_path: Path, slurm: None):
    """A short form of `make torture`."""
    torture.survive(tmp_path, events=4, runs=2, env_steps=6000, seed=0, limit_s=500)


def test_job_that_is_suspended_or_held_is_in_the_queue_until_it_has_ended(tmp_path: Path, slurm: None):
    script = ["sbatch", "--parsable", "--array=0-0", "--output=/dev/null", "--requeue", "--wrap", "exec sleep 300"]
    job = f"{slurm_cluster.command(*script).strip()}_0"
    wait_for(lambda: queue().get(job) == "RUNNING")
    slurm_cluster.command("scontrol", "suspend", job)
    wait_for(lambda: queue().get(job) == "SUSPENDED")
    slurm_cluster.command("scontrol", "resume", job)
    wait_for(lambda: queue().get(job) == "RUNNING")
    slurm_cluster.command("scontrol", "requeuehold", job)
    wait_for(lambda: is_waiting(queue().get(job, "")))
    slurm_cluster.command("scancel", job)
    wait_for(lambda: job not in queue())


def queue() -> dict[str, str]:
    """What the status of runs takes from SLURM."""
    found = slurm_queue()
    assert found is not None
    return dict(found)


def test_impossible_request_is_refused_by_slurm_itself_before_anything_is_written(tmp_path: Path, slurm: None):
    for request in ("launcher.slurm.partition=nowhere", "launcher.slurm.gpus_per_node=64", "launcher.slurm.time=soon"):
        result = run(tmp_path, *SWEEP, *SMALL, "seed=0,1", request)
        assert result.returncode == ExitCode.BAD_CONFIG
        assert result.stderr.splitlines()[-1].startswith("error: launcher.slurm: sbatch refuses:")
    result = run(tmp_path, *SWEEP, "+launcher.slurm.partitoin=low")
    assert "sbatch has no flag --partitoin; did you mean partition?" in result.stderr
    assert not (tmp_path / "runs").exists()
    assert jobs() == {}
