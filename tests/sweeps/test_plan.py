from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from conf.compose import compose_many, resolve_paths
from conf.composed import Composed
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from records.metrics import ENVIRONMENT_S
from records.run_record import write_config, write_manifest
from sweeps.outcomes import print_outcomes
from sweeps.plan import bandwidth, sharing
from sweeps.plan.fit import check_fit
from sweeps.plan.forecast import forecast_hint
from sweeps.plan.plan import Plan, plan, remaining_seconds
from sweeps.plan.tables import print_plan, summary, time_needed
from sweeps.status import duration


def members(folder: Path, *overrides: str) -> list[Composed]:
    return [dataclasses.replace(one, config=resolve_paths(one.config, folder)) for one in compose_many(list(overrides))]


def test_finished_runs_are_found_and_not_planned_again(tmp_path: Path):
    before = plan(members(tmp_path, "seed=0,1"))
    assert [one.pending for one in before.runs] == [True, True]
    before.runs[1].run_dir.mkdir(parents=True)
    (before.runs[1].run_dir / layout.DONE).write_text(json.dumps({"env_steps": 10**9, "score": 0.5, "evaluation": []}))
    after = plan(members(tmp_path, "seed=0,1"))
    assert [one.pending for one in after.runs] == [True, False]
    assert "2 runs: 1 finished already, 1 to run" in summary(after)
    assert remaining_seconds(after.runs) == pytest.approx(remaining_seconds(before.runs) / 2)


def test_a_plan_of_a_new_width_names_the_command_that_forecasts_it(tmp_path: Path):
    ran = plan(members(tmp_path, "model.width=32,64,128", "seed=0,1"))
    for one in ran.runs:
        assert forecast_hint(plan(members(tmp_path, "model.width=256"))) is None  # not before all have been run
        one.run_dir.mkdir(parents=True)
        write_manifest(one.run_dir, one.config, [], {}, "1 x cpu", "flock", {})
        (one.run_dir / layout.DONE).write_text(json.dumps({"env_steps": 10**9, "score": 0.5, "evaluation": []}))
    hint = forecast_hint(plan(members(tmp_path, "model.width=64,256,512", "seed=0,3")))
    assert hint is not None
    assert hint.endswith(f"python -m analysis.forecast {tmp_path / 'runs'} --width 256,512")
    assert forecast_hint(plan(members(tmp_path, "model.width=256", "agent.discount=0.9"))) is None


def test_members_with_one_identity_are_one_run(tmp_path: Path):
    assert len(plan(members(tmp_path, "agent.tau=0.005,5e-3")).runs) == 1
    assert len(plan(members(tmp_path, "agent.tau=0.005,0.01")).runs) == 2


def test_replay_that_cannot_fit_is_refused_with_both_sizes(tmp_path: Path):
    huge = ["train.replay_capacity=100000000000", "train.env_steps=100000000000"]
    # 2 runs x 1e11 transitions of tasks with 5, 5 and 8 observations; each also 2 actions as floats, and 10 bytes
    here = plan(members(tmp_path, "seed=0,1", *huge, "launcher=local", "launcher.max_parallel=2"))
    with pytest.raises(ConfigError, match=r"2 runs at once needs 22\.9 TiB, .* are available"):
        check_fit(here)
    in_a_job = plan(members(tmp_path, "seed=0,1", *huge, "launcher=slurm"))
    with pytest.raises(ConfigError, match=r"a run needs 11\.5 TiB, 64\.0 GiB are available"):
        check_fit(in_a_job)
    check_fit(plan(members(tmp_path, "seed=0,1", *huge, "launcher=slurm", "launcher.slurm.mem=20T")))


def test_packed_runs_that_do_not_fit_on_a_gpu_are_refused(tmp_path: Path):
    packed = ["launcher=slurm", "model=xxl", "seed=0,1,2", "launcher.gpu_memory_gb=60"]
    check_fit(plan(members(tmp_path, *packed, "launcher.runs_per_gpu=2")))
    with pytest.raises(ConfigError, match=r"launcher\.runs_per_gpu=3: needs .* GiB of GPU memory, 90% of .* is 54"):
        check_fit(plan(members(tmp_path, *packed, "launcher.runs_per_gpu=3")))


