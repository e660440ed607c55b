"""SLURM's commands as shell scripts that keep what they are given, for tests that need no cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

SBATCH = """\
case "$1" in
--help) echo "  --partition=p  --account=a  --qos=q  --time=t  --mem=m  --gpus-per-node=n  --cpus-per-task=n"
        echo "  --constraint=c  --dependency=d  --exclude=n  --exclusive  --gres=g"; exit 0;;
--test-only) if [ -e {folder}/refuse ]; then cat {folder}/refuse >&2; exit 1; fi; script=/dev/stdin;;
*) script=$1;;
esac
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
[ "${{last:-0}}" -lt 3 ] || {{ echo "sbatch: error: Invalid job array specification" >&2; exit 1; }}
[ "$1" != --test-only ] || exit 0
[ -e {folder}/full ] && {{ echo "sbatch: error: Slurm temporarily unable to accept job" >&2; exit 1; }}
id=$(($(cat {folder}/last 2>/dev/null || echo 6) + 1))
echo $id > {folder}/last
cp "$1" {folder}/$id.sh
echo {folder}/$id.sh >> {folder}/submitted
echo "Submitted batch job $id"
"""
SCONTROL = """\
case "$1" in
ping) [ ! -e {folder}/silent ];;
show) echo "MaxArraySize = 3";;
update) echo "$@" >> {folder}/updated;;
requeue) echo "$2" >> {folder}/requeued; [ "$(wc -l < {folder}/requeued)" -gt "$(cat {folder}/busy)" ];;
esac
"""


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that answer as SLURM's do.

    An array has 3 jobs at most. `submitted` lists the scripts given to sbatch, `queue` is what squeue prints,
    `cancelled` what scancel was given, `requeued` what scontrol was to requeue, `updated` what it was to update; where
    `refuse` exists, sbatch refuses every script with its text; where `silent` exists, SLURM does not answer; `busy` is
    how many requeues fail.
    """
    folder = tmp_path / "fake-slurm"
    folder.mkdir()
    (folder / "queue").touch()
    (folder / "busy").write_text("0")
    for name, text in (
        ("sbatch", SBATCH.format(folder=folder)),
        ("squeue", f"[ -e {folder}/silent ] && exit 1; cat {folder}/queue"),
        ("scancel", f'echo "$@" >> {folder}/cancelled'),
        ("scontrol", SCONTROL.format(folder=folder)),
    ):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder
