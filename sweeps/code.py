"""The code that queued runs execute: packed when they are submitted, stored once by its content, imported from there.

    runs/_code/<id>/                 the project's packages as they were; a run's PYTHONPATH begins here
    runs/_code/<id>/snapshot.json    what the snapshot holds, and what it was made from

The id is a hash of paths and contents, so that the same code is stored once. Whatever is edited afterwards, a run that
was submitted with a snapshot imports the snapshot, also after a requeue or a relaunch.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from conf.schema import LauncherConfig
from conf.typed import ConfigError
from records import layout
from records.decode import read_object
from records.files import replacing, sync_folder, write_json
from records.provenance import ORIGIN, ROOT, git, git_state, git_state_of, snapshot_name

KINDS = (".py", ".yaml", ".yml")
"""The endings of untracked files that belong to the code."""
PACKAGES = ("conf", "records", "tracking", "envs", "agents", "sweeps", "analysis")
DISTRIBUTION = "brc-multitask"
NOT_RUN = "tests"
"""The package that no run imports."""
READ_ONLY = 0o444


@dataclass(frozen=True)
class Packed:
    """What a snapshot holds.

    Attributes:
      files: path, seen from the folder of the packages, -> content.
      left_out: untracked files of the packages that are neither Python nor yaml, which no snapshot has.
    """

    files: Mapping[str, bytes]
    left_out: tuple[str, ...] = ()

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return {path: hashlib.sha256(content).hexdigest() for path, content in sorted(self.files.items())}

    @cached_property
    def id(self) -> str:
        """The name of the snapshot: 16 hex digits that follow from paths and contents alone."""
        return hashlib.sha256(json.dumps(self.digests).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """The number of bytes of all files."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Code:
    """The code that runs are submitted with.

    Attributes:
      packed: the code itself.
      folder: the snapshot's folder, `runs/_code/<id>`.
      git: the commit of the code and a hash of what differs from it, as `records.provenance.git_state` says.
    """

    packed: Packed
    folder: Path
    git: Mapping[str, str | None]

    def exports(self) -> str:
        """Return the shell lines after which Python imports the snapshot.

        The path of a live job would begin with the job's folder, which may be a checkout; here it comes second.
        """
        origin = shlex.quote(json.dumps(dict(self.git)))
        path = f'{shlex.quote(str(self.folder))}:"$PWD${{PYTHONPATH:+:$PYTHONPATH}}"'
        return f"export PYTHONSAFEPATH=1 PYTHONPATH={path} {ORIGIN}={origin}"


