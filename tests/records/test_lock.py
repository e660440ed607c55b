"""One process at a time holds a lock: whatever flock does, on whatever host, and however the holder ended."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from records import layout
from records import lock as locks
from records.lock import LostLockError, holder_of, is_held, lock, try_lock
from records.run_dir import RunDir
from records.sweep import read_sweep, write_sweep
from tests.commands import TINY, run

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* FLOCK: a number of an error, or "each host": a lock that no process of another host sees. */
int flock(int descriptor, int operation) {
    const char *how = getenv("FLOCK");
    if (how == NULL)
        return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(descriptor, operation);
    if (strcmp(how, "each host") == 0)
        return 0;
    errno = atoi(how);
    return -1;
}

int gethostname(char *name, size_t length) {
    const char *host = getenv("HOST");
    if (host == NULL)
        return ((int (*)(char *, size_t))dlsym(RTLD_NEXT, "gethostname"))(name, length);
    strncpy(name, host, length);
    return 0;
}

/* A file system that is slow: whoever looks at a lock sees what was there a while before it writes. */
ssize_t write(int descriptor, const void *data, size_t size) {
    if (getenv("SLOW_WRITE") != NULL && size > 8 && memmem(data, size, "\"token\"", 7) != NULL)
        usleep(300000);
    return ((ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(descriptor, data, size);
}
"""
HOLD = """
import os, sys, time
from pathlib import Path
from records.lock import try_lock
path, go = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
for _ in range(6):
    if held := try_lock(path):
        break
    time.sleep(0.03)
print(held.kind if held else "refused", flush=True)
if held:
    sys.stdin.readline()
    held.release()
"""
UNSUPPORTED = ["ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK"]
ONE_AND_SLOW_OTHERS = [UNSUPPORTED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in UNSUPPORTED[1:])]
EACH_HOST = "each host"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is loaded before the system's, and whose flock and host name a test chooses."""
    if shutil.which("gcc") is None:
        assert "CI" not in os.environ, "gcc is missing"
        pytest.skip("gcc is missing; it compiles the library that makes flock fail")
    folder = tmp_path_factory.mktemp("library")
    (folder / "library.c").write_text(LIBRARY)
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", "library.so", "library.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "library.so"


class Contender:
    """A process that tries to take a lock once `go` is there, and holds it until it is ended."""

    def __init__(self, library: Path, path: Path, go: Path, flock: str | None, host: str | None, slow: bool = False):
        chosen = {"FLOCK": flock, "HOST": host, "SLOW_WRITE": "1" if slow else None}
        environment = os.environ | {"LD_PRELOAD": str(library)}
        environment |= {name: value for name, value in chosen.items() if value is not None}
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", HOLD, str(path), str(go)],
            env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Contest:
    """Makes processes that contend for a lock, and ends those that are left."""

    def __init__(self, library: Path, folder: Path):
        self.library, self.folder, self.begun = library, folder, []

    def start(self, path: Path, flock: str | None, host: str | None = None) -> tuple[Contender, str]:
        """A process that tries at once, and what it came to."""
        (self.folder / "now").touch()
        one = Contender(self.library, path, self.folder / "now", flock, host)
        self.begun.append(one)
        assert one.says() == "ready"
        return one, one.says()

    def at_once(self, path: Path, settings: list[tuple[str | None, str | None]], slow: bool = False) -> list[str]:
        """What processes came to that all tried in the same moment."""
        go = self.folder / "go"
        ours = [Contender(self.library, path, go, flock, host, slow) for flock, host in settings]
        self.begun += ours
        assert {one.says() for one in ours} == {"ready"}
        go.touch()
        return [one.says() for one in ours]


@pytest.fixture
def contest(library: Path, tmp_path: Path) -> Iterator[Contest]:
    found = Contest(library, tmp_path)
    yield found
    for one in found.begun:
        one.kill()


APPEND = """
import sys, time
from pathlib import Path
from records.sweep import Member, change_sweep, launch_lock, listed, read_sweep, sweep_lock
path, name = Path(sys.argv[1]), sys.argv[2]
for number in range(5):
    with launch_lock(path), sweep_lock(path):
        members = read_sweep(path).members
        time.sleep(0.005)
        added = Member(path.parent.parent / f"{name}-{number}", 1, {})
        change_sweep(path, members=listed([*members, added], path))
"""
TRIAL = """
import os, sys, time
from pathlib import Path
from sweeps.search.storage import JOURNAL, JournalLock
from records.lock import try_lock
folder, name = Path(sys.argv[1]), sys.argv[2]
while sum(one.suffix == ".mine" for one in folder.iterdir()) < 12:
    for number in range(12):
        held = try_lock(folder / f"trial-{number:04d}.lock")
        if held is None:
            continue
        if not (folder / f"{number}.mine").exists():
            journal = JournalLock(folder / JOURNAL)
            journal.acquire()
            lines = (folder / JOURNAL).read_text()
            time.sleep(0.005)
            (folder / JOURNAL).write_text(f"{lines}{number} {name}\\n")
            journal.release()
            (folder / f"{number}.mine").touch(exist_ok=False)
        held.release()
"""


