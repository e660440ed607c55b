"""What a process may still take, from recorded files of control groups of both versions."""

from pathlib import Path

import pytest

from agents.memory import available_bytes, bytes_left, group_files, group_folders

MIB = 2**20
TMPFS = "23 28 0:21 / /run rw,nosuid - tmpfs tmpfs rw,size=2446376k,mode=755\n"
V2 = "34 23 0:29 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
V1 = (
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:16 - cgroup cgroup rw,cpu,cpuacct\n"
    "40 31 0:37 / /sys/fs/cgroup/memory rw,relatime shared:20 - cgroup cgroup rw,memory\n"
)
SLURM_V2 = "0::/system.slice/slurmstepd.scope/job_17/step_0/user/task_0\n"
SLURM_V1 = (
    "11:cpu,cpuacct:/slurm/uid_1000/job_17\n4:memory:/slurm/uid_1000/job_17/step_0\n1:name=systemd:/system.slice\n"
)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        (
            SLURM_V2,
            TMPFS + V2,
            [
                "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_17/step_0/user/task_0",
                "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_17/step_0/user",
                "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_17/step_0",
                "/sys/fs/cgroup/system.slice/slurmstepd.scope/job_17",
                "/sys/fs/cgroup/system.slice/slurmstepd.scope",
                "/sys/fs/cgroup/system.slice",
                "/sys/fs/cgroup",
            ],
        ),
        (
            SLURM_V1,
            TMPFS + V1,
            [
                "/sys/fs/cgroup/memory/slurm/uid_1000/job_17/step_0",
                "/sys/fs/cgroup/memory/slurm/uid_1000/job_17",
                "/sys/fs/cgroup/memory/slurm/uid_1000",
                "/sys/fs/cgroup/memory/slurm",
                "/sys/fs/cgroup/memory",
            ],
        ),
        # A container with a name space of its own sees itself as the root.
        ("0::/\n", V2, ["/sys/fs/cgroup"]),
        # One without sees only its part of the hierarchy, under the whole path.
        (
            "4:memory:/docker/f00d/worker\n0::/docker/f00d\n",
            "40 31 0:37 /docker/f00d /sys/fs/cgroup/memory ro,nosuid master:20 - cgroup cgroup rw,memory\n",
            ["/sys/fs/cgroup/memory/worker", "/sys/fs/cgroup/memory"],
        ),
        # A process that was moved out of its container's name space, and a mount point with a blank in its name.
        ("0::/../job\n", V2.replace("/sys/fs/cgroup", r"/my\040groups"), ["/my groups"]),
        # Version 1 counts memory, version 2 is mounted beside it for other uses: both are looked at.
        (
            "4:memory:/job\n0::/\n",
            V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            ["/sys/fs/cgroup/memory/job", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"],
        ),
        ("", TMPFS, []),
    ],
    ids=["slurm v2", "slurm v1", "own name space", "bind mount", "outside", "hybrid", "none"],
)
def test_a_processs_group_and_all_above_it_are_found(cgroup, mountinfo, expected):
    assert group_folders(cgroup, mountinfo) == [Path(path) for path in expected]


def v2(limit: str, current: int, stat: str = "", high: str = "max") -> dict[str, str]:
    files = {"memory.max": f"{limit}\n", "memory.high": f"{high}\n", "memory.current": f"{current}\n"}
    return files | {"memory.stat": stat}


def test_version_2_page_cache_does_not_count_but_shared_memory_does():
    stat = (
        f"anon {300 * MIB}\nfile {600 * MIB}\nshmem {100 * MIB}\ninactive_file {350 * MIB}\nactive_file {150 * MIB}\n"
    )
    assert bytes_left(v2(str(1000 * MIB), 900 * MIB, stat)) == 600 * MIB


def test_version_2_slows_a_group_down_beyond_its_lower_limit():
    assert bytes_left(v2(str(1000 * MIB), 100 * MIB, high=str(700 * MIB))) == 600 * MIB


def test_version_1_counts_the_groups_below_too():
    texts = {
        "memory.limit_in_bytes": f"{1000 * MIB}\n",
        "memory.usage_in_bytes": f"{900 * MIB}\n",
        "memory.stat": (
            f"cache {20 * MIB}\ninactive_file {5 * MIB}\nactive_file {5 * MIB}\n"
            f"total_cache {600 * MIB}\ntotal_inactive_file {350 * MIB}\ntotal_active_file {150 * MIB}\n"
        ),
    }
    assert bytes_left(texts) == 600 * MIB


@pytest.mark.parametrize(
    "texts", [{}, v2("max", 5 * MIB), {"memory.stat": "anon 5\n"}], ids=["root", "unlimited", "no limit's file"]
)
def test_a_group_without_a_limit_limits_nothing(texts):
    assert bytes_left(texts) is None


def test_a_group_that_is_over_its_limit_has_nothing_left():
    assert bytes_left(v2(str(100 * MIB), 120 * MIB)) == 0


def test_the_least_of_nested_limits_holds(tmp_path, monkeypatch):
    """A job of 500 MiB in a user's slice of 2,000, of which others have taken 1,900; its step has no limit."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    step = groups / "user" / "job" / "step"
    step.mkdir(parents=True)
    proc.mkdir()
    (proc / "cgroup").write_text("0::/user/job/step\n")
    (proc / "mountinfo").write_text(V2.replace("/sys/fs/cgroup", str(groups)))
    for folder, texts in (
        (step, v2("max", 50 * MIB)),
        (step.parent, v2(str(500 * MIB), 100 * MIB)),
        (step.parents[1], v2(str(2000 * MIB), 1900 * MIB)),
    ):
        for name, text in texts.items():
            (folder / name).write_text(text)
    assert [bytes_left(texts) for texts in group_files(proc)] == [None, 400 * MIB, 100 * MIB, None]
    monkeypatch.setattr("agents.memory.PROC", proc)
    assert available_bytes() == 100 * MIB


def test_without_control_groups_the_machine_is_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("agents.memory.PROC", tmp_path / "none")
    assert available_bytes() > 0