def variables(folder: Path, git: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables with which a process that this one starts imports a snapshot.

    Args:
      folder: the snapshot's folder.
      git: what git said of the code at the submission.
    """
    path = [str(folder), os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path), ORIGIN: json.dumps(dict(git))}


def wants_snapshot(launcher: LauncherConfig, on_slurm: bool) -> bool:
    """Return whether runs of a launcher execute the code as it is at the submission."""
    return (launcher.code or ("snapshot" if on_slurm else "live")) == "snapshot"


def kept(code: Code | None, launcher: LauncherConfig, on_slurm: bool) -> Code | None:
    """Return the code that runs of a launcher import; None where that is the code as it is when they start."""
    return code if wants_snapshot(launcher, on_slurm) else None


def pack(root: Path = ROOT) -> Packed:
    """Read the code below a folder: tracked files of its packages as they are now, untracked Python and yaml.

    The packages are the folders right below `root` that have an `__init__.py`, but for the tests. Without git they are
    the project's own, with all their files.
    """
    if (stored := read_object(root / layout.SNAPSHOT)) is not None:  # a process that runs a snapshot submits runs
        return Packed({path: (root / path).read_bytes() for path in stored["files"]}, tuple(stored["left_out"]))
    packages = {path.parent.name for path in root.glob("*/__init__.py")} - {NOT_RUN}

    def belongs(path: str) -> bool:
        top, _, below = path.partition("/")
        return top in packages if below else top.endswith(".py")

    tracked = [path for path in listed(root, "--cached") if belongs(path)]
    if tracked:
        others = [path for path in listed(root, "--others", "--exclude-standard") if belongs(path)]
        left_out = [path for path in others if not path.endswith(KINDS)]
        wanted = {*tracked, *others} - {*left_out}
    else:
        found = (path for package in PACKAGES for path in (root / package).rglob("*"))
        left_out, wanted = [], {str(path.relative_to(root)) for path in found if "__pycache__" not in path.parts}
    files = {path: (root / path).read_bytes() for path in sorted(wanted) if (root / path).is_file()}
    return Packed(files, tuple(left_out))


def listed(root: Path, *which: str) -> list[str]:
    """Return the files below a folder that `git ls-files` lists; none where there is no git."""
    return [path for path in (git(root, "ls-files", "-z", *which) or "").split("\0") if path]


def editable_installs() -> list[dict[str, Any]]:
    """Return the origin of what is installed to be edited in place: name, version, folder and git's state of each."""
    found = []
    for one in importlib.metadata.distributions():
        url = json.loads(one.read_text("direct_url.json") or "{}")
        if url.get("dir_info", {}).get("editable"):
            folder = unquote(urlsplit(url["url"]).path)
            found.append({"name": one.name, "version": one.version, "folder": folder} | git_state_of(Path(folder)))
    return found


def submitted_code(launchers: Iterable[LauncherConfig], on_slurm: bool, runs: Path) -> Code | None:
    """Return the code as it is now; None where the runs of all launchers import it as it is when they start.

    Args:
      launchers: the launchers of the runs that are about to be submitted.
      on_slurm: whether SLURM executes the runs.
      runs: the folder of runs, below which the code would be stored.
    Raises:
      ConfigError: Python could not import from there.
    """
    if not any(wants_snapshot(one, on_slurm) for one in launchers):
        return None
    packed = pack()
    if snapshot_name() not in ("", packed.id):
        raise ConfigError(
            f"{ROOT}: the snapshot is not as it was stored: its files were edited; the sweep's command submits the "
            "runs with the code as it is now"
        )
    folder = runs / layout.CODE / packed.id
    if os.pathsep in str(folder):
        raise ConfigError(
            f"paths.runs={runs}: Python imports from no folder with {os.pathsep!r} in its path; "
            "allowed: another folder, or launcher.code=live"
        )
    return Code(packed, folder, git_state())


def store(code: Code) -> None:
    """Store code whole or not at all; where the same code is stored already, mend its files.

    Raises:
      OSError: nothing can be written there.
    """
    packed = code.packed
    if code.folder.exists():
        mend(packed, code.folder)
        with contextlib.suppress(OSError):  # another user's
            os.utime(code.folder)  # `sweeps.clean` spares what was asked for lately
        return
    temporary = code.folder.with_name(f".{packed.id}.{socket.gethostname()}-{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        for path, content in packed.files.items():
            place = temporary / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            place.chmod(READ_ONLY)  # a traceback names these files, and somebody may think that they are the code
        write_json(temporary / layout.SNAPSHOT, description(packed))
        try:
            temporary.rename(code.folder)
        except OSError:
            if not code.folder.exists():  # nobody else has stored the same code meanwhile
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(code.folder.parent)


def mend(packed: Packed, folder: Path) -> None:
    """Write the files of a stored pack again that are not as they were packed: edited, or cut short by a crash."""
    for path, content in packed.files.items():
        place = folder / path
        if place.is_file() and place.read_bytes() == content:
            continue
        print(f"warning: {place} was not as it had been stored, and is again", file=sys.stderr)
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as temporary:
            temporary.write_bytes(content)
            temporary.chmod(READ_ONLY)


def description(packed: Packed) -> dict[str, Any]:
    """Return what a snapshot's record says: where the code came from, and the SHA-256 of each file."""
    return {
        "id": packed.id,
        "time": time.time(),
        **git_state(),
        "folder": str(ROOT),
        "editable": editable_installs(),
        "left_out": list(packed.left_out),
        "files": packed.digests,
    }


def not_in(packed: Packed) -> list[str]:
    """Return a line about each thing that a snapshot does not hold and whose runs may miss or see change."""
    lines = []
    if packed.left_out:
        shown = ", ".join(packed.left_out[:5]) + (", ..." if len(packed.left_out) > 5 else "")
        lines.append(f"{shown} (untracked, and neither Python nor yaml; git add takes them along)")
    live = [one for one in editable_installs() if one["name"] != DISTRIBUTION]
    lines += [f"{one['name']} in {one['folder']} (installed to be edited in place; imported live)" for one in live]
    return lines
