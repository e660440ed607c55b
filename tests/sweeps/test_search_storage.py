"""A search outlives its journal: a torn end is cut, and what is lost before it comes back from the runs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conf.typed import ConfigError
from records.lock import try_lock
from records.sweep import Member, change_sweep, listed
from sweeps.search import storage
from sweeps.search import study as optuna_study
from sweeps.search.trials import Worker
from tests.sweeps.test_search import QUICK, TAU, fake_runs, opened, starts, states  # noqa: F401

SIX = [TAU, "sweep.search.trials=6", "sweep.search.pruner=off", "launcher.max_parallel=3"]


def searched(trials: int = 6) -> Path:
    """Make a search of so many trials, all of which have ended; its journal."""
    work(*SIX, f"sweep.search.trials={trials}")
    (journal,) = Path.cwd().glob(f"runs/_sweeps/*/{storage.JOURNAL}")
    return journal


def work(*settings: str) -> None:
    """Look after the trials of a search until all have ended."""
    made, study = opened(*settings)
    assert Worker(made, study, 3, new_session=True, intervals=QUICK).run(wait=True)


def params_and_values(study) -> list[tuple]:
    return [(trial.number, trial.params, trial.value, trial.intermediate_values) for trial in study.get_trials()]


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize("tail", [b'{"op_code": 4, "stud', b'{"op_code": 4}garbage\n', b"\0\0\0\0", b"\xff\xfe"])
def test_torn_last_line_is_cut_and_the_file_as_it_was_is_kept(tail: bytes, capsys: pytest.CaptureFixture):
    journal = searched(1)
    before = journal.read_bytes()
    journal.write_bytes(before + tail)
    capsys.readouterr()
    _, study = opened(*SIX, "sweep.search.trials=1")
    assert states(study) == ["complete"]
    assert journal.read_bytes().startswith(before + b'{"op_code":0')  # opening a study writes a line
    assert journal.with_name("study.log.damaged-1").read_bytes() == before + tail
    number = before.count(b"\n") + 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {journal}: line {number}, the last one, is incomplete and was cut")


DAMAGE = {
    "first line": lambda lines: [b"{" + lines[0], *lines[1:]],
    "zeros": lambda lines: [*lines[:5], b"\0" * len(lines[5]), *lines[6:]],
    "no object": lambda lines: [*lines[:5], b"null\n", *lines[6:]],
    "deep": lambda lines: [*lines[:5], b"[" * 100000 + b"\n", *lines[6:]],
}


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize(
    "kind", ["zeros", *(pytest.param(kind, marks=pytest.mark.slow) for kind in DAMAGE if kind != "zeros")]
)
def test_study_with_a_damaged_line_is_built_again_from_its_runs(kind: str, capsys: pytest.CaptureFixture):
    journal = searched(3)
    _, study = opened(*SIX, "sweep.search.trials=3")
    before, began = params_and_values(study), starts(Path.cwd())
    damaged = b"".join(DAMAGE[kind](journal.read_bytes().splitlines(keepends=True)))
    journal.write_bytes(damaged)
    capsys.readouterr()
    work(*SIX, "sweep.search.trials=4")
    said = capsys.readouterr().err
    assert f"warning: {journal}: line " in said
    assert "3 trials are known from their runs: 3 complete" in said
    assert journal.with_name("study.log.damaged-1").read_bytes() == damaged
    _, again = opened(*SIX, "sweep.search.trials=4")
    assert params_and_values(again)[:3] == before
    assert states(again) == ["complete"] * 4
    assert {name: count for name, count in starts(Path.cwd()).items() if name in began} == began


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize("left", [None, b"", b'{"op_code":0,"wor'])
def test_study_whose_journal_is_gone_is_built_again_from_its_runs(left: bytes | None):
    journal = searched(2)
    _, study = opened(*SIX, "sweep.search.trials=2")
    before = params_and_values(study)
    journal.unlink()
    if left is not None:
        journal.write_bytes(left)
    _, again = opened(*SIX, "sweep.search.trials=2")
    assert params_and_values(again) == before


@pytest.mark.usefixtures("fake_runs")
def test_trials_that_failed_or_were_stopped_or_had_not_ended_are_built_again_as_such():
    bins = "sweep.search.space={agent.num_bins:{choices:[3,5,7]}}"
    settings = [bins, "sweep.search.trials=6", "sweep.search.sampler=random", "sweep.search.pruner=off"]
    work(*settings)
    made, study = opened(*settings)
    assert {"failed", "complete"} == set(states(study))
    before = states(study)
    (made.folder / storage.JOURNAL).write_text("lost\nentirely\n")
    _, again = opened(*settings)
    assert states(again) == before
    assert again.get_trials()[before.index("failed")].user_attrs["reason"] == "three bins are too few"
    # A trial of which nothing but its entry is left goes on.
    number = before.index("complete")
    member = next(one for one in storage.read_sweep(made.path).members if one.varied["trial"] == str(number))
    for path in member.run_dir.iterdir():
        if path.is_file() and path.name != "config.json":
            path.unlink()
    assert optuna_study.state_name(storage.known_trial(made, again, number, [member])) == "running"
    assert optuna_study.state_name(storage.known_trial(made, again, 0, [])) == "failed"


@pytest.mark.slow
@pytest.mark.usefixtures("fake_runs")
def test_study_that_is_built_again_judges_further_trials_by_the_rungs_that_earlier_ones_reached():
    settings = [TAU, "sweep.search.trials=9", "sweep.search.pruner=asha", "sweep.search.sampler=random"]
    work(*settings)
    made, study = opened(*settings)
    before = [(trial.state, trial.value, trial.system_attrs) for trial in study.get_trials()]
    assert {key for _, _, rungs in before for key in rungs} >= {"completed_rung_0", "completed_rung_1"}
    assert {"pruned", "complete"} == set(states(study))
    (made.folder / storage.JOURNAL).unlink()
    _, again = opened(*settings)
    assert [(trial.state, trial.value, trial.system_attrs) for trial in again.get_trials()] == before


@pytest.mark.usefixtures("fake_runs")
@pytest.mark.parametrize(
    ("varied", "reason"),
    [
        ({}, "trial=: must be a number below 100000"),
        ({"trial": "one"}, "trial=one: must be a number below 100000"),
        ({"trial": "99999999"}, "trial=99999999: must be a number below 100000"),
        ({"trial": "0", "agent.tau": "y"}, "could not convert string to float: 'y'"),
        ({"trial": "0", "agent.tau": "7"}, "7"),
    ],
)
def test_record_of_a_search_that_is_damaged_is_named_and_the_study_is_not_built_from_it(varied: dict, reason: str):
    made, _ = opened(*SIX)
    change_sweep(made.path, members=listed([Member(Path.cwd() / "runs" / "x", 900, varied)], made.path))
    (made.folder / storage.JOURNAL).unlink()
    with pytest.raises(ConfigError, match=rf"{made.path}: a trial's values cannot be read \(.*{reason}"):
        storage.open_study(made)


@pytest.mark.usefixtures("fake_runs")
def test_damaged_journal_of_a_search_that_others_work_on_is_left_alone():
    journal = searched(2)
    damaged = b"lost\n" + journal.read_bytes()
    journal.write_bytes(damaged)
    held = try_lock(journal.parent / "trial-0001.lock")
    assert held is not None
    with pytest.raises(ConfigError, match=r"study\.log: line 1 is damaged .* works on the search"):
        opened(*SIX, "sweep.search.trials=2")
    assert journal.read_bytes() == damaged
    held.release()


@pytest.mark.usefixtures("fake_runs")
def test_lock_of_a_killed_process_costs_no_time(tmp_path: Path):
    made, study = opened(*SIX)
    code = (
        "import sys, time; from pathlib import Path; from sweeps.search.storage import JournalLock\n"
        "JournalLock(Path(sys.argv[1])).acquire(); print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(made.folder / storage.JOURNAL)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    begun = time.monotonic()
    study.ask()
    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("fake_runs")
def test_waiting_for_the_journal_says_what_is_waited_for(capsys: pytest.CaptureFixture):
    made, _ = opened(*SIX)
    held = storage.JournalLock(made.folder / storage.JOURNAL)
    held.acquire()
    threading.Timer(0.5, held.release).start()
    storage.JournalLock(made.folder / storage.JOURNAL, say_after_s=0.1).acquire()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"waiting for {made.folder / storage.JOURNAL}.lock, which process ")