def test_time_is_measured_where_an_earlier_run_of_the_size_left_its_rate_and_a_formula_elsewhere(tmp_path: Path):
    before = plan(members(tmp_path, "launcher=local", "model.width=64,128", "train.env_steps=1000"))
    assert [one.estimate.source for one in before.runs] == ["formula", "formula"]
    earlier = before.runs[0].run_dir.with_name("of-another-seed")
    earlier.mkdir(parents=True)
    write_manifest(earlier, dataclasses.replace(before.runs[0].config, seed=7), [], {}, "1 x cpu", "flock", {})
    row = {"env_steps": 50, "update_steps": 0, "name": "rate/env_steps_per_s", "task": None, "value": 20.0}
    (earlier / layout.TIMING).write_text(json.dumps(row) + "\n")
    after = plan(members(tmp_path, "launcher=local", "model.width=64,128", "train.env_steps=1000"))
    assert [one.estimate.source for one in after.runs] == ["measured", "formula"]
    assert after.runs[0].estimate.seconds == pytest.approx(50)
    assert "formula and measured" in summary(after)
    on_slurm = plan(members(tmp_path, "launcher=slurm", "model.width=64,128", "train.env_steps=1000"))
    assert [one.estimate.source for one in on_slurm.runs] == ["formula", "formula"]  # other machines


def test_finished_run_of_other_code_is_listed_and_planned_again_elsewhere_when_asked(tmp_path: Path):
    (first,) = plan(members(tmp_path, "seed=0")).runs
    first.run_dir.mkdir(parents=True)
    (first.run_dir / layout.DONE).write_text(json.dumps({"env_steps": 10**9, "score": 0.5, "evaluation": []}))
    write_manifest(first.run_dir, first.config, [], {}, "1 x cpu", "flock", {})
    path = first.run_dir / layout.MANIFEST
    manifest = json.loads(path.read_text())
    (same,) = manifest["starts"]
    (same_code,) = plan(members(tmp_path, "seed=0", "rerun=stale")).runs
    assert (same_code.stale, same_code.pending) == (False, False)
    other = same | {"git_commit": "0" * 40, "git_diff_sha256": None}
    for starts in ([other], [other, same]):
        path.write_text(json.dumps(manifest | {"starts": starts}))
        (listed,) = plan(members(tmp_path, "seed=0")).runs
        assert (listed.stale, listed.pending) == (True, False)
    assert "1 by other code: rerun=stale" in summary(plan(members(tmp_path, "seed=0")))
    (again,) = plan(members(tmp_path, "seed=0", "rerun=stale")).runs
    assert (again.stale, again.pending) == (False, True)
    assert again.run_dir.name == first.run_dir.name
    assert again.run_dir.parents[1].name.startswith("runs-")


def test_damaged_folder_is_named_and_planned_as_if_nothing_were_known(tmp_path: Path, capsys):
    (before,) = plan(members(tmp_path, "seed=0")).runs
    before.run_dir.mkdir(parents=True)
    (before.run_dir / layout.MANIFEST).write_text("{}")
    (before.run_dir / layout.DONE).write_text("{}")
    row = {"env_steps": 50, "update_steps": 0, "name": "rate/env_steps_per_s", "task": None, "value": 20.0}
    (before.run_dir / layout.TIMING).write_text(json.dumps(row) + "\n")
    (after,) = plan(members(tmp_path, "seed=0")).runs
    assert after == before
    warned = capsys.readouterr().err
    for name in (layout.MANIFEST, layout.DONE):
        assert re.search(rf"warning: {before.run_dir / name}: .*; taken as missing", warned)


def test_plan_of_parts_has_a_line_for_each_part(tmp_path: Path, capsys):
    planned = plan(members(tmp_path, "+experiment=quick_parts", "seed=0,1", "launcher=local"))
    assert [one.part for one in planned.runs] == ["together"] * 4 + ["alone"] * 6
    print_plan(planned)
    said = capsys.readouterr().out
    assert re.search(r"together +│ +4 │ +0 │ +4 │", said)
    assert re.search(r"alone +│ +6 │ +0 │ +6 │", said)


