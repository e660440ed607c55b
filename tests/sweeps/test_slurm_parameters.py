from __future__ import annotations

from pathlib import Path

import pytest

from conf.typed import ConfigError
from sweeps import slurm


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that answer as SLURM's do; `sbatch` keeps the script it is given."""
    for name, text in (
        ("sbatch", f'cp "$1" {tmp_path}/script.sh; echo "Submitted batch job 7"'),
        ("scontrol", "exit 0"),
        ("srun", "exit 0"),
    ):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_without_slurm_the_launcher_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no SLURM answers here"):
        slurm.check({})


def test_misspelt_parameter_is_named_with_the_nearest_one(fake_slurm: Path):
    with pytest.raises(ConfigError, match=r"launcher\.slurm\.acount=lab: .*did you mean account\?"):
        slurm.check({"acount": "lab"})


def test_script_holds_the_flags_of_the_yaml_and_drops_nulls(fake_slurm: Path, tmp_path: Path):
    from conf.compose import compose

    launcher = compose(
        ["launcher=slurm", "launcher.slurm.partition=gpu", "launcher.max_parallel=3", "launcher.slurm.mem=null"]
    ).launcher
    jobs = slurm.submit([tmp_path / "a", tmp_path / "b"], launcher, tmp_path / "folder")
    assert jobs == ["7_0", "7_1"]
    script = (fake_slurm / "script.sh").read_text()
    for flag in ("--partition=gpu", "--array=0-1%2", "--gpus-per-node=1", "--time=1440", "--signal=USR2@300"):
        assert flag in script
    assert "--mem" not in script
    assert "--account" not in script
