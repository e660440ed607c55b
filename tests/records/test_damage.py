"""Whatever stands in a file of a run or a sweep, no command ends in a traceback, and the other run is shown."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.load import load
from conf import identity
from conf.compose import compose_many, resolve_paths
from conf.typed import ConfigError
from envs import registry
from records import layout
from records.layout import RunOutcome
from records.run_dir import warn_once
from records.run_record import write_config, write_manifest, write_status
from records.sweep import Member, write_sweep
from sweeps import cancel, logs, sync
from sweeps.command import main as run_command
from sweeps.slurm import cluster
from sweeps.status.__main__ import main as status_main

pytestmark = pytest.mark.slow  # two hundred damages, each shown to a command

COMMON = ["benchmark.tasks=[dmc/cartpole-balance]", "tracking=off"]
SUBMISSION = f"{layout.SWEEPS}/mine/001.json"
RUN_FILES = (
    layout.CONFIG,
    layout.MANIFEST,
    layout.TASKS,
    layout.METRICS,
    layout.TIMING,
    layout.STATUS,
    layout.DONE,
    layout.JOB,
    layout.TRACKING,
    layout.SWEPT,
    layout.DURABLE,
    layout.CRASHES,
    layout.STOP,
)
ODD: dict[str, Callable[[Path], object]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "circle": lambda path: path.symlink_to(path.name),
}
"""What may stand in place of a file."""
MUTATIONS: dict[str, Callable[[bytes], bytes | None]] = {
    "null": lambda _: b"null",
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "text": lambda _: b'"x"',
    "number": lambda _: b"3",
    "deep": lambda _: b"[" * 100_000,
    "large": lambda whole: with_values(whole, 2**70),
    "NaN": lambda whole: with_values(whole, float("nan")),
    "nulls": lambda whole: with_values(whole, None),
    "lists": lambda whole: with_values(whole, [None]),
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "empty": lambda _: b"",
    "binary": lambda _: b"\xff\xfe\0" * 9,
    **dict.fromkeys(ODD, lambda _: None),
}


def with_values(whole: bytes, value: object) -> bytes:
    """The first line's, or the file's, object with another value at each of its keys."""
    first, *others = whole.splitlines() if whole.startswith(b'{"env_steps"') else [whole]
    return json.dumps(dict.fromkeys(json.loads(first), value)).encode() + b"\n" + b"\n".join(others)


def evaluation(task: str, env_steps: int) -> list[dict]:
    at = {"env_steps": env_steps, "update_steps": env_steps}
    values = {("eval/return", task): 500.0, ("eval/success", task): 0.0, ("eval/score", task): 0.5}
    values |= {("eval/score", None): 0.5}
    return [at | {"name": name, "task": of, "value": value} for (name, of), value in values.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of a sweep, with every file that a run, a sweep and a submission may leave."""
    folder = tmp_path_factory.mktemp("damage")
    runs, members = folder / "runs", []
    swept = runs / layout.SWEEPS / "mine"
    swept.mkdir(parents=True)
    for one in compose_many(["seed=0,1", *COMMON, "train.env_steps=600"]):
        config = resolve_paths(one.config, folder)
        run_dir = identity.run_dir(config)
        run_dir.mkdir(parents=True)
        (spec,) = registry.specs(config.benchmark.task_ids, config.env)
        write_config(run_dir, config)
        sizes = {"critic_params": 4, "actor_params": 2, "critic_products": 4}
        write_manifest(run_dir, config, [dataclasses.asdict(spec)], sizes, "1 x cpu", "flock", {})
        write_status(run_dir, RunOutcome.DONE)
        rows = [row for at in (0, 200, 400, 600) for row in evaluation(spec.id, at)]
        (run_dir / layout.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
        rate = {"env_steps": 600, "update_steps": 600, "name": "rate/env_steps_per_s", "task": None, "value": 20.0}
        (run_dir / layout.TIMING).write_text(json.dumps(rate) + "\n")
        for name, value in {
            layout.DONE: {"env_steps": 600, "score": 0.5, "evaluation": evaluation(spec.id, 600)},
            layout.SWEPT: {"sweeps": ["mine"]},
            layout.TRACKING: {"sqlite:///x.db": {"token": "t", "run_id": "r", "experiment_id": "1"}},
            layout.DURABLE: {"metrics": 0, "timing": 0},
            layout.CRASHES: {"time": 1.0, "reason": "x"},
            layout.STOP: {"by": "a", "reason": "b"},
            layout.JOB: {"submission": os.path.relpath(runs / SUBMISSION, run_dir), "index": 0},
        }.items():
            (run_dir / name).write_text(json.dumps(value) + "\n")
        members.append(Member(run_dir, 600, {"seed": str(config.seed)}))
    jobs = [[os.path.relpath(members[0].run_dir, swept)]]
    submission = {
        "kind": "runs",
        "array": "7",
        "time": 1.0,
        "jobs": jobs,
        "at_once": 1,
        "max_crashes": 1,
        "backoff_s": 1.0,
    }
    (runs / SUBMISSION).write_text(json.dumps(submission))
    write_sweep(runs / layout.SWEEPS / "mine.json", members, {})
    return runs


@pytest.mark.parametrize("name", [*RUN_FILES, f"{layout.SWEEPS}/mine.json", SUBMISSION])
def test_damaged_file_ends_no_command_in_a_traceback_and_hides_no_other_run(runs: Path, capsys, monkeypatch, name: str):
    monkeypatch.chdir(runs.parent)
    monkeypatch.setattr(cluster, "queue", lambda *_: {})  # SLURM's answer on a machine where no job is left
    bad, good = sorted(path.parent for path in runs.glob("*/*/config.json"))
    path = (bad if name in RUN_FILES else runs) / name
    whole = path.read_bytes()
    more = ["-m", "plan=true", "seed=0,1", *COMMON, "train.env_steps=900", f"paths.runs={runs}"]
    others = (
        lambda: logs.main([bad.name, "--runs", str(runs)]),
        lambda: cancel.main(["mine", "--runs", str(runs)]),
        lambda: sync.main([str(runs)]),
        lambda: run_command(more),
        lambda: load(runs),
    )
    try:
        for index, (kind, mutate) in enumerate(MUTATIONS.items()):
            content = mutate(whole)
            path.unlink()
            ODD[kind](path) if content is None else path.write_bytes(content)
            warn_once.cache_clear()
            capsys.readouterr()
            status_main(["--runs", str(runs)])
            shown = capsys.readouterr()
            if name in RUN_FILES:
                assert good.name in shown.out, kind
            with_line(others[index % len(others)])
            said = capsys.readouterr()
            assert "Traceback" not in shown.err + said.err, kind
            for line in (shown.err + said.err).splitlines():
                if line.startswith(("warning:", "error:")):
                    assert str(path) in line, kind
            if name == layout.DONE:
                assert name in shown.out + shown.err, kind
            path.rmdir() if path.is_dir() else path.unlink()
            path.write_bytes(whole)
    finally:
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(whole)


def with_line(command: Callable[[], object]) -> None:
    """Give a command that may end in an error line or an exit status, but in no other exception."""
    said = ""
    try:
        command()
    except (ConfigError, SystemExit) as end:
        said = str(end)
    assert len(said.splitlines()) <= 1