def test_outcomes_of_parts_name_the_part(tmp_path: Path, capsys):
    planned = plan(members(tmp_path, "+experiment=quick_parts", "launcher=local"))
    assert print_outcomes(planned, {}) == ExitCode.INTERRUPTED
    said = capsys.readouterr().out
    assert len(re.findall(r"│ together +│", said)) == 2
    assert len(re.findall(r"│ alone +│", said)) == 3


def test_runs_that_disagree_about_what_a_command_says_once_are_no_plan(tmp_path: Path):
    here, there = members(tmp_path, "launcher=local"), members(tmp_path / "other", "launcher=local", "seed=1")
    with pytest.raises(ConfigError, match=r"^tracking, runs: must be the same for all runs of a command"):
        plan([*here, *there])


def test_time_of_parts_counts_the_runs_that_each_launcher_has_at_once(tmp_path: Path):
    one, four = (
        plan(members(tmp_path, "seed=0,1,2,3", f"launcher.max_parallel={n}", "launcher=local")) for n in (1, 4)
    )
    both = Plan((*one.runs, *four.runs), one.common)
    alone, together = (remaining_seconds(part.runs) for part in (one, four))
    assert f"roughly {duration(alone + together / 4)}" in time_needed(both)


def test_a_thousand_runs_can_be_planned(tmp_path: Path):
    assert len(plan(members(tmp_path, "seed=range(0,200)", "model=xs,s,m,l,xl")).runs) == 1000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processor cores, no GPU, and memory that copies 8 GB/s."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(sharing, "machine_bandwidth", lambda: 8e9)


def test_runs_at_once_are_told_their_cores_and_bandwidth_and_to_be_no_more_than_there_are_cores(
    tmp_path: Path, machine
):
    at_once = ["seed=range(0,8)", "launcher=local"]
    (share,) = sharing.shares(plan(members(tmp_path, *at_once, "launcher.max_parallel=8")))
    assert "8 runs at once in this machine: each has 0.5 of 4 processor cores and 1 GB/s of 8 GB/s" in sharing.said(
        share
    )
    (warning,) = sharing.warnings(share)
    assert warning == (
        "environments will be the limit: 8 runs at once share 4 processor cores, so they take turns; "
        "set launcher.max_parallel=4"
    )
    (share,) = sharing.shares(plan(members(tmp_path, *at_once, "launcher.max_parallel=4")))
    assert sharing.warnings(share) == []
    assert sharing.shares(plan(members(tmp_path, *at_once, "launcher.max_parallel=1"))) == []


def test_packed_gpu_whose_environments_cannot_keep_up_is_warned_of_by_what_an_earlier_run_measured(tmp_path: Path):
    packed = ["seed=0,1", "launcher=slurm", "launcher.runs_per_gpu=2", "launcher.slurm.cpus_per_task=4"]
    before = plan(members(tmp_path, *packed))
    (share,) = sharing.shares(before)
    assert sharing.warnings(share) == []
    earlier = before.runs[0].run_dir.with_name("earlier")
    earlier.mkdir(parents=True)
    write_config(earlier, before.runs[0].config)
    write_manifest(earlier, before.runs[0].config, [], {}, "1 x gpu", "flock", {})
    # 100 steps kept the busiest of one worker a task busy for 3 s: 30 ms a task and step
    row = {"env_steps": 100, "update_steps": 0, "name": ENVIRONMENT_S, "task": None, "value": 3.0}
    (earlier / layout.TIMING).write_text(json.dumps(row) + "\n")
    manifest = json.loads((earlier / layout.MANIFEST).read_text())
    manifest["starts"][0]["cpus"] = 16
    (earlier / layout.MANIFEST).write_text(json.dumps(manifest))
    assert sharing.environment_seconds(before.runs[0].config) == pytest.approx(0.03)
    (warning,) = sharing.warnings(share)
    assert warning.startswith("environments will be the limit: a run's 3 tasks keep about 3 processor cores busy while")
    assert warning.endswith("set launcher.slurm.cpus_per_task=6 or launcher.runs_per_gpu=1")


def test_bandwidth_is_measured_once_for_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = bandwidth.machine_bandwidth()
    assert 1e7 < first < 1e13
    monkeypatch.setattr(bandwidth, "measured", lambda threads: 0.0)
    assert bandwidth.machine_bandwidth() == first
