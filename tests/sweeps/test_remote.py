"""What this machine knows and checks of a sweep that goes elsewhere over ssh; `tests/test_ssh_slurm.py` is for real."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import pytest

from agents.training.execute import check_place
from conf.compose import compose
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from records.lock import lock
from records.remote import RemoteRun, RemoteSweep, remote_sweeps, write_remote, write_remote_run
from records.sweep import Member, add_parent, find_sweep, write_sweep
from sweeps import cancel, fetch
from sweeps.code import pack
from sweeps.command import main
from sweeps.remote import connection
from sweeps.remote.bring import settle
from sweeps.remote.connection import LostConnectionError, execute, transfer
from sweeps.remote.packages import differences, pinned
from sweeps.remote.place import Place, place_of
from sweeps.status import inspect
from sweeps.status.__main__ import main as status

SWEEP = ["-m", "seed=0,1", "tracking=off", "launcher=ssh-slurm", "launcher.host=cluster"]
SSH = """\
#!/bin/sh
# Executes here what is for another machine; each line of `cuts` ends one call with its words.
while case "$1" in -o) shift 2;; --) shift;; *) false;; esac; do :; done
shift
if [ -s {folder}/cuts ]; then
    head -n 1 {folder}/cuts >&2; sed -i 1d {folder}/cuts; exit 255
