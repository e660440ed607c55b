"""A hundred ways to get a sweep wrong: each ends in one line and a status, submits nothing and loses nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from records import layout
from records.layout import ExitCode
from sweeps.command import main
from tests.yaml_copy import yaml_copy

SLURM = "launcher=slurm"

# What is typed, and what the one line must say.
OVERRIDES = [
    # names
    ("agent.lerning_rate=1", "did you mean agent.learning_rate?"),
    ("+agent.lerning_rate=1", "did you mean agent.learning_rate?"),
    ("learning_rate=1", "no such key"),
    ("model.with=64", "did you mean model.width?"),
    ("models=xs", "did you mean model?"),
    ("model=huge", "no such model; "),
    ("benchmark=dmc", "no such benchmark; "),
    ("agent=ppo", "allowed: bc, brc"),
    ("launcher=slrum", "did you mean slurm?"),
    ("launcher=kubernetes", "no such launcher"),
    ("tracking=wandb", "no such tracking"),
    ("tracking=mlflow tracking.uri=sqlite:///", "must name a file"),
    ("+sweep=scalng", "did you mean scaling?"),
    ("+sweep=seeds,scaling", "one sweep at a time"),
    ("+sweep=", "sweep="),
    ("+experiment=papers", "no such experiment"),
    ("+sweeep=seeds", "did you mean sweep?"),
    ("benchmark.tasks=[dog-run]", "benchmark=dmc_dogs, dmc_hard"),
    ("model=glob(z*)", "no such model"),
    # forms
    ("agent.tau", "key=value"),
    ("=3", "no such key"),
    ("seed=1,,2", "key=value"),
    ("seed=range(0,3", "key=value"),
    ("seed=range(0,0)", "no value"),
    ("seed=range(3,0)", "no value"),
    ("seed=choice()", "key=value"),
    ("seed=[1,2", "key=value"),
    ("~seed", "cannot be removed"),
    ("++seed=1", "only key=value"),
    ("+seed=1", "without +"),
    ("+model=xs", "without +"),
    ("seed@here=1", "seed@here=1"),
    ("hydra.launcher.partition=gpu", "launcher.*"),
    ("seed.value=1", "holds a value"),
    ("eval=3", "eval.every_steps"),
    ("launcher.slurm=3", "must be a group of keys"),
    ("agent.tau=glob(*)", "glob is for groups"),
    ("seed=range(0,3,0)", "must not be zero"),
    ("seed=range(0.0,3.0,0.0)", "Invalid range values"),
    ("seed=range(0,3000000)", "more than 100000 values"),
    ("seed=shuffle(range(0,1000000000000))", "more than 100000 values"),
    ("seed=range(0,inf)", "more than 100000 values"),
    ("seed=range(0,nan)", "key=value"),
    ("agent.learning_rate=interval(0,1)", "an interval lists no values"),
    (f"agent.num_bins={'[' * 2000}", "key=value"),
    # types and ranges
    (f"seed={'9' * 5000}", "key=value"),
    (f"agent.tau=1{'0' * 400}", "must be a finite number"),
    ('benchmark.name="a\nb"', "benchmark.name=a b: names a folder"),
    ("seed=one", "must be an integer"),
    ("seed=0.5,1", "must be an integer"),
    ("seed=null", "must be an integer"),
    ("seed=[]", "must be an integer"),
    ("seed=-1", ">= 0"),
    ("seed=range(0,3),true", "seed="),
    ("seed=0,1,4294967296", "< 4294967296"),
    ("model.width=8,0", ">= 1"),
    ("model.width=wide", "must be an integer"),
    ("agent.tau=0.1,2", "<= 1"),
    ("agent.learning_rate=nan", "finite"),
    ("agent.learning_rate=1e-3,inf", "finite"),
    ("agent.num_bins=1,101", ">= 2"),
    ("agent.value_loss=squarred", "did you mean squared?"),
    ("agent.batch_size=0", ">= 1"),
    ("train.env_steps=0", ">= 1"),
    ("train.env_steps=[1000]", "must be an integer"),
    ("train.replay_capacity=10", "train.random_steps"),
    ("train.replay_capacity=1e12 train.env_steps=1e12", "are available"),
    ("benchmark.tasks=[]", "at least one task"),
    ("benchmark.tasks=cartpole-balance", "must be a list"),
    ("benchmark.name=../elsewhere", "names a folder"),
    ("sweep.name=a/b", "names a folder"),
    ("sweep.name=../../evil", "names a folder"),
    ("sweep.name=.hidden", "names a folder"),
    ("sweep.name=''", "names a folder"),
    (f"sweep.name={'a' * 300}", "at most 64 letters"),
    (f"agent.name={'a' * 300}", "at most 64 letters"),
    ("resume=maybe", "true or false"),
    ("wait=3", "true or false"),
    ("rerun=always", "one of off, stale"),
    ("tracking.uri=mlflow.db", "must begin with one of"),
    ("tracking=mlflow tracking.uri=sqlite:///:memory:", "must name a file"),
    ("tracking=mlflow tracking.uri=sqlite:///runs", "must name a file, and runs is a folder"),
    ("sweep.search.storage=sqlite:///runs", "must name a file, and runs is a folder"),
    ("sweep.search.storage=sqlite://", "must name a file"),
    ("seed=range(0,1000) model.width=range(1,1001)", "1000000 runs; at most"),
    ("train.env_steps=1e18", "<= 1000000000000"),
    ("train.replay_capacity=1e18", "<= 1000000000000"),
    ("eval.episodes=1e9", "<= 1000000"),
    ("env.workers=1e9", "<= 10000"),
    ("benchmark.tasks=[cartpole-balance,dmc/cartpole-balance]", "dmc/cartpole-balance stands more than once"),
    ("benchmark.available=[dmc/dog-run,dmc/dog-run]", "dmc/dog-run stands more than once"),
    ("benchmark.include=[metaworlt]", "no benchmark metaworlt; did you mean metaworld?"),
    ("benchmark.include=[catch]", "the tasks of catch take discrete actions"),
    ("paths.runs='${oc.env:NO_SUCH_VARIABLE}/runs'", "NO_SUCH_VARIABLE"),
    ("seed='${nothing}'", "seed: the value refers to another one"),
    ("seed='${benchmark.name}'", "seed=quickstart: must be an integer"),
    ("agent.name='${agent.name}'", "agent.name: the value refers to another one"),
    # what would be ignored
    ("+sweep=search sweep.search.space={}", "+sweep=search: varies nothing"),
    ("sweep.params={seed:'0,1'}", "for a yaml only"),
    ("sweep.params.seed=3", "for a yaml only"),
    ("paths.runs=", "paths.runs=: must name a folder"),
    ("paths.compilation_cache=''", "must name a folder"),
    # axes that change no result
    ("train.env_steps=2000,1000", "train.env_steps=2000,1000: both give one and the same run"),
    ("seed=0,1 env.workers=1,2", "env.workers=1,2: both give one and the same run"),
    ("launcher.max_parallel=1,2", "launcher.max_parallel=1,2: both give"),
    ("launcher=slurm,local", "launcher=slurm,local: both give"),
    ("paths.runs=a,b", "paths.runs=a,b: both give"),
    ("agent.batch_size=null,1024", "agent.batch_size=null,1024: both give"),
    # the launcher
    ("launcher.max_parallel=0", ">= 1"),
    ("launcher.max_parallel=many", "must be an integer"),
    ("launcher.runs_per_gpu=0", ">= 1"),
    ("launcher.runs_per_gpu=3 launcher.runs_per_job=2", "launcher.runs_per_job"),
    ("launcher.runs_per_job=-1", ">= 1"),
    ("launcher.max_crashes=-1", ">= 0"),
    ("launcher.backoff_s=-1", ">= 0"),
    ("launcher.signal_delay_s=0", ">= 1"),
    ("launcher.signal_delay_s=100000", "<= 65535"),
    ("launcher.gpu_memory_gb=0", "> 0"),
    ("launcher.gpu_memory_gb=1 model=xl", "of GPU memory"),
    ("launcher.setup=module", "must be a list"),
    ("launcher.setup=[1]", "must be a list"),
    ("launcher.dry_run=perhaps", "true or false"),
    # impossible SLURM requests
    ("+launcher.slurm.partitoin=gpu", "did you mean partition?"),
    ("+launcher.slurm.gpu=1", "sbatch has no flag --gpu"),
    ("+launcher.slurm.array=0-9", "see launcher.max_parallel"),
    ("+launcher.slurm.output=here", "sets --output itself"),
    ("+launcher.slurm.signal=USR1", "see launcher.signal_delay_s"),
    ("+launcher.slurm.wrap=date", "see launcher.setup"),
    ("+launcher.slurm.open_mode=truncate", "sets --open-mode itself"),
    ("launcher.slurm.partition=[]", "must be text"),
    ("launcher.slurm.partition=''", "must be one line of text"),
    ("launcher.slurm.partition={a:1}", "must be text"),
    ("launcher.slurm.mem=1M train.replay_capacity=100000 train.env_steps=100000", "1.0 MiB are available"),
    ("launcher.slurm.mem=-1", "launcher.slurm.mem=-1: must be a whole number"),
    ("launcher.slurm.mem=lots", "must be a whole number"),
    ("launcher.slurm.mem=1.5G", "must be a whole number"),
    ("launcher.slurm.gpus_per_node=9999", "sbatch refuses: gpus-per-node=9999"),
    ("launcher.slurm.time=5", "more than launcher.signal_delay_s=300"),
    ("launcher.slurm.time=soon", "sbatch refuses: time=soon"),
    ("launcher.slurm.qos=platinum", "sbatch refuses: qos=platinum"),
]

BOMB = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]

# A sweep's yaml, and what the one line must say.
FILES = [
    ("params: [", "cannot be read"),
    ("params:\n\t- a", "cannot be read"),
    ("params: {seed: 1", "cannot be read"),
    ("params: 3", "sweep.params=3"),
    ("params: [seed]", "cannot be read"),
    ("params: {seed: [0, 1]}", "write the values as one text"),
    ("params: {seed: null}", "write the values as one text"),
    ("params: {sed: '0,1'}", "did you mean seed?"),
    ("params: {seed: '0,one'}", "must be an integer"),
    ("params: {seed: ''}", "seed="),
    ("params: {seed: 'range(0,0)'}", "no value"),
    ("params: {model: 'xs,giant'}", "no such model"),
    ("parms: {seed: '0,1'}", "did you mean sweep.params?"),
    ("name: [1]\nparams: {seed: '0,1'}", "sweep.name=[1]"),
    ("${nothing}", "no such key"),
    ("name: ${nothing}\nparams: {seed: '0,1'}", "refers to another one"),
    ("- seed", "cannot be read"),
    ("just text", "no such key"),
    ("\x00\x01", "cannot be read"),
    ("params: {+sweep: seeds}", "cannot name another sweep"),
    ("", "varies nothing"),
    ("# nothing yet", "varies nothing"),
    ("params: {}", "varies nothing"),
    ("params: null", "sweep.params=null"),
    ("params: {seed: '0,1\\n2'}", "must be an integer"),
    ('params: {seed: "0,1\\n2"}', "seed="),
    ("# naïve\nparams: {seed: '0,1'}".encode("latin-1"), "cannot be read"),
    ("params: {seed: '0,1'}".encode("utf-16"), "cannot be read"),
    ("params: &params {seed: *params}", "cannot be read"),
    (f"params: {'[' * 2000}", "cannot be read"),
    (f"search: {{space: {{agent.tau: {{low: 0, high: 1{'0' * 400}}}}}}}", "is no finite number"),
    (f"params: {{seed: {'9' * 5000}}}", "cannot be read"),
    (f"params: {{seed: 0x{'f' * 5000}}}", "seed=0xffff"),
    (f"search: {{trials: 1{'0' * 400}}}", "sweep.search.trials=1"),
    ("hydra: {run: {dir: here}}\nparams: {seed: '0,1'}", "no hydra.* settings here"),
    ("# @package hydra\nrun: {dir: here}", "no hydra.* settings here"),
    ("defaults: [override /hydra/launcher: basic]\nparams: {seed: '0,1'}", "no hydra.* settings here"),
    ("\n".join(["a0: &a0 [1]", *BOMB]), "more than 100000 values"),
]

# A benchmark's yaml, and what the one line must say.
BENCHMARKS = [
    ("{name: mine, tasks: null}", "benchmark.available=[]: must name at least one task"),
    ("{name: mine, tasks: null, available: null}", "benchmark.available=null"),
    ("{name: mine, tasks: null, available: [dmc/dog-run, 3]}", "benchmark.available=[dmc/dog-run,3]"),
    ("{name: mine, tasks: null, available: [dmc/dog-run, dmc/dog-run]}", "dmc/dog-run stands more than once"),
    ("{name: mine, tasks: null, include: [nothing]}", "no benchmark nothing"),
    ("{name: mine, tasks: null, include: [mine]}", "a circle"),
    ("{name: mine, tasks: null, include: [other]}", "a circle: other > mine > other"),
]

FOLDERS = ["/dev/null/runs", "/proc/runs", "occupied/runs"]


@pytest.fixture
def folder(tmp_path: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a finished run lies already, and a SLURM that knows its limits answers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").write_text("a file")
    kept = tmp_path / "runs" / "quickstart" / "kept" / layout.DONE
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    sbatch = fake_slurm / "sbatch"
    limits = 'case "$1" in --test-only) bad=$(grep -o -E "gpus-per-node=9999|time=soon|qos=platinum"); '
    limits += '[ -z "$bad" ] || { echo "sbatch: error: $bad" >&2; exit 1; };; esac\n'
    sbatch.write_text(sbatch.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{limits}"))
    return tmp_path


def assert_one_line(folder: Path, capsys, arguments: list[str], expected: str) -> None:
    before = sorted(folder.rglob("*"))
    status = main(arguments)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert status in (ExitCode.FAILED, ExitCode.BAD_CONFIG)
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert expected in lines[0]
    assert sorted(folder.rglob("*")) == before
    assert not (folder / "fake-slurm" / "submitted").exists()


@pytest.mark.parametrize(("override", "expected"), OVERRIDES, ids=[override[:80] for override, _ in OVERRIDES])
def test_bad_override(folder: Path, capsys, override: str, expected: str):
    assert_one_line(folder, capsys, ["-m", SLURM, "tracking=off", *override.split(" ")], expected)


def test_address_with_a_space_is_no_servers(folder: Path, capsys):
    assert_one_line(folder, capsys, ["tracking=server", "tracking.uri='http://my host:5000'"], "must name a host")


@pytest.fixture
def conf_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the yaml files, to spoil."""
    with yaml_copy(folder, monkeypatch) as copied:
        yield copied


