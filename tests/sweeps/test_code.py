"""What is submitted runs the code of the submission, whatever is edited afterwards, and that code is stored once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conf.compose import compose
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode, RunOutcome
from records.provenance import ROOT, git_state
from records.run_record import write_status
from records.sweep import find_sweep
from sweeps import code as code_module
from sweeps.code import Code, Packed, pack, store, submitted_code
from sweeps.command import main
from sweeps.slurm.submission import job_of, submissions
from sweeps.status.__main__ import main as status

SWEEP = ["-m", "launcher=slurm", "tracking=off", "seed=0,1,2"]
WHO = """\
import sweeps.slurm.job
from records.provenance import git_state, snapshot_name
print(sweeps.slurm.job.__file__, snapshot_name(), git_state()["git_commit"])
"""


def code_for(runs: Path) -> Code:
    """The code that a job on SLURM would be submitted with."""
    code = submitted_code([compose(["launcher=slurm"]).launcher], on_slurm=True, runs=runs)
    assert code is not None
    return code


def write(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of two packages and tests, whose files are tracked."""
    root = tmp_path / "checkout"
    write(root, {f"{package}/__init__.py": "" for package in ("conf", "mine", "tests")})
    write(root, {"mine/a.py": "a = 1", "conf/base.yaml": "seed: 0", "conf/scores.csv": "1,2", "gone.py": ""})
    write(root, {".gitignore": "*.bin\n__pycache__/", "docs/page.md": "text"})
    commit(root)
    return root


def commit(root: Path) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(root)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *arguments], check=True, timeout=60)


def test_pack_holds_the_packages_as_they_are_with_new_python_and_yaml(checkout: Path):
    clean = pack(checkout)
    tracked = {"conf/__init__.py", "conf/base.yaml", "conf/scores.csv", "gone.py", "mine/__init__.py", "mine/a.py"}
    assert clean.files.keys() == tracked
    write(checkout, {"mine/a.py": "a = 2", "mine/b.py": "b", "conf/b.yaml": "b: 1", "mine/weights.npz": "0"})
    write(checkout, {"mine/cache.bin": "0", "mine/__pycache__/a.py": "", "tests/test.py": "", "other/x.py": ""})
    (checkout / "gone.py").unlink()
    changed = pack(checkout)
    assert changed.files.keys() == tracked - {"gone.py"} | {"mine/b.py", "conf/b.yaml"}
    assert changed.files["mine/a.py"] == b"a = 2"
    assert changed.left_out == ("mine/weights.npz",)
    assert changed.id != clean.id


def test_pack_depends_on_contents_alone(checkout: Path):
    before = pack(checkout).id
    write(checkout, {"docs/page.md": "other", "tests/test.py": "other"})
    commit(checkout)
    assert pack(checkout).id == before
    assert Packed({"a": b"1", "b": b"2"}).id == Packed({"b": b"2", "a": b"1"}).id
    assert len({Packed({"a": b"1"}).id, Packed({"b": b"1"}).id, Packed({"a": b"2"}).id}) == 3


def test_pack_without_git_holds_all_of_the_projects_packages_and_no_others(tmp_path: Path):
    write(
        tmp_path,
        {"conf/__init__.py": "", "conf/scores.csv": "1", "conf/__pycache__/x.pyc": "", "numpy/__init__.py": ""},
    )
    assert pack(tmp_path).files.keys() == {"conf/__init__.py", "conf/scores.csv"}


def test_same_code_is_stored_once_by_several_processes_at_once(tmp_path: Path):
    text = "from sweeps.code import *; packed = pack(); store(Code(packed, Path(sys.argv[1]) / packed.id, {}))"
    command = [sys.executable, "-c", text, str(tmp_path / layout.CODE)]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", "", ""]
    (stored,) = (tmp_path / layout.CODE).iterdir()
    assert stored.name == pack().id == pack(stored).id
    assert json.loads((stored / layout.SNAPSHOT).read_text())["git_commit"] == git_state()["git_commit"]


def test_stored_code_is_read_only_and_mended_if_it_was_edited(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(code_module, "pack", lambda: Packed({"conf/__init__.py": b"", "conf/a.py": b"a = 1"}))
    code = code_for(tmp_path)
    store(code)
    path = code.folder / "conf" / "a.py"
    assert path.stat().st_mode & 0o222 == 0
    path.chmod(0o644)
    path.write_text("a = 2")
    store(code)
    assert path.read_text() == "a = 1"
    assert f"{path} was not as it had been stored" in capsys.readouterr().err
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []


def test_folder_that_python_cannot_import_from_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"launcher\.code=live"):
        code_for(tmp_path / "a:b")
    with pytest.raises(ConfigError, match=r"launcher\.code=snapshot: launcher=inline"):
        compose(["launcher=inline", "launcher.code=snapshot"])


def test_job_started_in_the_live_checkout_imports_the_snapshot_and_knows_its_commit(tmp_path: Path):
    code = code_for(tmp_path)
    store(code)
    given = Code(code.packed, code.folder, {"git_commit": "of the submission", "git_diff_sha256": None})
    script = f"export PYTHONPATH={ROOT}\n{given.exports()}\n{sys.executable} -c '{WHO}'"
    said = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.stdout.split(maxsplit=2) == [
        str(code.folder / "sweeps" / "slurm" / "job.py"),
        code.folder.name,
        "of the submission\n",
    ], said.stderr


def test_relaunch_runs_the_code_of_the_submission_and_the_command_the_code_of_now(
    tmp_path: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main([*SWEEP, "launcher.dry_run=true"]) == 0
    said = capsys.readouterr().out
    old = pack()
    folder = tmp_path / "runs" / layout.CODE
    assert f"code: snapshot {old.id}" in said
    assert f"would be stored in {folder / old.id}" in said
    assert f"PYTHONPATH={folder / old.id}:" in said
    assert not folder.exists()
    assert main(SWEEP) == 0
    new = Packed({**old.files, "sweeps/code.py": b"# edited"})
    monkeypatch.setattr(code_module, "pack", lambda: new)
    sweep = find_sweep(tmp_path / "runs", None)
    runs = [member.run_dir for member in sweep.members]
    write_status(runs[0], RunOutcome.INTERRUPTED)
    (fake_slurm / "queue").write_text("7_1|PENDING\n7_2|PENDING\n")
    assert status(["--relaunch"]) == 0
    assert f"{sweep.id}: submitted 1 runs again" in capsys.readouterr().out
    assert job_of(runs[0]).id == "8_0"
    (fake_slurm / "queue").write_text("8_0|PENDING\n7_2|PENDING\n")
    assert main(SWEEP) == 0
    assert [one.code for one in submissions(sweep.folder)] == [old.id, old.id, new.id]
    assert {one.git["git_commit"] for one in submissions(sweep.folder)} == {git_state()["git_commit"]}
    assert sorted(one.name for one in folder.iterdir()) == sorted([old.id, new.id])
    write_status(runs[1], RunOutcome.INTERRUPTED)
    (fake_slurm / "queue").write_text("")
    (folder / new.id).rename(folder / "elsewhere")
    assert status(["--relaunch"]) == ExitCode.BAD_CONFIG
    assert f"{folder / new.id}: the code that runs of {sweep.id} were submitted with is gone" in capsys.readouterr().err


def test_live_code_is_neither_stored_nor_exported(tmp_path: Path, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main([*SWEEP, "launcher.code=live"]) == 0
    assert not (tmp_path / "runs" / layout.CODE).exists()
    (script,) = (fake_slurm / "submitted").read_text().split()
    assert "PYTHONPATH" not in Path(script).read_text()
