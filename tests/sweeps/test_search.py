"""A search loses and repeats no trial, whatever happens to the processes that work on it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from conf import identity
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from records.run_dir import RunDir
from records.sweep import read_sweep, sweep_records
from sweeps import cancel, pool
from sweeps.search import command as search
from sweeps.search import space, storage, view
from sweeps.search import study as optuna_study
from sweeps.search import trials as trial_worker
from sweeps.search.scores import Scores
from sweeps.status import console
from sweeps.status.__main__ import main as status_main
from tests.commands import TINY, run, wait_until

BUDGET = ["train.env_steps=900", "eval.every_steps=100", "tracking=off", "launcher=local", "launcher.backoff_s=0"]
TAU = "sweep.search.space={agent.tau:{low:0.001,high:0.02}}"
TRIALS = "sweep.search.trials=8"
QUICK = trial_worker.Intervals(poll_s=0.02, claim_s=0.1, watch_s=0.05)


@pytest.fixture
def fake_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to launch from, in which runs take a tenth of a second or so."""
    monkeypatch.chdir(tmp_path)
    slow_down(monkeypatch, 0.02)
    return tmp_path


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Runs need so long from one evaluation to the next."""
    command = [sys.executable, "-m", "tests.sweeps.fake_run"]
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(pool, "run_command", lambda run_dir: [*command, str(run_dir), str(seconds)])


def opened(*overrides: str) -> tuple[optuna_study.Search, object]:
    """The search of a command and its study, as the command would have them before its first trial."""
    made = optuna_study.compose([*BUDGET, *overrides], Path.cwd())
    study = storage.open_study(made)
    optuna_study.write_record(made, None)
    return made, study


def states(study) -> list[str]:
    return [optuna_study.state_name(trial) for trial in study.get_trials()]


def starts(folder: Path) -> Counter:
    return Counter({path.parent.name: len(path.read_text().split()) for path in folder.glob("runs/*/*/starts")})


def test_search_ends_with_its_best_trial_as_a_command(fake_runs: Path, capsys: pytest.CaptureFixture):
    arguments = [*BUDGET, TAU, TRIALS, "sweep.search.pruner=off", "launcher.max_parallel=4"]
    assert search.launch(arguments, QUICK) == ExitCode.DONE
    output = capsys.readouterr().out
    made, study = opened(TAU, TRIALS)
    assert states(study) == ["complete"] * 8
    best = optuna_study.complete_trials(study)[0]
    assert best.value == max(trial.value for trial in study.get_trials())
    assert best.value == pytest.approx(0.0009 - abs(best.params["agent.tau"] - 0.01))
    command = output.splitlines()[-1]
    assert command.startswith("python -m agents.run train.env_steps=900")
    assert f"agent.tau={best.params['agent.tau']!r}" in command
    assert "sweep" not in command
    plots = made.folder / "plots"
    assert {path.stem for path in plots.glob("*.png")} == {"history", "importance", "slice", "intermediate"}
    assert [member.varied["trial"] for member in read_sweep(made.path).members] == [str(n) for n in range(8)]


@pytest.mark.slow
def test_repeating_the_command_begins_nothing_and_more_trials_continue_it(fake_runs: Path):
    assert search.launch([*BUDGET, TAU, TRIALS], QUICK) == ExitCode.DONE
    before = starts(fake_runs)
    assert search.launch([*BUDGET, TAU, TRIALS], QUICK) == ExitCode.DONE
    assert starts(fake_runs) == before
    assert search.launch([*BUDGET, TAU, "sweep.search.trials=10"], QUICK) == ExitCode.DONE
    assert len(starts(fake_runs)) == 10
    _, study = opened(TAU)
    assert len(states(study)) == 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["asha", "median"])
def test_trials_with_low_scores_are_stopped_early_and_the_best_is_not(fake_runs: Path, kind: str):
    arguments = [
        TAU,
        "sweep.search.trials=12",
        f"sweep.search.pruner={kind}",
        "sweep.search.sampler=random",
    ]
    assert search.launch([*BUDGET, *arguments, "sweep.search.startup_trials=3"], QUICK) == ExitCode.DONE
    _, study = opened(*arguments)
    found = Counter(states(study))
    assert found["pruned"] >= 3
    assert found["complete"] >= 2
    for trial in study.get_trials():
        config = optuna_study.compose([*BUDGET, *arguments], Path.cwd()).trial(trial.params)
        status = json.loads((identity.run_dir(config) / layout.STATUS).read_text())
        assert status["state"] == {"pruned": "stopped", "complete": "done"}[optuna_study.state_name(trial)]
    closest = min(study.get_trials(), key=lambda trial: abs(trial.params["agent.tau"] - 0.01))
    assert optuna_study.state_name(closest) == "complete"


@pytest.mark.slow
def test_free_slot_is_refilled_while_a_slow_trial_goes_on(fake_runs: Path, monkeypatch: pytest.MonkeyPatch):
    made, study = opened(TAU, "sweep.search.trials=6", "sweep.search.pruner=off")
    first: list[Path] = []

    def command(run_dir: Path) -> list[str]:
        first.append(run_dir)
        quick = f"{sys.executable} -m tests.sweeps.fake_run {run_dir} 0"
        return ["sh", "-c", f"until [ -e go ]; do sleep 0.1; done; {quick}" if run_dir == first[0] else quick]

    monkeypatch.setattr(pool, "run_command", command)
    worker = trial_worker.Worker(made, study, 2, new_session=True, intervals=QUICK)
    deadline = time.monotonic() + 120
    while Counter(states(study))["complete"] < 5:
        assert time.monotonic() < deadline, states(study)
        worker.poll()
        time.sleep(0.05)
    assert states(study)[0] == "running"
    Path("go").touch()
    assert worker.run(wait=True)
    assert states(study) == ["complete"] * 6


def test_failed_trial_is_told_once_and_the_search_goes_on(fake_runs: Path):
    bins = "sweep.search.space={agent.num_bins:{choices:[3,5,7]}}"
    arguments = [bins, "sweep.search.trials=6", "sweep.search.sampler=random", "sweep.search.pruner=off"]
    assert search.launch([*BUDGET, *arguments], QUICK) == ExitCode.DONE
    _, study = opened(*arguments)
    for trial in study.get_trials():
        assert (optuna_study.state_name(trial) == "failed") == (trial.params["agent.num_bins"] == 3)
        if optuna_study.state_name(trial) == "failed":
            assert trial.user_attrs["reason"] == "three bins are too few"
    assert "failed" in states(study)


def test_search_in_which_nothing_completes_says_why(fake_runs: Path, capsys: pytest.CaptureFixture):
    bins = "sweep.search.space={agent.num_bins:{choices:[3,5]}}"
    assert search.launch([*BUDGET, bins, "sweep.search.trials=1", "sweep.search.seed=2"], QUICK) == ExitCode.FAILED
    assert "three bins are too few" in capsys.readouterr().err


@pytest.mark.slow
def test_same_values_again_are_the_same_run_and_cost_nothing(fake_runs: Path):
    bins = "sweep.search.space={agent.num_bins:{choices:[5,7]}}"
    arguments = [bins, TRIALS, "launcher.max_parallel=3", "sweep.search.pruner=off"]
    assert search.launch([*BUDGET, *arguments], QUICK) == ExitCode.DONE
    _, study = opened(*arguments)
    assert states(study) == ["complete"] * 8
    assert set(starts(fake_runs).values()) == {1}


@pytest.mark.slow
def test_values_of_a_trial_follow_from_seed_and_history_and_not_from_the_worker(fake_runs: Path, tmp_path: Path):
    values = []
    for folder in ("a", "b"):
        made, study = opened(TAU, TRIALS, f"paths.runs={tmp_path}/{folder}", "sweep.search.pruner=off")
        worker = trial_worker.Worker(made, study, 1, new_session=True, intervals=QUICK)
        deadline = time.monotonic() + 120
        while not trial_worker.is_over(made, study):
            assert time.monotonic() < deadline, states(study)
            worker.poll()
            if folder == "b" and not worker.claimed:  # another process for every trial
                worker = trial_worker.Worker(made, study, 1, new_session=True, intervals=QUICK)
        values.append([trial.params["agent.tau"] for trial in study.get_trials()])
    assert values[0] == values[1]
    assert len(set(values[0])) == 8


@pytest.mark.slow
def test_worker_told_to_stop_leaves_its_trials_to_the_next_command(fake_runs: Path, monkeypatch: pytest.MonkeyPatch):
    slow_down(monkeypatch, 0.1)
    made, study = opened(TAU, "sweep.search.trials=3", "sweep.search.pruner=off")
    worker = trial_worker.Worker(made, study, 2, new_session=True, intervals=QUICK)

    def stop_when_two_run() -> None:
        wait_until(lambda: len(starts(fake_runs)) == 2, 60, "two runs, which then listen to signals")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_two_run, daemon=True).start()
    assert not worker.run(wait=True)
    assert states(study) == ["running", "running"]
    before = [trial.params for trial in study.get_trials()]
    assert search.launch([*BUDGET, TAU, "sweep.search.trials=3", "sweep.search.pruner=off"], QUICK) == ExitCode.DONE
    assert states(study) == ["complete"] * 3
    assert [trial.params for trial in study.get_trials()][:2] == before
    assert len(starts(fake_runs)) == 3


WORKER = """\
import sys
from tests.sweeps.test_search import QUICK, slow_down, search
import pytest
slow_down(pytest.MonkeyPatch(), float(sys.argv[1]))
sys.exit(search.main(sys.argv[2:], QUICK))
"""


@pytest.mark.slow
def test_killed_workers_trials_are_taken_over_and_none_is_lost_or_repeated(fake_runs: Path):
    made, study = opened(TAU, "sweep.search.trials=10", "sweep.search.pruner=off", "launcher.max_parallel=2")
    command = [sys.executable, "-c", WORKER, "0.1", made.id]
    workers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    wait_until(lambda: len(states(study)) == 4 and len(starts(fake_runs)) == 4, 60, "each has two trials")
    owned = Counter(states(study))
    assert owned == {"running": 4}
    workers[0].kill()
    _, errors = workers[1].communicate(timeout=60)
    assert workers[1].returncode == ExitCode.DONE, errors
    assert states(study) == ["complete"] * 10
    assert len(starts(fake_runs)) == 10
    # The killed worker's runs went on by themselves, and were watched to their end: nothing began again.
    assert set(starts(fake_runs).values()) == {1}


def test_trial_of_a_process_that_died_between_drawing_and_locking_is_taken_over(fake_runs: Path):
    made, study = opened(TAU, "sweep.search.trials=2", "sweep.search.pruner=off")
    study.ask()  # without any value yet
    assert trial_worker.Worker(made, study, 1, new_session=True, intervals=QUICK).run(wait=True)
    assert states(study) == ["complete"] * 2
    assert all("agent.tau" in trial.params for trial in study.get_trials())


def test_trial_pruned_by_a_worker_that_died_stays_pruned(fake_runs: Path):
    made, study = opened(TAU, "sweep.search.trials=1")
    trial = study.ask()
    config = made.trial({"agent.tau": optuna_study.suggest(trial, "agent.tau", made.space["agent.tau"])})
    run_dir = identity.run_dir(config)
    run_dir.mkdir(parents=True)
    (run_dir / layout.STOP).write_text(json.dumps({"by": made.id, "reason": "low"}))
    trial.report(0.1, 100)
    trial_worker.Worker(made, study, 1, new_session=True, intervals=QUICK).run(wait=True)
    assert states(study) == ["pruned"]
    assert not (run_dir / "starts").exists()


def test_scores_are_read_as_they_come_and_a_file_that_was_cut_is_read_again(tmp_path: Path):
    def rows(steps: int, *values: float) -> str:
        tasks = [f"dmc/{index}" for index in range(len(values))]
        row = {"env_steps": steps, "update_steps": steps}
        lines = [
            row | {"name": "eval/score", "task": task, "value": value}
            for task, value in zip(tasks, values, strict=True)
        ]
        lines += [row | {"name": "critic/loss", "task": None, "value": 9.0}]
        lines += [row | {"name": "eval/score", "task": None, "value": 9.0}]
        return "".join(json.dumps(line) + "\n" for line in lines)

    scores = Scores(tmp_path)
    assert scores.read() == {}
    path = tmp_path / layout.METRICS
    first, second = rows(0, 1, 2, 3, 100), rows(10, 4, 4, 4, 4)
    path.write_text(first + second[:50])
    assert scores.read() == {0: 2.5}  # without the least and the greatest quarter
    path.write_text(first + second)
    assert scores.read() == {0: 2.5, 10: 4}
    path.write_text(first)
    assert scores.read() == {0: 2.5, 10: 4}
    path.write_text(first + second + rows(20, 5, 5, 5, 5))
    assert scores.read() == {0: 2.5, 10: 4, 20: 5}
    assert scores.final(15) == 4
    (tmp_path / layout.DONE).write_text(
        json.dumps(
            {
                "env_steps": 15,
                "score": 7.0,
                "evaluation": [json.loads(line) for line in rows(15, 7, 7, 7, 7).splitlines()],
            }
        )
    )
    assert scores.final(15) == 7
    assert scores.final(20) == 5


@pytest.mark.slow
def test_mlflow_holds_the_search_with_its_plots_above_its_trials(tmp_path: Path):
    settings = [TAU, "sweep.search.trials=2", "sweep.search.pruner=off", "launcher=local", "launcher.max_parallel=2"]
    result = run(tmp_path, "-m", "+sweep=search", *TINY, "train.env_steps=300", "eval.every_steps=150", *settings)
    assert result.returncode == ExitCode.DONE, result.stderr
    from mlflow.tracking import MlflowClient

    (path,) = sweep_records(tmp_path / "runs")
    sweep = read_sweep(path)
    ((uri, parent_id),) = ((uri, parts[""]) for uri, parts in sweep.parents.items())
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri)
    parent = client.get_run(parent_id)
    assert parent.info.status == "FINISHED"
    plots = {Path(artifact.path).name for artifact in client.list_artifacts(parent_id, "plots")}
    assert plots == {"history.png", "importance.png", "slice.png", "intermediate.png"}
    scores = client.get_metric_history(parent_id, "trial/score")
    best = max(scores, key=lambda point: point.value)
    assert sorted(point.step for point in scores) == [0, 1]
    assert (parent.data.tags["best.trial"], parent.data.tags["trials"]) == (str(best.step), "2")
    assert parent.data.tags["best.command"] in result.stdout
    of_parent = f"tags.mlflow.parentRunId = '{parent_id}'"
    children = client.search_runs([parent.info.experiment_id], of_parent)
    trials = [RunDir(member.run_dir).mirrors() for member in sweep.members]
    assert len(trials) == 2
    assert {child.info.run_id for child in children} == {states[uri].run_id for states in trials}
    assert {child.info.status for child in children} == {"FINISHED"}


ON_SLURM = [*BUDGET, TAU, TRIALS, "launcher=slurm", "launcher.max_parallel=2"]


def submitted(fake_slurm: Path) -> list[str]:
    path = fake_slurm / "submitted"
    return [Path(script).read_text() for script in path.read_text().split()] if path.exists() else []


def test_command_repeated_while_its_jobs_are_in_the_queue_submits_only_what_is_missing(
    fake_runs: Path, fake_slurm: Path, capsys: pytest.CaptureFixture
):
    assert search.launch(ON_SLURM, QUICK) == ExitCode.DONE
    assert "submitted 2 jobs as job array 7" in capsys.readouterr().out
    (fake_slurm / "queue").write_text("7_0|RUNNING\n7_1|PENDING\n99_0|PENDING\n")
    assert search.launch(ON_SLURM, QUICK) == ExitCode.DONE
    assert "has jobs already: 1 pending, 1 running" in capsys.readouterr().out
    assert len(submitted(fake_slurm)) == 1
    (fake_slurm / "queue").write_text("7_1|PENDING\n")
    assert search.launch(ON_SLURM, QUICK) == ExitCode.DONE
    assert "submitted 1 jobs as job array 8" in capsys.readouterr().out
    assert "--array=0-0%" in submitted(fake_slurm)[1]
    (fake_slurm / "silent").touch()
    with pytest.raises(ConfigError, match="squeue does not answer"):
        search.launch(ON_SLURM, QUICK)
    assert len(submitted(fake_slurm)) == 2


def test_search_submits_no_more_jobs_than_trials_are_left(fake_runs: Path, fake_slurm: Path):
    _, study = opened(TAU, TRIALS)
    for _ in range(7):
        study.tell(study.ask(), 0.5)
    assert search.launch(ON_SLURM, QUICK) == ExitCode.DONE
    (script,) = submitted(fake_slurm)
    assert "--array=0-0%" in script


def test_search_that_is_over_submits_nothing_and_shows_its_result(
    fake_runs: Path, fake_slurm: Path, capsys: pytest.CaptureFixture
):
    _, study = opened(TAU, "sweep.search.trials=1")
    study.tell(study.ask(), 0.5)
    assert search.launch([*ON_SLURM, "sweep.search.trials=1"], QUICK) == ExitCode.DONE
    assert "best: trial 0, score 0.500" in capsys.readouterr().out
    assert submitted(fake_slurm) == []


@pytest.mark.parametrize("trials", [1, 2])
def test_wait_stays_until_the_jobs_have_ended_and_tells_whether_the_search_has(
    fake_runs: Path, fake_slurm: Path, capsys: pytest.CaptureFixture, trials: int
):
    (fake_slurm / "queue").write_text("7_0|RUNNING\n")

    def work() -> None:
        _, study = opened(TAU)
        trial = study.ask()
        trial.report(0.5, 100)
        study.tell(trial, 0.5)
        (fake_slurm / "queue").write_text("")

    job = threading.Timer(0.5, work)
    job.start()
    outcome = search.launch([*ON_SLURM, f"sweep.search.trials={trials}", "wait=true"], QUICK)
    job.join()
    said = capsys.readouterr()
    if trials == 1:
        assert outcome == ExitCode.DONE
        assert "best: trial 0, score 0.500" in said.out
    else:
        assert outcome == ExitCode.INTERRUPTED
        assert "the same command continues" in said.err


def test_status_and_cancel_know_the_jobs_of_a_search(fake_runs: Path, fake_slurm: Path, capsys: pytest.CaptureFixture):
    assert search.launch(ON_SLURM, QUICK) == ExitCode.DONE
    (fake_slurm / "queue").write_text("7_0|PENDING\n7_1|PENDING\n99_0|PENDING\n")
    capsys.readouterr()
    assert status_main([]) == ExitCode.DONE
    assert "jobs of the search: 2 pending" in capsys.readouterr().out
    (sweep,) = sweep_records(Path("runs"))
    assert cancel.main([sweep.stem]) == ExitCode.DONE
    assert "cancelled 2 jobs" in capsys.readouterr().out
    assert (fake_slurm / "cancelled").read_text().split() == ["7_0", "7_1"]
    (fake_slurm / "silent").touch()
    assert cancel.main([sweep.stem]) == ExitCode.BAD_CONFIG


def test_relaunch_submits_the_jobs_that_a_search_has_too_few_of(
    fake_runs: Path, fake_slurm: Path, capsys: pytest.CaptureFixture
):
    assert search.launch([*ON_SLURM, "launcher.code=live"], QUICK) == ExitCode.DONE
    (path,) = sweep_records(Path("runs"))
    before = path.read_bytes()
    assert f"continue: python -m sweeps.status {path.stem} --relaunch" in capsys.readouterr().out
    (fake_slurm / "queue").write_text("7_1|PENDING\n")
    for submitted_jobs, array in ((1, "8"), (0, "")):
        assert status_main([path.stem, "--relaunch"]) == ExitCode.DONE
        assert f"submitted {submitted_jobs} jobs{f' as job array {array}' if array else ''}" in capsys.readouterr().out
        (fake_slurm / "queue").write_text("7_1|PENDING\n8_0|PENDING\n")
    assert len(submitted(fake_slurm)) == 2
    assert path.read_bytes() == before
    opened(TAU, "sweep.search.trials=1", "sweep.name=local")
    assert status_main(["--relaunch"]) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no SLURM jobs; this machine goes on with it by: python -m sweeps.search quickstart-local-" in line


@pytest.mark.slow
def test_cancel_stops_every_command_that_works_on_a_search_here(
    fake_runs: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch
):
    made, study = opened(TAU, "sweep.search.trials=4", "sweep.search.pruner=off")
    command = [sys.executable, "-c", WORKER, "2", made.id]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    wait_until(lambda: len(starts(fake_runs)) == 2, 60, "both began a trial")
    assert cancel.cancel(read_sweep(made.path)) == (0, True)
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == ExitCode.INTERRUPTED, errors
    assert states(study) == ["running", "running"]
    assert cancel.cancel(read_sweep(made.path)) == (0, False)


@pytest.mark.parametrize("override", ["launcher.slurm.partition=gpuu", "+launcher.slurm.array=1"])
def test_search_that_slurm_refuses_leaves_nothing(fake_runs: Path, fake_slurm: Path, override: str):
    (fake_slurm / "refuse").write_text("sbatch: error: invalid partition specified: gpuu\n")
    before = sorted(fake_runs.iterdir())
    with pytest.raises(ConfigError):
        search.launch([*ON_SLURM, "tracking=mlflow", override], QUICK)
    assert sorted(fake_runs.iterdir()) == before


BAD_SPACES = [
    ("{agent.tua:{low:0.1,high:0.2}}", "did you mean agent.tau?"),
    ("{agent.tau:3}", "must be {low: .., high: ..}"),
    ("{agent.tau:{lo:0.1,high:0.2}}", "no lo here; did you mean low?"),
    ("{agent.tau:{low:0.1}}", "high is missing"),
    ("{agent.tau:{low:0.2,high:0.1}}", "low=0.2 must be less than high=0.1"),
    ("{agent.tau:{low:0.1,high:0.1}}", "must be less than"),
    ("{agent.tau:{low:a,high:0.1}}", "low=a is no finite number"),
    ("{agent.tau:{low:0.1,high:inf}}", "high=inf is no finite number"),
    ("{agent.tau:{low:true,high:2}}", "low=true is no finite number"),
    ("{agent.tau:{low:0.1,high:2}}", "agent.tau=2.0: must be a finite number > 0 and <= 1"),
    ("{agent.discount:{low:0,high:0.5,log:true}}", "low=0 must be > 0 with log: true"),
    ("{agent.tau:{low:0.1,high:0.5,log:yes}}", "log=yes: must be true or false"),
    ("{agent.tau:{low:0.1,high:0.5,step:0}}", "step=0: must be > 0"),
    ("{agent.tau:{low:0.1,high:0.5,step:1}}", "at most high - low"),
    ("{agent.tau:{low:0.1,high:0.5,step:0.1,log:true}}", "without log"),
    ("{agent.num_bins:{low:2.5,high:9}}", "low=2.5 is no integer"),
    ("{agent.network:{low:1,high:2}}", "low and high are for numbers"),
    ("{model:{low:1,high:2}}", "a group has no low and high"),
    ("{model:{choices:[s,xxxs]}}", "no such model"),
    ("{agent.num_bins:{choices:[]}}", "at least two"),
    ("{agent.num_bins:{choices:[5]}}", "at least two"),
    ("{agent.num_bins:{choices:5}}", "must be a list"),
    ("{agent.num_bins:{choices:[5,5]}}", "appears twice"),
    ("{agent.num_bins:{choices:[5,7],low:3}}", "choices stand alone"),
    ("{agent.num_bins:{choices:[5,many]}}", "agent.num_bins=many: must be an integer"),
    ("{checkpoint.every_min:{low:1,high:2}}", "one and the same run"),
    ("{env.workers:{low:1,high:2}}", "one and the same run"),
    ("{benchmark.tasks:{choices:[[cartpole-balance],[cartpole-swingup]]}}", "changes the tasks"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_SPACES, ids=[text for text, _ in BAD_SPACES])
def test_bad_space_is_refused_in_one_line_before_anything_is_started(fake_runs: Path, text: str, expected: str):
    with pytest.raises(ConfigError) as caught:
        search.launch([*BUDGET, f"sweep.search.space={text}"], QUICK)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (fake_runs / "runs").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["sweep.search.storage=nonsense"], "sweep.search.storage=nonsense: cannot be opened"),
        (["sweep.search.storage=sqlite:////proc/none/study.db"], "cannot be opened"),
        (["sweep.search.storage=sqlite:///:memory:"], "must name a file"),
        (["sweep.search.storage=postgresql://me@127.0.0.1:1/db"], "postgresql://me@127.0.0.1:1/db: cannot"),
        (
            ["sweep.search.storage=postgresql://me:secret@127.0.0.1:1/db"],
            "postgresql://me:***@127.0.0.1:1/db: a password may not stand here",
        ),
        (["seed=0,1"], "seed: has several values"),
        (["agent.tau=0.1"], "nothing is left to choose"),
        (["launcher=inline"], "launcher=inline: a search needs processes"),
    ],
    ids=["nonsense", "folder", "memory", "away", "password", "axis", "fixed", "inline"],
)
def test_search_that_cannot_begin_says_why_in_one_line(fake_runs: Path, overrides: list[str], expected: str):
    with pytest.raises(ConfigError) as caught:
        search.launch([*BUDGET, TAU, *overrides], QUICK)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not list((fake_runs / "runs").glob("*/*/config.json"))


def test_command_line_fixes_drops_and_adds_axes():
    body = {
        "agent.tau": {"low": 0.1, "high": 0.2},
        "agent.discount": {"low": 0.1, "high": 0.2},
        "model": {"choices": ["s", "m"]},
    }
    nested = {"agent": {"tau": None, "num_bins": {"low": 3, "high": 9, "log": True}}}
    axes = space.read(body | nested, ["model"])
    assert set(axes) == {"agent.discount", "agent.num_bins"}
    assert str(axes["agent.num_bins"]) == "3 to 9 (log)"


def test_tables_show_lists_as_they_are_written(fake_runs: Path, capsys: pytest.CaptureFixture):
    made, study = opened(TAU)
    made = dataclasses.replace(made, space={"benchmark.tasks": space.Choices(("[a]", "[b]"))})
    drawn = optuna_study.suggest(study.ask(), "benchmark.tasks", made.space["benchmark.tasks"])
    view.print_search(made)
    assert "[a], [b]" in capsys.readouterr().out
    console().print(view.table(made, study))
    assert drawn in capsys.readouterr().out


def test_manifest_whose_command_means_something_else_now_is_refused(fake_runs: Path):
    made, _ = opened(TAU)
    body = json.loads(made.path.read_text())
    made.path.write_text(json.dumps(body | {"overrides": [*body["overrides"], "agent.discount=0.9"]}))
    with pytest.raises(ConfigError, match="have files in conf/ changed since"):
        optuna_study.load(made.path)