def number_of(name: str) -> str:
    return str(getattr(errno, name))


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_without_flock_one_process_holds_the_lock_and_a_killed_one_costs_no_wait(
    contest: Contest, tmp_path: Path, name: str
):
    path = tmp_path / layout.LOCK
    first, said = contest.start(path, number_of(name))
    assert said == "lease"
    assert contest.start(path, number_of(name))[1] == "refused"
    assert is_held(tmp_path)
    first.kill()
    assert not is_held(tmp_path)
    assert contest.start(path, number_of(name))[1] == "lease"


@pytest.mark.parametrize("flock", [None, number_of("ENOSYS")], ids=["flock", "lease"])
@pytest.mark.parametrize(
    "killed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["fresh", "after a killed holder"]
)
def test_of_twenty_starts_at_once_one_holds(contest: Contest, tmp_path: Path, flock: str | None, killed: bool):
    path = tmp_path / layout.LOCK
    if killed:
        contest.start(path, flock)[0].kill()
    assert contest.at_once(path, [(flock, None)] * 20).count("refused") == 19


def finish(library: Path, code: str, flock: str, *arguments: object) -> None:
    """Run four processes at once that are given a number each, and wait for their end."""
    environment = os.environ | {"LD_PRELOAD": str(library), "FLOCK": flock}
    environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    processes = [
        subprocess.Popen([*command, str(number)], env=environment, stderr=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_without_flock_processes_that_change_a_sweeps_record_lose_nothing_of_each_other(
    library: Path, tmp_path: Path, name: str
):
    path = tmp_path / layout.SWEEPS / "mine.json"
    write_sweep(path, [], {})
    finish(library, APPEND, number_of(name), path)
    found = sorted(member.run_dir.name for member in read_sweep(path).members)
    assert found == sorted(f"{process}-{number}" for process in range(4) for number in range(5))


@pytest.mark.parametrize("name", ONE_AND_SLOW_OTHERS)
def test_without_flock_each_trial_of_a_search_is_one_process_and_the_journal_keeps_every_line(
    library: Path, tmp_path: Path, name: str
):
    (tmp_path / "study.log").touch()
    finish(library, TRIAL, number_of(name), tmp_path)
    lines = (tmp_path / "study.log").read_text().splitlines()
    assert sorted(int(line.split()[0]) for line in lines) == list(range(12))


def test_flock_that_holds_on_each_host_alone_lets_one_host_write(contest: Contest, tmp_path: Path):
    path = tmp_path / layout.LOCK
    assert contest.start(path, EACH_HOST, "a")[1] == "flock"
    assert contest.start(path, EACH_HOST, "b")[1] == "refused"
    assert contest.start(path, EACH_HOST, "a")[1] == "refused"


def test_two_hosts_that_try_at_once_on_a_slow_file_system_do_not_both_hold(contest: Contest, tmp_path: Path):
    for index in range(3):
        (tmp_path / "go").unlink(missing_ok=True)
        said = contest.at_once(tmp_path / f"lock-{index}", [(EACH_HOST, "a"), (EACH_HOST, "b")], slow=True)
        assert sorted(said) == ["flock", "refused"]


@pytest.mark.parametrize("order", [(None, number_of("ENOSYS")), (number_of("ENOSYS"), None)])
def test_hosts_with_and_without_flock_respect_each_other(
    contest: Contest, tmp_path: Path, order: tuple[str | None, str | None]
):
    path = tmp_path / layout.LOCK
    assert contest.start(path, order[0], "a")[1] != "refused"
    assert contest.start(path, order[1], "b")[1] == "refused"
    (tmp_path / "go").unlink(missing_ok=True)
    said = contest.at_once(tmp_path / "other", [(order[0], "a"), (order[1], "b")])
    assert said.count("refused") == 1


def test_holder_of_another_host_is_gone_when_its_heart_has_not_beaten_for_long(contest: Contest, tmp_path: Path):
    path = tmp_path / layout.LOCK
    contest.start(path, EACH_HOST, "a")[0].kill()
    assert is_held(tmp_path)
    assert contest.start(path, EACH_HOST, "b")[1] == "refused"
    long_ago = time.time() - locks.GONE_S - 5
    os.utime(tmp_path / "lock.lease", (long_ago, long_ago))
    assert not is_held(tmp_path)
    assert contest.start(path, EACH_HOST, "b")[1] == "flock"


def test_process_whose_lock_another_took_over_notices_and_leaves_the_other_its_lease(contest: Contest, tmp_path: Path):
    path = tmp_path / layout.LOCK
    with lock(tmp_path) as held:
        held.check()
        lease = tmp_path / "lock.lease"
        other = json.loads(lease.read_text()) | {"host": "elsewhere", "token": "another"}
        lease.write_text(json.dumps(other))
        with pytest.raises(LostLockError, match="on elsewhere"):
            held.check()
    assert json.loads(lease.read_text()) == other
    assert try_lock(path) is None


@pytest.mark.parametrize(("cluster", "is_free"), [("east", True), ("west", False), (None, False)])
def test_job_counts_as_over_only_where_the_same_cluster_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str | None, is_free: bool
):
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "east")
    monkeypatch.setattr(locks, "_job_is_over", locks._job_is_over.__wrapped__)
    with lock(tmp_path):
        holder = json.loads((tmp_path / "lock.lease").read_text())
    gone = holder | {"host": "elsewhere", "job": "7", "cluster": cluster}
    (tmp_path / "lock.lease").write_text(json.dumps(gone))
    held = try_lock(tmp_path / layout.LOCK)
    assert (held is not None) == is_free
    if held:
        held.release()


