"""What is handed to SLURM, and what a repeated command hands to it: against commands that only answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from conf.compose import compose
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode, RunOutcome
from records.lock import lock
from records.run_record import write_status
from records.sweep import Member, find_sweep, launch_lock, write_sweep
from sweeps.cancel import main as cancel
from sweeps.command import composed, main
from sweeps.launch import launch
from sweeps.logs import main as logs
from sweeps.plan.place import use_slurm
from sweeps.slurm import cluster, script
from sweeps.slurm.submission import job_of
from sweeps.status import states_of
from sweeps.status.__main__ import main as status
from tests.commands import command, living
from tests.yaml_copy import yaml_copy
from tracking.sweep_runs import Part

SWEEP = ["-m", "launcher=slurm", "tracking=off", "seed=0,1,2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_slurm: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scripts(fake_slurm: Path) -> list[str]:
    path = fake_slurm / "submitted"
    return path.read_text().splitlines() if path.exists() else []


def submission(fake_slurm: Path) -> dict:
    """The record of what was submitted last."""
    path = re.search(r"-m sweeps\.slurm\.job (\S+\.json)", Path(scripts(fake_slurm)[-1]).read_text())
    assert path is not None
    return json.loads(Path(path[1]).read_text())


def runs_of_last(fake_slurm: Path) -> list[str]:
    """Names of the runs that were submitted last."""
    return [Path(run).name.rsplit("-", 1)[0] for runs in submission(fake_slurm)["jobs"] for run in runs]


def members(folder: Path) -> list[Path]:
    return [member.run_dir for member in find_sweep(folder / "runs", None).members]


def test_without_slurm_the_launcher_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no SLURM answers here"):
        cluster.check(compose(["launcher=slurm"]).launcher, "")


def test_misspelt_flag_is_named_with_the_nearest_one(fake_slurm: Path):
    with pytest.raises(ConfigError, match=r"launcher\.slurm\.acount=lab: .*did you mean account\?"):
        cluster.check(compose(["launcher=slurm", "+launcher.slurm.acount=lab"]).launcher, "")


def test_script_holds_the_flags_of_the_yaml_and_drops_nulls(tmp_path: Path):
    overrides = ["partition=gpu", "mem=null", "+exclusive=true", "+gres=gpu:a100:1", "exclude=[n1,n2]", "time=0-1"]
    launcher = compose(
        [
            "launcher=slurm",
            "launcher.max_parallel=3",
            "launcher.signal_delay_s=90",
            'launcher.setup=["module load cuda","ulimit -n 4096"]',
            *(("+" if one[0] == "+" else "") + f"launcher.slurm.{one.lstrip('+')}" for one in overrides),
        ]
    ).launcher
    text = script.script([(tmp_path / str(seed),) for seed in range(7)], launcher, tmp_path, "mine", 1000)
    lines = text.splitlines()
    for flag in (
        "partition=gpu",
        "array=0-6%3",
        "gpus-per-node=1",
        "cpus-per-task=8",
        "exclusive",
        "gres=gpu:a100:1",
        "exclude=n1,n2",
        "time=0-1",
        "signal=B:USR2@90",
        "job-name=mine",
        "requeue",
    ):
        assert f"#SBATCH --{flag}" in lines
    for dropped in ("--mem", "--account", "--qos", "--constraint", "srun"):
        assert dropped not in text
    assert lines.index("module load cuda") < lines.index("ulimit -n 4096")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        (10, 600),
        ("10", 600),
        ("10:30", 630),
        ("1:00:00", 3600),
        ("2-0", 172800),
        ("1-2:30", 95400),
        ("1-2:30:05", 95405),
    ],
)
def test_time_limit_is_read_as_sbatch_does(limit: int | str, seconds: int):
    assert script.limit_seconds(limit) == seconds
    assert script.limit_seconds("soon") is None


def test_time_limit_that_the_signal_uses_up_is_refused():
    def flags(time: str, delay_s: int) -> dict:
        keys = [f"launcher.slurm.time={time}", f"launcher.signal_delay_s={delay_s}"]
        return script.flags(compose(["launcher=slurm", *keys]).launcher)

    for limit, delay_s in (("5", 300), ("6", 300), ("'5:59'", 300), ("'0:10:00'", 540)):
        with pytest.raises(ConfigError, match=rf"launcher\.slurm\.time=.*launcher\.signal_delay_s={delay_s}"):
            flags(limit, delay_s)
    for limit, delay_s in (("7", 300), ("10", 50), ("0", 300), ("null", 300), ("UNLIMITED", 300)):
        flags(limit, delay_s)


def test_jobs_of_several_nodes_are_refused():
    for nodes in ("2", "'1-4'", "0"):
        with pytest.raises(ConfigError, match=r"^launcher\.slurm\.nodes=.*: a run computes on one node.*allowed: 1 or"):
            script.flags(compose(["launcher=slurm", f"+launcher.slurm.nodes={nodes}"]).launcher)
    for nodes in ("1", "'1'", "1-1", "null"):
        script.flags(compose(["launcher=slurm", f"+launcher.slurm.nodes={nodes}"]).launcher)


def test_time_that_yaml_took_for_a_number_is_refused(tmp_path: Path):
    launcher = compose(["launcher=slurm"]).launcher
    for text, refused in (("24:00:00", True), ("'24:00:00'", False), ("10080", False), ("14-0", False)):
        (tmp_path / "launcher.yaml").write_text(f"time: {text}")
        mine = dataclasses.replace(launcher, slurm=dict(OmegaConf.load(tmp_path / "launcher.yaml").items()))
        if refused:
            with pytest.raises(ConfigError, match=r"launcher\.slurm\.time=86400: 60 days.*quote"):
                script.flags(mine)
        else:
            script.flags(mine)


def test_command_submits_prints_how_to_watch_and_returns(folder: Path, fake_slurm: Path, capsys):
    begun = time.monotonic()
    assert main(SWEEP) == 0
    assert time.monotonic() - begun < 10
    out = capsys.readouterr().out
    sweep = find_sweep(folder / "runs", None)
    assert f"sweep {sweep.id}: submitted 3 runs as job array 7" in out
    assert f"python -m sweeps.status {sweep.id} --watch" in out
    assert f"python -m sweeps.cancel {sweep.id}" in out
    assert len(scripts(fake_slurm)) == 1
    assert runs_of_last(fake_slurm) == ["brc-w64-s0", "brc-w64-s1", "brc-w64-s2"]


def test_dry_run_prints_plan_and_script_and_writes_nothing(folder: Path, fake_slurm: Path, capsys):
    assert main([*SWEEP, "launcher.dry_run=true"]) == 0
    out = capsys.readouterr().out
    for part in ("3 runs: 0 finished already, 3 to run", "GPU-hours", "#SBATCH --array=0-2", "job 2: brc-w64-s2"):
        assert part in out
    assert scripts(fake_slurm) == []
    assert not (folder / "runs").exists()


def test_packed_runs_share_a_job_and_its_memory(folder: Path, fake_slurm: Path):
    assert main([*SWEEP, "launcher.runs_per_gpu=2"]) == 0
    body = submission(fake_slurm)
    assert [len(runs) for runs in body["jobs"]] == [2, 1]
    assert body["at_once"] == 2


def test_several_seeds_can_take_turns_in_one_job(folder: Path, fake_slurm: Path):
    assert main([*SWEEP, "launcher.runs_per_job=3"]) == 0
    body = submission(fake_slurm)
    assert [len(runs) for runs in body["jobs"]] == [3]
    assert body["at_once"] == 1


def test_arrays_longer_than_slurm_takes_are_split(folder: Path, fake_slurm: Path):
    assert main([*SWEEP, "seed=range(0,7)"]) == 0
    assert len(scripts(fake_slurm)) == 3
    assert all("array=0-2" in Path(path).read_text() for path in scripts(fake_slurm)[:2])
    assert job_of(members(folder)[4]).id == "8_1"


def test_repeated_command_launches_only_what_is_missing_or_failed(folder: Path, fake_slurm: Path, capsys):
    assert main(SWEEP) == 0
    # All three are in the queue: nothing to do.
    (fake_slurm / "queue").write_text("7_0|RUNNING\n7_1|PENDING\n7_2|PENDING\n")
    assert main(SWEEP) == 0
    assert "3 running or queued, 0 to run" in capsys.readouterr().err
    assert len(scripts(fake_slurm)) == 1
    # The first is done, the second failed, the third was killed without a word.
    done, failed, killed = members(folder)
    (done / layout.DONE).write_text(json.dumps({"env_steps": 10**9, "score": 0.5, "evaluation": []}))
    write_status(failed, RunOutcome.FAILED, reason="boom")
    write_status(killed, RunOutcome.RUNNING)
    (fake_slurm / "queue").write_text("")
    assert main(SWEEP) == 0
    assert runs_of_last(fake_slurm) == ["brc-w64-s1", "brc-w64-s2"]
    # Both wait again: the failure is older than the job.
    (fake_slurm / "queue").write_text("8_0|PENDING\n8_1|PENDING\n")
    assert main(SWEEP) == 0
    assert len(scripts(fake_slurm)) == 2


def test_same_command_twice_at_once_submits_once(folder: Path, fake_slurm: Path, capsys, monkeypatch):
    check = cluster.check

    def while_another_submits(*arguments) -> None:
        monkeypatch.setattr(cluster, "check", check)
        assert main(SWEEP) == 0
        (fake_slurm / "queue").write_text("7_0|RUNNING\n7_1|PENDING\n7_2|PENDING\n")
        capsys.readouterr()

    monkeypatch.setattr(cluster, "check", while_another_submits)
    assert main(SWEEP) == 0
    assert len(scripts(fake_slurm)) == 1
    captured = capsys.readouterr()
    assert "3 running or queued, 0 to run" in captured.err
    assert captured.out.splitlines()[-1] == "1 running, 2 queued"


def test_parts_with_other_flags_are_arrays_of_their_own_and_have_mlflow_runs_of_their_own(
    folder: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[tuple[str, str]] = []

    def open_parent(uri: str, benchmark: str, part: Part) -> tuple[str, str]:
        opened.append((benchmark, part.name))
        return f"run-{part.name}", "page"

    monkeypatch.setattr("tracking.sweep_runs.open_parent", open_parent)
    monkeypatch.setattr("tracking.sweep_runs.is_active", lambda uri, run_id: True)
    parts = "[{name: short, set: [launcher.slurm.time=60], vary: {seed: '0,1'}}, {name: long, vary: {seed: '1,2'}}]"
    with yaml_copy(folder, monkeypatch) as conf:
        (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\nsweep: {{name: mine, parts: {parts}}}\n")
        arguments = ["-m", "+experiment=mine", "launcher=slurm", "tracking.uri=http://host:5000"]
        for _ in range(2):
            assert main(arguments) == ExitCode.DONE
            (fake_slurm / "queue").write_text("7_0|PENDING\n7_1|PENDING\n8_0|PENDING\n")
    sweep = find_sweep(folder / "runs", None)
    assert [(one.part, one.varied) for one in sweep.members] == [
        ("short", {"seed": "0"}),
        ("short", {"seed": "1"}),
        ("long", {"seed": "2"}),
    ]
    assert opened == [("quickstart", "short"), ("quickstart", "long")]
    assert dict(sweep.parents) == {"http://host:5000": {"short": "run-short", "long": "run-long"}}
    texts = [Path(one).read_text() for one in scripts(fake_slurm)]
    assert [("--array=0-1" in text, "--time=60" in text) for text in texts] == [(True, True), (False, False)]


def test_sweep_of_several_benchmarks_is_named_after_none(folder: Path, fake_slurm: Path):
    assert main(["-m", "launcher=slurm", "tracking=off", "benchmark=quickstart,dmc_hard"]) == ExitCode.DONE
    assert find_sweep(folder / "runs", None).id.startswith("multirun-")


@pytest.mark.slow
def test_launching_waits_for_another_that_is_submitting(folder: Path, fake_slurm: Path):
    assert main(SWEEP) == 0
    sweep = find_sweep(folder / "runs", None)
    with contextlib.ExitStack() as submitting:
        submitting.enter_context(launch_lock(sweep.path))
        with living(*command(*SWEEP), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(4)
            assert len(scripts(fake_slurm)) == 1
            submitting.close()
            assert process.wait(60) == 0
    assert len(scripts(fake_slurm)) == 2


def test_jobs_are_left_alone_while_squeue_does_not_answer(folder: Path, fake_slurm: Path):
    assert main(SWEEP) == 0
    (fake_slurm / "silent").touch()
    assert main(SWEEP) == 0
    assert len(scripts(fake_slurm)) == 1


def test_refused_submission_is_one_line_and_leaves_nothing(folder: Path, fake_slurm: Path, capsys):
    (fake_slurm / "refuse").write_text(
        "sbatch: error: invalid partition specified: gpuu\nsbatch: error: Batch failed\n"
    )
    assert main([*SWEEP, "launcher.slurm.partition=gpuu"]) == ExitCode.BAD_CONFIG
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert errors == ["error: launcher.slurm: sbatch refuses: invalid partition specified: gpuu; Batch failed"]
    assert not (folder / "runs").exists()
    (fake_slurm / "refuse").unlink()
    (fake_slurm / "full").touch()
    assert main(SWEEP) == ExitCode.BAD_CONFIG
    assert "Slurm temporarily unable" in capsys.readouterr().err
    (fake_slurm / "full").unlink()
    assert main(SWEEP) == 0
    assert len(runs_of_last(fake_slurm)) == 3


def test_status_shows_every_state_with_what_one_needs_to_know(folder: Path, fake_slurm: Path, capsys):
    assert main([*SWEEP, "seed=range(0,6)", "train.env_steps=1000"]) == 0
    done, failed, killed, running, preempted, _ = members(folder)
    (done / layout.DONE).write_text(json.dumps({"env_steps": 1000, "score": 0.5, "evaluation": []}))
    write_status(failed, RunOutcome.FAILED, reason="task dmc/dog-run: boom")
    (failed / layout.LOG).write_text("first\nlast words\n")
    write_status(killed, RunOutcome.RUNNING)
    write_status(preempted, RunOutcome.INTERRUPTED)
    write_status(running, RunOutcome.RUNNING)
    row = {"env_steps": 250, "update_steps": 0, "name": "rate/env_steps_per_s", "task": None, "value": 2.5}
    (running / layout.TIMING).write_text(json.dumps(row) + "\n")
    (fake_slurm / "queue").write_text("8_0|RUNNING\n8_1|PENDING\n8_2|PENDING\n")
    capsys.readouterr()
    with lock(running):
        assert status([]) == 0
    out = capsys.readouterr().out
    assert "1 running, 1 queued, 1 preempted, 1 failed, 1 killed, 1 done" in out
    for part in ("25%", "2.5", "5 minutes", "8_0", "0.500", f"boom; log: {failed / layout.LOG}"):
        assert part in out.replace("\n", "")
    assert f"{killed.parents[1]}/_sweeps" in out.replace("\n", "")  # its job's log
    assert logs([failed.name.rsplit("-", 1)[1]]) == 0
    assert "last words\nfailed: task dmc/dog-run: boom" in capsys.readouterr().out


def test_status_of_a_thousand_runs_counts_them(folder: Path, fake_slurm: Path):
    sweep_dir = folder / "runs" / layout.SWEEPS
    submission = sweep_dir / "big" / "001.json"
    listed = [
        Member(folder / "runs" / "quickstart" / f"brc-s{seed}", 1000, {"seed": str(seed)}) for seed in range(1000)
    ]
    write_sweep(sweep_dir / "big.json", listed, {})
    submission.parent.mkdir()
    submission.write_text(json.dumps({"array": "7", "time": 0.0, "kind": "runs"}))
    (fake_slurm / "queue").write_text("".join(f"7_{index}|RUNNING\n" for index in range(500)))
    row = {"env_steps": 250, "update_steps": 0, "name": "rate/env_steps_per_s", "task": None, "value": 2.5}
    for index, member in enumerate(listed):
        member.run_dir.mkdir(parents=True)
        job = {"submission": os.path.relpath(submission, member.run_dir), "index": index}
        for name, value in (
            (layout.STATUS, {"state": "running", "time": 1.0}),
            (layout.JOB, job),
            (layout.TIMING, row),
        ):
            (member.run_dir / name).write_text(json.dumps(value) + "\n")
    arguments = [sys.executable, "-m", "sweeps.status"]
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60)
    assert "500 running, 500 killed" in result.stdout


def test_status_without_a_sweep_shows_all_runs(folder: Path, capsys: pytest.CaptureFixture):
    assert status([]) == 0
    assert "no runs in runs yet" in capsys.readouterr().out
    run_dir = folder / "runs" / "quickstart" / "brc-s0"
    run_dir.mkdir(parents=True)
    (run_dir / layout.CONFIG).write_text(json.dumps({"train": {"env_steps": 500}}))
    assert status([]) == 0
    assert "1 new" in capsys.readouterr().out


def test_status_shows_lists_as_they_are_written(folder: Path, fake_slurm: Path, capsys):
    assert main(["-m", "launcher=slurm", "tracking=off", "benchmark.tasks=[cartpole-balance],[cartpole-swingup]"]) == 0
    assert status([]) == 0
    assert "benchmark.tasks=[cartpole-swingup]" in capsys.readouterr().out


def test_cancel_takes_the_sweeps_jobs_from_the_queue_and_no_others(folder: Path, fake_slurm: Path, capsys):
    assert main(SWEEP) == 0
    (fake_slurm / "queue").write_text("7_0|RUNNING\n7_2|PENDING\n99_0|RUNNING\n")
    sweep = find_sweep(folder / "runs", None)
    assert cancel([sweep.id[-8:]]) == 0
    assert (fake_slurm / "cancelled").read_text().split() == ["7_0", "7_2"]
    assert "cancelled 2 jobs" in capsys.readouterr().out
    (fake_slurm / "silent").touch()
    assert cancel([sweep.id]) == ExitCode.BAD_CONFIG
    assert "does not answer" in capsys.readouterr().err


def test_cancel_stops_the_command_that_runs_a_sweep_here(folder: Path, fake_slurm: Path, capsys):
    assert main(SWEEP) == 0
    sweep = find_sweep(folder / "runs", None)
    hold = "import sys, time; from pathlib import Path; from records.lock import lock\nwith lock(Path(sys.argv[1])):"
    arguments = [sys.executable, "-c", f"{hold} print(1, flush=True); time.sleep(60)", str(sweep.folder)]
    with living(*arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        capsys.readouterr()
        assert main([*SWEEP, "launcher=local"]) == ExitCode.FAILED
        assert f"is being run by process {holder.pid}" in capsys.readouterr().err
        assert cancel([sweep.id]) == 0
        assert holder.wait(10) == -signal.SIGTERM


IGNORING = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
"""Starts a command as a script's background job, for which the shell has Ctrl-C ignored."""


@pytest.mark.parametrize("prefix", [pytest.param([], marks=pytest.mark.slow), IGNORING], ids=["terminal", "background"])
def test_ctrl_c_while_waiting_leaves_the_jobs_alone(folder: Path, fake_slurm: Path, prefix: list[str]):
    (fake_slurm / "queue").write_text("7_0|RUNNING\n7_1|RUNNING\n7_2|RUNNING\n")
    arguments = [*prefix, *command(*SWEEP, "wait=true")]
    with living(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "submitted 3 runs" in process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "the jobs go on" in errors
    assert not (fake_slurm / "cancelled").exists()


def test_waiting_ends_when_a_job_vanishes_without_a_word(folder: Path, fake_slurm: Path, capsys):
    """A cancelled job, one that was out of memory, or a dead node's: no result ever comes."""
    assert launch(composed([*SWEEP[1:], "wait=true"], multirun=True), watch_every_s=0.05) == ExitCode.FAILED
    assert capsys.readouterr().out.splitlines()[-1] == "3 failed"


def run_batch(folder: Path, array: str, does: str, index: str = "0", *overrides: str) -> int:
    """Run what a job's script does, as a job of an array whose command is a shell line; its exit status."""
    launcher = compose(["launcher=slurm", *overrides]).launcher
    text = f"{script.SETUP}\n{script.job_command(['sh', '-c', does], folder, launcher)}"
    job = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index}
    return subprocess.run(["bash"], input=text, text=True, env=os.environ | job, timeout=60).returncode


