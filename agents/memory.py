"""How much memory this process may still take: the machine's, or less where a control group limits it.

SLURM and container runtimes put a process into a control group with a limit. Linux has two versions of control groups,
both are read here. A group's limit holds for everything in it and below it, so each ancestor of the process's own group
counts too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Files that hold a group's limit: version 2 ends a process beyond `max` and slows it down beyond `high`; version 1."""
USAGES = ("memory.current", "memory.usage_in_bytes")
"""Files that hold what a group has taken, in version 2 and in version 1."""
STAT = "memory.stat"
FILES = (*LIMITS, *USAGES, STAT)


def available_bytes() -> int:
    """The bytes that this process may still take."""
    import psutil

    left = [bytes_left(texts) for texts in group_files(PROC)]
    return min([psutil.virtual_memory().available, *(limited for limited in left if limited is not None)])


def group_files(proc: Path) -> Iterator[dict[str, str]]:
    """The memory files' texts, by name, of every control group that holds the process described at `proc`."""
    try:
        folders = group_folders((proc / "cgroup").read_text(), (proc / "mountinfo").read_text())
    except OSError:  # a system without control groups
        return
    for folder in folders:
        texts = {}
        for name in FILES:
            try:
                texts[name] = (folder / name).read_text()
            except OSError:  # the file belongs to the other version, or the group is the root, which has no limit
                continue
        yield texts


def group_folders(cgroup: str, mountinfo: str) -> list[Path]:
    """The folders of the groups that may limit a process's memory: its own and those above it that are mounted.

    Args:
      cgroup: text of `/proc/PID/cgroup`: a line `number:controllers:path` for each hierarchy that the process is in;
        version 2 has one hierarchy, whose number is 0 and whose controllers are not listed.
      mountinfo: text of `/proc/PID/mountinfo`: which part of which hierarchy is mounted where.
    """
    paths = {}
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            paths["cgroup"] = PurePosixPath(path)
        elif number == "0" and not controllers:
            paths["cgroup2"] = PurePosixPath(path)
    found = []
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ")[:3]
        if kind not in paths or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        root, mounted_at = (PurePosixPath(_unescaped(field)) for field in mount.split(" ")[3:5])
        own = paths.pop(kind)  # a hierarchy that is mounted twice is read once
        # In a container the mount may show only the part of the hierarchy below `root`, while the path that the kernel
        # tells may be the whole one, or one outside of what the container sees ("/../job").
        below = own.relative_to(root) if own.is_relative_to(root) and ".." not in own.parts else PurePosixPath()
        found += [Path(mounted_at, *below.parts[:depth]) for depth in range(len(below.parts), -1, -1)]
    return found


def bytes_left(texts: Mapping[str, str]) -> int | None:
    """The bytes that a control group may still take; None where it has no limit.

    Pages of files that were read or written (`active_file` and `inactive_file`) are not counted as taken: the kernel
    charges them to the group, and drops them as soon as somebody needs the memory. What is counted is the rest:
    processes' own memory, shared memory and the kernel's.

    Args:
      texts: texts of the group's files, by the names in `FILES`.
    """
    limits = [int(texts[name]) for name in LIMITS if name in texts and texts[name].strip() != "max"]
    usages = [int(texts[name]) for name in USAGES if name in texts]
    if not limits or not usages:
        return None
    stat = dict(line.split(" ", 1) for line in texts.get(STAT, "").splitlines())
    # Version 1 has numbers of the group alone under plain names, and with all groups below it under "total_" names.
    files = sum(int(stat.get(f"total_{name}", stat.get(name, 0))) for name in ("active_file", "inactive_file"))
    return max(0, min(limits) - max(0, usages[0] - files))


def _unescaped(field: str) -> str:
    """The field of mountinfo with its octal escapes (of blanks, for one) resolved."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
