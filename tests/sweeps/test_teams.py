"""Seeds that one process trains together: which they are, what is refused, and how each one's end is booked."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from conf import identity
from conf.compose import compose, compose_many
from conf.schema import RunConfig
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from records.run_record import write_config
from sweeps import pool
from sweeps.budget import gpus_of
from sweeps.pool import Pool, RetryPolicy
from sweeps.slurm.script import group
from sweeps.teams import check_seeds, recorded_teams, teams


def configs(*overrides: str) -> list[RunConfig]:
    return [one.config for one in compose_many(list(overrides))]


def test_runs_that_differ_in_the_seed_alone_are_together_and_the_rest_is_a_team_too():
    runs = configs("seed=0,1,2", "agent.discount=0.9,0.8", "launcher.seeds_together=2")
    found = teams((one, (one.seed, one.agent.discount)) for one in runs)
    assert sorted(found) == [((0, 0.8), (1, 0.8)), ((0, 0.9), (1, 0.9)), ((2, 0.8),), ((2, 0.9),)]
    alone = configs("seed=0,1", "launcher.seeds_together=1")
    assert teams((one, one.seed) for one in alone) == [(0,), (1,)]


def test_a_job_takes_on_whole_teams(tmp_path: Path):
    run_dirs = []
    for config in configs("seed=0,1,2", "agent.discount=0.9,0.8", "launcher.seeds_together=2"):
        run_dirs.append(tmp_path / f"{config.seed}-{config.agent.discount}")
        run_dirs[-1].mkdir()
        write_config(run_dirs[-1], config)
    launcher = compose(["launcher.seeds_together=2", "launcher.runs_per_gpu=2"]).launcher
    jobs = group(recorded_teams(run_dirs), launcher)
    assert [sorted(one.name for one in job) for job in jobs] == [
        ["0-0.8", "0-0.9", "1-0.8", "1-0.9"],
        ["2-0.8", "2-0.9"],
    ]


def test_the_number_of_seeds_together_marks_a_run():
    hashes = [identity.hash_of(compose([f"launcher.seeds_together={number}"])) for number in (1, 2, 4)]
    assert len(set(hashes)) == 3
    assert hashes[0] == identity.hash_of(compose([]))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=0,1", "launcher.seeds_together=3"], r"has 2 seeds in this command; .* -m seed=0,1,2$"),
        (["agent.discount=0.9,0.8", "launcher.seeds_together=2"], r"has 1 seed in this command"),
        (["seed=0,1", "launcher.seeds_together=0"], r"must be an integer >= 1"),
        (["+sweep=search", "launcher.seeds_together=2"], r"must be 1 with sweep\.search\.space"),
        (["+sweep=decide", "launcher.seeds_together=2"], r"must be 1 with sweep\.decide\.max_seeds"),
        (["seed=0,1", "mesh.data=2", "launcher.seeds_together=2"], r"must be 1 with mesh"),
    ],
)
def test_what_cannot_be_together_is_refused_in_a_line(overrides: list[str], said: str):
    with pytest.raises(ConfigError, match=rf"^launcher\.seeds_together=\d: .*{said}"):
        check_seeds(configs(*overrides))


def test_a_gpu_of_seeds_together_is_shared_by_all_of_them():
    launcher = compose(["launcher.seeds_together=4", "launcher.runs_per_gpu=2"]).launcher
    assert gpus_of(launcher, on_slurm=True) == 1 / 8


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Three runs whose process is the shell script `run.sh`, with the runs' directories as arguments."""
    monkeypatch.setattr(pool, "run_command", lambda *run_dirs: ["sh", str(tmp_path / "run.sh"), *map(str, run_dirs)])
    for name in "abc":
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b", tmp_path / "c"


def drive(team: tuple[Path, ...], script: str) -> Pool:
    says = 'says() { echo "$2" > "$1/status.json.new"; mv "$1/status.json.new" "$1/status.json"; }'
    (team[0].parent / "run.sh").write_text(f'{says}\nfor one in "$@"; do echo start >> $one/starts; done\n{script}\n')
    driven = Pool([team], 1, RetryPolicy(2, 0.01, time.time()), new_session=True)
    begun = time.monotonic()
    while driven.poll():
        assert time.monotonic() - begun < 20
        time.sleep(0.01)
    return driven


def status(state: str, **details: object) -> str:
    return json.dumps({"state": state, "time": time.time() + 60, **details})


def starts(run_dir: Path) -> int:
    return (run_dir / "starts").read_text().count("start")


def test_each_run_of_a_process_ends_as_its_own_status_says(team: tuple[Path, Path, Path]):
    failed = status("failed", reason="not finite", traceback="", retry=False)
    script = f"says $1 '{status('done')}'; says $2 '{failed}'; says $3 '{status('interrupted')}'; echo word; exit 1"
    driven = drive(team, script)
    assert driven.ended == dict(zip(team, (ExitCode.DONE, ExitCode.FAILED, ExitCode.INTERRUPTED), strict=True))
    assert [starts(run_dir) for run_dir in team] == [1, 1, 1]
    assert json.loads((team[1] / layout.STATUS).read_text())["reason"] == "not finite"
    assert [(run_dir / layout.LOG).read_text() for run_dir in team] == ["word\n"] * 3


def test_runs_whose_process_dies_go_on_together_without_the_one_that_was_done(team: tuple[Path, Path, Path]):
    """The second process fails one of the two for good; the third has the last one alone."""
    failed = status("failed", reason="not finite", traceback="", retry=False)
    script = f"""
        if [ $# = 3 ]; then says $1 '{status("done")}'; says $2 '{status("running")}'; kill -KILL $$; fi
        if [ $# = 2 ]; then says $1 '{failed}'; says $2 '{status("running")}'; kill -KILL $$; fi
        says $1 '{status("done")}'"""
    driven = drive(team, script)
    assert driven.ended == dict(zip(team, (ExitCode.DONE, ExitCode.FAILED, ExitCode.DONE), strict=True))
    assert [starts(run_dir) for run_dir in team] == [1, 2, 3]
    assert len((team[2] / layout.CRASHES).read_text().splitlines()) == 2