TOLD = "trap 'exit 75' TERM; kill -s USR2 $PPID; while :; do sleep 0.05; done"


def test_job_that_is_told_goes_back_to_the_queue_unless_it_was_cancelled(folder: Path, fake_slurm: Path, capsys):
    assert run_batch(folder, "5", TOLD) == 75
    assert (fake_slurm / "requeued").read_text() == "5_0\n"
    assert main(SWEEP) == 0
    (fake_slurm / "queue").write_text("7_0|RUNNING\n")
    sweep = find_sweep(folder / "runs", None)
    assert cancel([sweep.id]) == 0
    assert run_batch(sweep.folder, "7", TOLD) == 75
    assert (fake_slurm / "requeued").read_text() == "5_0\n"
    (fake_slurm / "queue").write_text("")
    assert main(SWEEP) == 0
    assert run_batch(sweep.folder, "8", TOLD) == 75
    assert (fake_slurm / "requeued").read_text() == "5_0\n8_0\n"


@pytest.mark.parametrize(("busy", "tries"), [(2, 3), (100, 5)])
def test_requeue_is_tried_again_a_few_times(folder: Path, fake_slurm: Path, busy: int, tries: int):
    (fake_slurm / "busy").write_text(str(busy))
    (fake_slurm / "sleep").write_text("#!/bin/sh\n")  # the pauses
    (fake_slurm / "sleep").chmod(0o755)
    assert run_batch(folder, "7", TOLD) == 75
    assert (fake_slurm / "requeued").read_text() == "7_0\n" * tries