fi
PATH={path}; exec sh -c "$*"
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for the other machine: `there` in it is the place, what `cuts` lists ends connections."""
    folder = tmp_path / "cluster"
    (folder / "bin").mkdir(parents=True)
    ssh = folder / "bin" / "ssh"
    ssh.write_text(SSH.format(folder=folder, path=os.environ["PATH"]))
    ssh.chmod(0o755)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(connection, "PAUSES_S", (0.0, 0.0))
    return folder


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launcher.host=null"], "launcher.host=null: launcher=ssh-slurm needs a machine"),
        (["launcher.host='-oProxyCommand=touch x'"], "no name of a machine"),
        (["launcher.folder='~other/brc'"], "launcher.folder=~other/brc: must name a folder on cluster"),
        (["launcher.folder='$SCRATCH/brc'"], "must name a folder on cluster"),
        (["launcher.wheels=/nowhere"], "launcher.wheels=/nowhere: no such folder on this machine"),
        (["launcher.code=live"], "launcher.code=live: launcher=ssh-slurm sends a snapshot"),
        (["rerun=stale"], "rerun=stale: launcher=ssh-slurm has one folder of runs"),
        (["init_from=runs/x"], "init_from=runs/x: launcher=ssh-slurm sends code and no other files"),
    ],
)
def test_what_another_machine_can_make_nothing_of_is_refused(overrides: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        place_of([compose(["launcher=ssh-slurm", "launcher.host=cluster", *overrides])])
    assert said in str(error.value)


def test_folder_is_seen_from_home_and_quoted_for_the_shell():
    config = compose(["launcher=ssh-slurm", "launcher.host=me@cluster", "launcher.folder='~/my runs'"])
    place = place_of([config])
    assert place == Place("me@cluster", "my runs", "venv/bin/python")
    assert place.enter() == "cd -- 'my runs'"


def test_list_of_packages_is_this_environments_without_the_project_and_its_tools():
    packages = pinned()
    assert packages["numpy"] == importlib.metadata.version("numpy")
    assert packages["jaxlib"] == importlib.metadata.version("jaxlib")  # which jax asks for
    assert not packages.keys() & {"brc-multitask", "pytest", "ruff"}
    assert differences(packages, dict(packages)) == []
    there = {**packages, "numpy": "1.0", "rich": None}
    assert differences(packages, there) == ["no rich", f"numpy 1.0 instead of {packages['numpy']}"]


@pytest.mark.parametrize("stop", ["plan=true", "launcher.dry_run=true"])
def test_plan_names_host_folder_and_snapshot_and_connects_to_nothing(
    cluster: Path, capsys: pytest.CaptureFixture, stop: str
):
    (cluster / "cuts").write_text("a connection\n")
    assert main([*SWEEP, "launcher.folder=far", stop]) == ExitCode.DONE
    said = capsys.readouterr().out
    code = pack()
    assert f"over ssh: to cluster:far/runs/_code/{code.id}, for venv/bin/python there; nothing has been sent" in said
    assert f"code: snapshot {code.id} ({len(code.files)} files, " in said
    if "dry_run" in stop:
        assert (
            "command: venv/bin/python -m agents.run -m seed=0,1 launcher=ssh-slurm launcher.name=slurm tracking=off "
            "paths.runs=runs\n"
        ) in said
    assert (cluster / "cuts").read_text() == "a connection\n"
    assert not Path("runs").exists()


PYTHON = """\
#!/bin/sh
cat > /dev/null
[ "$1" = - ] && echo 'a word of greeting' && echo '{"python": "%s", "packages": {"numpy": "0.1"}, "has_code": false}'
"""


def test_what_is_missing_over_there_is_one_line_before_anything_is_submitted(
    cluster: Path, capsys: pytest.CaptureFixture
):
    there = cluster / "there"
    there.mkdir()
    (cluster / "file").touch()
    (cluster / "wheels").mkdir()
    (cluster / "wheels" / "numpy.whl").touch()
    for name, version in (("old", "3.9"), ("bare", f"{sys.version_info.major}.{sys.version_info.minor}")):
        (there / name).write_text(PYTHON % version)
        (there / name).chmod(0o755)
    wheels = f"launcher.wheels={cluster / 'wheels'}"
    for overrides, cut, said in (
        ([], "ssh: Could not resolve hostname cluster", "launcher.host=cluster: cannot be reached: ssh: Could not"),
        ([f"launcher.folder={cluster}/file/x"], "", f"launcher.folder={cluster}/file/x on cluster: mkdir: "),
        ([], "", "launcher.python=venv/bin/python on cluster: there is no such program; mend that by: ssh cluster"),
        (["launcher.python=./old"], "", "is Python 3.9, and this one is 3."),
        (["launcher.python=./bare", wheels], "", "the packages there are not those of this environment: no absl-py"),
    ):
        (cluster / "cuts").write_text(f"{cut}\n" if cut else "")
        assert main([*SWEEP, f"launcher.folder={there}", *overrides]) == ExitCode.BAD_CONFIG
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line
    (listed,) = there.glob("packages-*.txt")
    assert f"./bare -m pip install --no-index --find-links wheels -r {listed.name}" in line
    assert f"numpy=={importlib.metadata.version('numpy')}\n" in listed.read_text()
    assert (there / "wheels" / "numpy.whl").exists()
    assert remote_sweeps(Path("runs")) == {}
    assert not (there / "runs" / layout.SWEEPS).exists()


def test_connection_that_is_cut_is_made_again_and_given_up_in_the_end(cluster: Path, capsys: pytest.CaptureFixture):
    (cluster / "cuts").write_text("Connection closed\nBroken pipe\n")
    assert execute("cluster", 'cat; echo "it\'s done"; exit 3', "given ").output == "given it's done\n"
    assert capsys.readouterr().err.count("cluster: the connection was cut (") == 2
    (cluster / "from").mkdir()
    (cluster / "from" / "a file").write_text("whole")
    (cluster / "cuts").write_text("Broken pipe\n")
    transfer("cluster", [], f"cluster:{cluster}/from/", f"{cluster}/to/")
    assert (cluster / "to" / "a file").read_text() == "whole"
    (cluster / "cuts").write_text("Broken pipe\n" * 3)
    with pytest.raises(LostConnectionError, match="cut 3 times in turn"):
        execute("cluster", "true")


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_what_has_come_takes_its_place_without_making_rows_fewer_or_forgetting_mlflow(tmp_path: Path):
    record, run_dir = tmp_path / layout.SWEEPS / "s.json", tmp_path / "b" / "r"
    write_sweep(record, [], add_parent({}, "sqlite:///x", "", "mine"), closed=["sqlite:///x"])
    write(run_dir, {layout.METRICS: "1\n2\n", layout.TIMING: "1\n", layout.STATUS: "old and long"})
    stage = record.with_suffix("") / ".fetching"
    write(stage / "b" / "r", {layout.METRICS: "1\n", layout.TIMING: "1\n3\n", layout.STATUS: "new", ".part/x": "torn"})
    theirs = {"members": [{"run_dir": "../b/r", "env_steps": 5, "varied": {}}], "parents": {}, "closed": []}
    write(stage, {"_sweeps/s.json": json.dumps(theirs | {"notify": "mail me", "command": "over there"})})
    settle(stage, record, ["b/r"], "here")
    assert [(run_dir / name).read_text() for name in (layout.METRICS, layout.TIMING, layout.STATUS)] == [
        "1\n2\n",
        "1\n3\n",
        "new",
    ]
    assert not stage.exists()
    assert not list(run_dir.rglob("x"))
    sweep = find_sweep(tmp_path, None)
    assert [one.run_dir for one in sweep.members] == [run_dir]
    assert (sweep.parents, sweep.closed) == ({"sqlite:///x": {"": "mine"}}, ["sqlite:///x"])
    assert (sweep.notify, sweep.command) == (None, "here")


def test_run_stands_where_the_other_machine_said_until_this_one_executes_it(tmp_path: Path):
    write(tmp_path, {layout.STATUS: json.dumps({"state": "running"})})
    write_remote_run(tmp_path, RemoteRun("cluster", 1.0, "preempted", "7_0"))
    assert (inspect(tmp_path, 10).name, inspect(tmp_path, 10).job) == ("preempted", "7_0")
    with lock(tmp_path):
        assert inspect(tmp_path, 10).name == "running"
    write_remote_run(tmp_path, RemoteRun("cluster", 1.0, "killed", None))
    assert inspect(tmp_path, 10).name == "killed"
    config = compose(["train.env_steps=10"])
    with pytest.raises(ConfigError, match="is a run of cluster, where its replay is"):
        check_place(config, tmp_path)
    write(tmp_path, {layout.DONE: json.dumps({"env_steps": 10, "score": 0.5, "evaluation": []})})
    assert inspect(tmp_path, 10).name == "done"
    check_place(config, tmp_path)  # there is nothing to go on with


def test_status_says_how_old_it_is_and_cancel_and_fetch_ask_the_machine_that_has_the_sweep(
    cluster: Path, capsys: pytest.CaptureFixture
):
    record = Path("runs").absolute() / layout.SWEEPS / "mine.json"
    write_sweep(record, [Member(Path("runs/b/r").absolute(), 10, {})], {})
    (cluster / "there").mkdir()
    remote = RemoteSweep("cluster", str(cluster / "there"), "python", "abc", "command", None, time.time() - 200)
    write_remote(record, remote)
    assert status([]) == ExitCode.DONE
    assert "on cluster, as of 3 minutes ago; python -m sweeps.fetch brings what is new" in capsys.readouterr().out
    for command in (lambda: cancel.main(["mine"]), lambda: status(["--relaunch"]), lambda: fetch.main([])):
        assert command() == ExitCode.BAD_CONFIG
        assert "error: mine: cluster has no such sweep in" in capsys.readouterr().err
    assert fetch.main(["--sweep", "other"]) == ExitCode.BAD_CONFIG
    assert "known: mine" in capsys.readouterr().err