@pytest.mark.parametrize(("text", "expected"), FILES, ids=[str(text)[:80] for text, _ in FILES])
def test_bad_sweep_file(folder: Path, conf_dir: Path, capsys, text: str | bytes, expected: str):
    (conf_dir / "sweep" / "mine.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    assert_one_line(folder, capsys, ["-m", SLURM, "tracking=off", "+sweep=mine"], expected)


@pytest.mark.parametrize(("text", "expected"), BENCHMARKS, ids=[text for text, _ in BENCHMARKS])
def test_bad_benchmark_file(folder: Path, conf_dir: Path, capsys, text: str, expected: str):
    for name, mine in (("mine", text), ("other", "{name: other, tasks: null, include: [mine]}")):
        written = f"# @package _global_\nbenchmark: {mine}\n"
        (conf_dir / "benchmark" / f"{name}.yaml").write_text(written)
    assert_one_line(folder, capsys, ["-m", SLURM, "tracking=off", "benchmark=mine"], expected)


def test_bad_files_of_other_benchmarks_are_named_and_left_out(folder: Path, conf_dir: Path, capsys):
    names = ["empty", "null", "numbers"]
    for name, text in zip(names, ["{}", "{available: null}", "{available: [1]}"], strict=True):
        (conf_dir / "benchmark" / f"{name}.yaml").write_text(f"# @package _global_\nbenchmark: {text}\n")
    assert main(["benchmark.tasks=[dog-run]"]) == ExitCode.BAD_CONFIG
    *warnings, error = capsys.readouterr().err.splitlines()
    assert len(warnings) == 3
    for name, warning in zip(names, warnings, strict=True):
        assert warning.startswith(f"warning: benchmark={name} is left out: ")
    assert "not in quickstart; it is in benchmark=dmc_dogs, dmc_hard, everything; " in error


def test_yaml_bomb_is_refused_at_once(folder: Path, conf_dir: Path, capsys):
    (conf_dir / "benchmark" / "bomb.yaml").write_text("\n".join(["a0: &a0 [1]", *BOMB]))
    began = time.monotonic()
    assert main(["benchmark=bomb"]) == ExitCode.BAD_CONFIG
    assert "conf/benchmark/bomb.yaml: holds more than 100000 values" in capsys.readouterr().err
    assert time.monotonic() - began < 1


def test_sweep_in_an_experiments_yaml(folder: Path, conf_dir: Path, capsys):
    text = "# @package _global_\nsweep: {params: {seed: '0,1'}}\n"
    (conf_dir / "experiment" / "mine.yaml").write_text(text)
    assert_one_line(folder, capsys, ["-m", SLURM, "tracking=off", "+experiment=mine"], "add +sweep=NAME")


@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("launcher", ["slurm", "local"])
def test_unwritable_folder(folder: Path, capsys, place: str, launcher: str):
    arguments = ["-m", f"launcher={launcher}", "tracking=off", "seed=0,1", f"paths.runs={place}"]
    assert_one_line(folder, capsys, arguments, place)


def test_disk_that_is_full_after_any_number_of_files(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    def submit_after(writes: int) -> int:
        fill_disk(monkeypatch, writes)
        status = main(["-m", SLURM, "tracking=off", "seed=0,1"])
        monkeypatch.setattr(os, "fsync", fsync)
        return status

    fsync, submitted, cancelled = os.fsync, folder / "fake-slurm" / "submitted", folder / "fake-slurm" / "cancelled"
    writes = 0
    while submit_after(writes) != ExitCode.DONE:
        writes += 1
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        assert "No space left on device" in lines[-1]
        arrays = [Path(line).stem for line in submitted.read_text().split()] if submitted.exists() else []
        assert arrays == (cancelled.read_text().split() if cancelled.exists() else [])
        assert (folder / "runs" / "quickstart" / "kept" / layout.DONE).exists()
        assert not any(path.name.startswith(".") for path in (folder / "runs").rglob("*"))  # no halves
    assert writes > 10
    assert len(submitted.read_text().split()) == len(cancelled.read_text().split()) + 1


def fill_disk(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Have the disk be full after some more files."""
    left = [writes]

    def fsync(_: int) -> None:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1

    monkeypatch.setattr(os, "fsync", fsync)


def test_the_table_is_as_long_as_it_says():
    assert len(OVERRIDES) + len(FILES) + 2 * len(FOLDERS) + 1 >= 100