def without_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the machine as a compute node that lacks `scontrol`: only shell tools are found, in the returned folder."""
    node = folder / "node"
    node.mkdir()
    for tool in ("sh", "bash", "touch", "sleep", "kill", "cat", "cp", "sed", "git"):
        found = shutil.which(tool)
        if found is not None:
            (node / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(node))
    return node


def test_job_on_a_node_without_scontrol_ends_as_interrupted_and_is_relaunched(
    folder: Path, fake_slurm: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    assert main(SWEEP) == 0
    sweep = find_sweep(folder / "runs", None)
    told, begun, failed = members(folder)
    write_status(told, RunOutcome.INTERRUPTED)
    write_status(begun, RunOutcome.RUNNING)
    write_status(failed, RunOutcome.FAILED, reason="boom")
    with monkeypatch.context() as node:
        without_scontrol(folder, node)
        for index in "012":
            assert run_batch(sweep.folder, "7", TOLD, index) == 75
    said = capfd.readouterr().out
    assert "scontrol is not on this node" in said
    assert f"python -m sweeps.status {sweep.id} --relaunch" in said
    assert not (fake_slurm / "requeued").exists()
    assert status([]) == 0
    assert "1 failed, 2 interrupted" in capfd.readouterr().out
    assert status(["--relaunch"]) == 0
    assert f"{sweep.id}: submitted 2 runs again" in capfd.readouterr().out
    assert runs_of_last(fake_slurm) == ["brc-w64-s0", "brc-w64-s1"]
    (fake_slurm / "queue").write_text("8_0|PENDING\n8_1|PENDING\n")
    assert status(["--relaunch"]) == 0
    out = capfd.readouterr().out
    assert f"{sweep.id}: submitted 0 runs again" in out
    assert "2 preempted, 1 failed" in out
    assert len(scripts(fake_slurm)) == 2


def test_job_that_may_not_go_back_to_the_queue_leaves_its_runs_to_a_relaunch(folder: Path, fake_slurm: Path, capsys):
    assert main([*SWEEP, "launcher.requeue=off", "launcher.code=live"]) == 0
    sweep = find_sweep(folder / "runs", None)
    assert "#SBATCH --no-requeue" in Path(scripts(fake_slurm)[0]).read_text().splitlines()
    assert f"continue: python -m sweeps.status {sweep.id} --relaunch" in capsys.readouterr().out
    for index in "012":
        assert run_batch(sweep.folder, "7", TOLD, index, "launcher.requeue=off") == 75
    assert not (fake_slurm / "requeued").exists()
    assert status(["--relaunch"]) == 0
    assert "submitted 3 runs again" in capsys.readouterr().out
    assert "#SBATCH --no-requeue" in Path(scripts(fake_slurm)[1]).read_text().splitlines()


def test_submitting_where_scontrol_is_missing_says_what_continues_the_runs(
    folder: Path, fake_slurm: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    node = without_scontrol(folder, monkeypatch)
    for name in ("sbatch", "squeue"):
        (node / name).symlink_to(fake_slurm / name)
    for requeue, warnings in (("auto", 1), ("off", 0)):
        assert main([*SWEEP, f"launcher.requeue={requeue}", f"paths.runs={requeue}"]) == 0
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if line.startswith("warning: launcher.requeue=auto: scontrol")]
        assert len(lines) == warnings
        assert "--relaunch" in said.out


def test_job_that_was_told_before_its_runs_began_leaves_them_interrupted_and_not_failed(
    folder: Path, fake_slurm: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    assert main(SWEEP) == 0
    sweep = find_sweep(folder / "runs", None)
    for index in range(3):
        (sweep.folder / f"7_{index}.interrupted").touch()
    assert {state.name for state in states_of(sweep).values()} == {"interrupted"}
    assert main(SWEEP) == 0
    assert len(runs_of_last(fake_slurm)) == 3
    assert {state.name for state in states_of(sweep).values()} == {"new"}  # of the new jobs, none has said a word


@pytest.mark.parametrize(("arguments", "expected"), [([], "there is no sweep in runs"), (["x"], "no sweeps here")])
def test_relaunch_without_a_sweep_is_refused(folder: Path, capsys, arguments: list[str], expected: str):
    run_dir = folder / "runs" / "quickstart" / "brc-s0"
    run_dir.mkdir(parents=True)
    (run_dir / layout.CONFIG).write_text(json.dumps({"train": {"env_steps": 500}}))
    assert status([*arguments, "--relaunch"]) == ExitCode.BAD_CONFIG
    assert expected in capsys.readouterr().err


def test_submitting_from_inside_a_job_hands_nothing_of_it_on(
    folder: Path, fake_slurm: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    inherited = {
        "SLURM_JOB_ID": "99",
        "SLURM_CPUS_PER_TASK": "3",
        "SBATCH_PARTITION": "debug",
        "SBATCH_GRES": "gpu:8",
        "PMIX_RANK": "0",
        "PMI_SIZE": "4",
    }
    for name, value in inherited.items() | {("SLURM_CONF", "/etc/mine.conf")}:
        monkeypatch.setenv(name, value)
    for name in ("sbatch", "squeue", "scontrol"):
        path = fake_slurm / name
        path.write_text(path.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\nenv >> {fake_slurm}/environment\n"))
    assert main(SWEEP) == 0
    assert status([]) == 0
    handed_on = (fake_slurm / "environment").read_text()
    assert not [name for name in inherited if f"\n{name}=" in handed_on]
    assert "\nSLURM_CONF=/etc/mine.conf\n" in handed_on
    lines = [line for line in capsys.readouterr().err.splitlines() if "set aside" in line]
    assert len(lines) == 1
    assert lines[0].endswith(": SBATCH_GRES=gpu:8 SBATCH_PARTITION=debug")
    assert os.environ["SLURM_JOB_ID"] == "99"


def test_waiting_for_runs_that_an_earlier_command_submitted(folder: Path, fake_slurm: Path, capsys, monkeypatch):
    assert main([*SWEEP, "train.env_steps=1000"]) == 0
    queue, looks = cluster.queue, iter(range(1000))

    def ends_in_time(owner: int | None = None) -> cluster.Queue | None:
        if next(looks) == 4:  # when waiting has begun
            (fake_slurm / "queue").write_text("")
            for run_dir in members(folder):
                (run_dir / layout.DONE).write_text(json.dumps({"env_steps": 1000, "score": 0.5, "evaluation": []}))
        return queue(owner)

    monkeypatch.setattr(cluster, "queue", ends_in_time)
    (fake_slurm / "queue").write_text("7_0|RUNNING\n7_1|PENDING\n7_2|PENDING\n")
    waiting = composed([*SWEEP[1:], "train.env_steps=1000", "wait=true"], multirun=True)
    assert launch(waiting, watch_every_s=0.05) == ExitCode.DONE
    assert len(scripts(fake_slurm)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "3 done"


def test_swept_lists_are_shown_as_they_are_written(folder: Path, fake_slurm: Path, capsys):
    sweep = ["-m", "launcher=slurm", "tracking=off", "benchmark.tasks=[cartpole-balance],[ball_in_cup-catch]"]
    assert main(sweep) == 0
    (fake_slurm / "queue").write_text("7_0|PENDING\n7_1|PENDING\n")
    capsys.readouterr()
    assert main(sweep) == 0  # the closing table
    assert status([]) == 0
    assert capsys.readouterr().out.count("benchmark.tasks=[cartpole-balance]") == 2


def test_slurm_that_does_not_answer_is_not_mistaken_for_none(folder: Path, fake_slurm: Path, capsys):
    (fake_slurm / "silent").touch()
    sweep = ["-m", "tracking=off", "seed=0,1"]
    assert main(sweep) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: launcher=auto: sbatch is here, but no SLURM answers")
    assert "launcher=local" in line
    assert not (folder / "runs").exists()
    assert main([*sweep, "plan=true"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: sbatch is here, but no SLURM answers")
    assert len(captured.err.splitlines()) == 1
    assert "on this machine's CPU" in captured.out


def test_slurm_without_a_configuration_is_none(folder: Path, fake_slurm: Path):
    words = "scontrol: fatal: Could not establish a configuration source"
    (fake_slurm / "scontrol").write_text(f"#!/bin/sh\necho '{words}' >&2; exit 1\n")
    assert cluster.controller() == "none"
    assert not use_slurm(compose(["launcher=auto"]))


def test_moved_folder_of_runs_keeps_its_sweeps(folder: Path, fake_slurm: Path):
    assert main(SWEEP) == 0
    (folder / "runs").rename(folder / "elsewhere")
    (fake_slurm / "queue").write_text("7_1|PENDING\n")
    states = states_of(find_sweep(folder / "elsewhere", None))
    assert [state.name for state in states.values()] == ["new", "queued", "new"]