@pytest.mark.parametrize("restarts", ["", "x", "-1", "1.5"])
def test_odd_count_of_restarts_keeps_nobody_from_a_lock(tmp_path: Path, monkeypatch, restarts: str):
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    with lock(tmp_path):
        assert is_held(tmp_path)


def test_looking_at_many_locks_writes_nothing_and_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "run", None)  # SLURM is not asked
    with lock(tmp_path):
        holder = json.loads((tmp_path / "lock.lease").read_text())
    for index in range(300):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "lock.lease").write_text(
            json.dumps(holder | {"host": "elsewhere", "job": str(index), "cluster": "east"})
        )
    begun = time.perf_counter()
    assert all(is_held(tmp_path / str(index)) for index in range(300))
    assert time.perf_counter() - begun < 1.5
    assert {path.name for path in tmp_path.glob("*/*")} == {"lock.lease"}


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"[" * 100_000, b"\xff\0", b'{"pid": "x"}'])
def test_damaged_lease_counts_as_held_until_its_age_says_otherwise(tmp_path: Path, content: bytes):
    lease = tmp_path / "lock.lease"
    lease.write_bytes(content)
    assert str(holder_of(tmp_path / layout.LOCK)).endswith("an unknown host")
    assert try_lock(tmp_path / layout.LOCK) is None
    os.utime(lease, (0, 0))
    with lock(tmp_path):
        assert is_held(tmp_path)
    assert not lease.exists()


def test_pipe_in_place_of_a_lease_is_waited_for_by_nobody(tmp_path: Path):
    lease = tmp_path / "lock.lease"
    os.mkfifo(lease)
    assert is_held(tmp_path)
    os.utime(lease, (0, 0))
    with lock(tmp_path):
        assert lease.is_file()


@pytest.mark.slow
def test_sweep_and_search_without_flock_end_as_they_do_with_it(library: Path, tmp_path: Path):
    short = ["-m", *TINY, "train.env_steps=300", "eval.every_steps=150", "launcher=local", "tracking=off"]
    space = "sweep.search.space={agent.tau:{low:0.001,high:0.02}}"
    without = {"LD_PRELOAD": str(library), "FLOCK": number_of("ENOSYS")}
    for wanted in (["seed=0,1"], ["+sweep=search", space, "sweep.search.trials=1", "sweep.search.pruner=off"]):
        results = []
        for name, environment in (("with", {}), ("without", without)):
            (tmp_path / name).mkdir(exist_ok=True)
            results.append(run(tmp_path / name, *short, *wanted, environment=environment))
            assert results[-1].returncode == 0, results[-1].stderr
        assert "warning" not in results[1].stderr
    kinds = {}
    for name in ("with", "without"):
        runs = sorted((tmp_path / name).glob("runs/quickstart/*"))
        kinds[name] = {start.lock for one in runs if (manifest := RunDir(one).manifest()) for start in manifest.starts}
    assert kinds == {"with": {"flock"}, "without": {"lease"}}
    assert metrics_below(tmp_path / "with") == metrics_below(tmp_path / "without")
    assert len(metrics_below(tmp_path / "without")) == 3
    assert [path.name for path in tmp_path.rglob("*.lease")] == []


def metrics_below(folder: Path) -> dict[str, bytes]:
    """The metrics of each run in a folder, by the run's name."""
    return {path.parent.name: path.read_bytes() for path in folder.glob(f"runs/*/*/{layout.METRICS}")}
