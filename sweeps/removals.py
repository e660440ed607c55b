"""What of a folder of runs can go, by kind and never what is in use, and how it goes."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agents.training.checkpoint import MANIFEST, DamagedError, Manifest, read_manifest
from records import layout
from records.files import write_json
from records.lock import LockedError, lock
from records.run_dir import RunDir
from sweeps.usage import RunUsage, Space, Usage, space_of

Kind = Literal["checkpoints", "snapshots", "replay", "failed", "superseded"]
KINDS: tuple[Kind, ...] = ("checkpoints", "snapshots", "replay", "failed", "superseded")
HARMLESS: tuple[Kind, ...] = ("checkpoints", "snapshots")
"""The kinds without which no command does anything else."""
SPARED_S = 3600.0
"""A snapshot that was stored or asked for so many seconds ago may be of a submission that is under way."""
GOING = ".removed-"


@dataclass(frozen=True)
class Removal:
    """Something that can go.

    Attributes:
      kind: why it can go.
      place: the run's directory, or the snapshot's folder.
      paths: the files and folders that go.
      space: what these take.
      touched_ns: when somebody began, submitted or stored the place last, as `touched_ns` says.
    """

    kind: Kind
    place: Path
    paths: tuple[Path, ...]
    space: Space
    touched_ns: int


def removals(usage: Usage, kinds: Collection[Kind]) -> list[Removal]:
    """Return what can go of some kinds, run by run, then snapshots; each path once, and nothing that is in use."""
    others = beside(usage.folder)
    found = [one for run in usage.runs if not run.in_use for one in _of_run(run, usage.folder, others, kinds)]
    if "snapshots" in kinds:
        gone = {one.place for one in found if one.place in one.paths}
        needed = usage.queued.union(*(run.code for run in usage.runs if run.run_dir not in gone))
        now = time.time()
        for path, space in usage.snapshots.items():
            if path.name not in needed and now - path.stat().st_mtime > SPARED_S:
                found.append(Removal("snapshots", path, (path,), space, touched_ns(path)))
    return found


def _of_run(run: RunUsage, folder: Path, others: Sequence[Path], kinds: Collection[Kind]) -> Iterator[Removal]:
    """Yield what can go of a run that is not in use: all of it, or parts of its checkpoints once it is finished.

    Args:
      run: the run.
      folder: the folder of runs that contains it.
      others: the folders beside that may contain the same run of other code.
      kinds: what was asked for.
    """
    place, touched = run.run_dir, touched_ns(run.run_dir)
    if "failed" in kinds and run.state.name == "failed":
        yield Removal("failed", place, (place,), run.space, touched)
    elif "superseded" in kinds and is_superseded(run, [other / place.relative_to(folder) for other in others]):
        yield Removal("superseded", place, (place,), run.space, touched)
    elif run.state.name == "done":
        old, replay = parts(place / layout.CHECKPOINTS, "checkpoints" in kinds, "replay" in kinds)
        if old:
            yield Removal("checkpoints", place, tuple(old), space_of(*old), touched)
        if replay:
            yield Removal("replay", place, tuple(replay), space_of(*replay), touched)


def touched_ns(place: Path) -> int:
    """Return when a run was last begun or given to a job, or a snapshot last stored or asked for; 0 where never."""
    marks = [place / layout.STATUS, place / layout.JOB] if (place / layout.CONFIG).exists() else [place]
    return max((mark.stat().st_mtime_ns for mark in marks if mark.exists()), default=0)


def parts(folder: Path, old: bool, replay: bool) -> tuple[list[Path], list[Path]]:
    """Return what can go of a finished run's checkpoints: those that are not kept and not the newest, and replay.

    Args:
      folder: the folder of checkpoints.
      old: whether checkpoints go, with the replay that only they have.
      replay: whether replay goes that no kept checkpoint has.
    """
    bodies = manifests(folder)
    if not bodies:
        return [], []
    complete = list(bodies)
    kept = [path for path, body in bodies.items() if body.kept]
    leaving = [path for path in complete[:-1] if path not in kept] if old else []
    going = [*leaving, *folder.glob("damaged-step-*")] if old else []
    segments = set((folder / layout.REPLAY).glob("*.npz"))

    def of(paths: Collection[Path]) -> set[Path]:
        return {folder / layout.REPLAY / one.file for path in paths for one in bodies[path].segments}

    unused = segments - of([path for path in complete if path not in leaving]) if old else set()
    dropped = segments - of(kept) - unused if replay else set()
    return [*going, *sorted(unused)], sorted(dropped)


def manifests(folder: Path) -> dict[Path, Manifest]:
    """Return the manifest of each checkpoint of a run, in order; none where one is damaged: somebody should look."""
    try:
        return {path: read_manifest(path / MANIFEST) for path in sorted(folder.glob("step-*"))}
    except DamagedError:
        return {}


def beside(folder: Path) -> list[Path]:
    """Return the folders of other code's runs beside a folder of runs, which `rerun=stale` fills, or is named after."""
    name = re.sub(r"-[0-9a-f]{8}$", "", folder.name)
    family = re.compile(rf"{re.escape(name)}(-[0-9a-f]{{8}})?")
    return [path for path in folder.parent.iterdir() if family.fullmatch(path.name) and path != folder]


def is_superseded(run: RunUsage, same: Sequence[Path]) -> bool:
    """Return whether a finished run was repeated later, with as large a budget at least, in one of other directories.

    Args:
      run: the run.
      same: where the same run of other code would be.
    """
    if run.state.name != "done":
        return False
    done = {path: found.env_steps for path in same if (found := RunDir(path).done()) is not None}
    return any(steps >= run.state.env_steps and _begun(path) > _begun(run.run_dir) for path, steps in done.items())


def _begun(run_dir: Path) -> float:
    """Return when a run was begun, in seconds since the epoch; 0 where its manifest is missing."""
    manifest = RunDir(run_dir).manifest()
    return manifest.starts[0].time if manifest and manifest.starts else 0.0


def remove(removal: Removal) -> bool:
    """Remove something; False where a process or a job has had to do with it since it was looked at.

    Raises:
      OSError: a file cannot be removed.
    """
    with contextlib.ExitStack() as held:
        if removal.kind != "snapshots":
            try:
                held.enter_context(lock(removal.place))
            except LockedError:
                return False
        if touched_ns(removal.place) != removal.touched_ns:
            return False
        if removal.kind == "replay":
            write_json(removal.place / layout.NO_REPLAY, {"time": time.time()})
        for path in removal.paths:
            if path.is_dir():
                _remove_folder(path)
            else:
                path.unlink(missing_ok=True)
    return True


def _remove_folder(path: Path) -> None:
    """Remove a folder that nobody finds half removed: it has another name first."""
    going = path.with_name(f"{GOING}{path.name}")
    shutil.rmtree(going, ignore_errors=True)
    path.rename(going)
    shutil.rmtree(going)
