"""Writes and reads checkpoints, each of which is whole or not there: arrays, replay in segments, and a manifest.

    checkpoints/step-000012000/manifest.json    written last; names every file with its SHA-256
    checkpoints/step-000012000/state.npz        all arrays but those of replay
    checkpoints/replay/000005000-000012000.npz  transitions 5,000 to 12,000; shared by later checkpoints

Nothing is pickled, so loading a checkpoint runs nobody's code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.replay.ring import Replay
from records.files import naming, open_file, sync_folder
from records.layout import STATE

VERSION = 2
KEEP = 2
MANIFEST = "manifest.json"
REPLACED = ".replaced-"


class DamagedError(RuntimeError):
    """A file of a checkpoint is missing, cut short, altered or of another form."""


@dataclass(frozen=True)
class Segment:
    """A file of replay.

    Attributes:
      file: its name.
      first, last: numbers of its first transition and of the one after its last.
      sha256: the file's digest.
    """

    file: str
    first: int
    last: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A checkpoint's description of itself.

    Attributes:
      version: the format.
      env_steps: when the checkpoint was taken.
      meta: the part of the state that is JSON.
      state_sha256: digest of the file of arrays.
      segments: replay's files in order.
    """

    version: int
    env_steps: int
    meta: dict[str, Any]
    state_sha256: str
    segments: list[Segment]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
      env_steps: when the checkpoint was taken.
      meta: the part of the state that is JSON.
      arrays: the part that is arrays, by name.
      segments: the files of replay in order, each with the number of its first transition.
    """

    env_steps: int
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    segments: list[tuple[Path, int]]

    def fill(self, replay: Replay) -> None:
        """Put the transitions of all segments into an empty replay."""
        for path, first in self.segments:
            replay.merge(read_arrays(path), first)


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._replay_folder = folder / "replay"
        self._segments: list[Segment] = []

    def save(self, env_steps: int, meta: dict[str, Any], arrays: dict[str, np.ndarray], replay: Replay) -> None:
        """Write a checkpoint, verify it, then drop all but the newest two.

        Replay is written incrementally: only what came since the last checkpoint.

        Args:
          env_steps: names the checkpoint.
          meta: what JSON holds of the state.
          arrays: what it does not, by name.
          replay: the transitions so far.
        Raises:
          OSError: it cannot be written; the checkpoints before it are as they were.
          DamagedError: it does not read back as it was written.
        """
        self._folder.mkdir(exist_ok=True)  # and not its parents: somebody may have removed the run's directory
        self._replay_folder.mkdir(exist_ok=True)
        oldest = replay.oldest_row
        kept = [segment for segment in self._segments if segment.last > oldest]
        segments = list(kept)
        first = max(segments[-1].last if segments else 0, oldest)
        if first < replay.inserted:
            path = self._replay_folder / f"{first:09d}-{replay.inserted:09d}.npz"
            digest = write_arrays(path, replay.export(first))
            segments.append(Segment(path.name, first, replay.inserted, digest))

        final = self._folder / f"step-{env_steps:09d}"
        temporary = self._folder / f".{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            digest = write_arrays(temporary / STATE, arrays)
            body = Manifest(VERSION, env_steps, meta, digest, segments)
            write_manifest(temporary / MANIFEST, body)
            sync_folder(temporary)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)  # on a full disk, the run's status needs the room
            raise
        if final.exists():  # the same moment again, with nothing new
            replaced = self._folder / f"{REPLACED}{final.name}"
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
        temporary.rename(final)
        sync_folder(self._folder)
        self._verify(final, new_segments=segments[len(kept) :])
        self._segments = segments
        self._drop_old()

    def load(self) -> tuple[Checkpoint | None, list[str]]:
        """Find the newest checkpoint that verifies, and set damaged ones that are newer aside under another name.

        Returns:
          The checkpoint, None where nothing was ever saved, and a line about each that was set aside.

        Raises:
          DamagedError: there are checkpoints, and none of them is whole.
        """
        for replaced in self._folder.glob(f"{REPLACED}*"):
            final = self._folder / replaced.name.removeprefix(REPLACED)
            if not final.exists():  # a crash came between the two renames
                replaced.rename(final)
        problems = []
        for folder in reversed(self._complete()):
            try:
                body = self._verify(folder)
                arrays = read_arrays(folder / STATE)
            except DamagedError as error:
                problems.append(f"{folder.name} is damaged: {error}")
                continue
            for damaged in self._complete():
                if damaged > folder:
                    aside = damaged.with_name(f"damaged-{damaged.name}")
                    shutil.rmtree(aside, ignore_errors=True)
                    damaged.rename(aside)
            self._segments = body.segments
            segments = [(self._replay_folder / one.file, one.first) for one in body.segments]
            return Checkpoint(body.env_steps, body.meta, arrays, segments), problems
        if problems:
            raise DamagedError(f"no whole checkpoint in {self._folder}: {'; '.join(problems)}")
        return None, []

    def _complete(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _verify(self, folder: Path, new_segments: list[Segment] | None = None) -> Manifest:
        body = read_manifest(folder / MANIFEST)
        expect_digest(folder / STATE, body.state_sha256)
        for segment in body.segments if new_segments is None else new_segments:
            expect_digest(self._replay_folder / segment.file, segment.sha256)
        return body

    def _drop_old(self) -> None:
        complete = self._complete()
        for folder in [*complete[:-KEEP], *self._folder.glob(".*step-*")]:
            shutil.rmtree(folder)
        used: set[str] = set()
        for folder in complete[-KEEP:]:
            with contextlib.suppress(DamagedError):  # of the older one; the newest has just been verified
                used |= {segment.file for segment in read_manifest(folder / MANIFEST).segments}
        for path in self._replay_folder.iterdir():
            if path.name not in used:
                path.unlink()


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write a file of arrays beside `path`, sync it, rename it to `path`, and return its SHA-256."""
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        digest = file_digest(temporary)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    temporary.rename(path)
    sync_folder(path.parent)
    return digest


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays that `write_arrays` wrote.

    Raises:
      DamagedError: the file holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, zipfile.BadZipFile) as error:
        raise DamagedError(f"{path.name} cannot be read ({error})") from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest with a checksum of its own."""
    text = json.dumps(dataclasses.asdict(manifest))
    with naming(path), path.open("w") as file:
        file.write(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text}))
        file.flush()
        os.fsync(file.fileno())


def read_manifest(path: Path) -> Manifest:
    """Raises DamagedError where the manifest is missing, not as written, or of another form or version."""
    try:
        with open_file(path) as file:
            outer = json.loads(file.read())
        text, digest = outer["body"], outer["sha256"]
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            raise DamagedError(f"{path.name} does not match its checksum")
        body = json.loads(text)
        if body["version"] != VERSION:
            raise DamagedError(f"its format is version {body['version']}, this is {VERSION}")
        manifest = Manifest(**body | {"segments": [Segment(**segment) for segment in body["segments"]]})
        for one in (manifest, *manifest.segments):
            check_types(one)
        return manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path.name} cannot be read ({type(error).__name__}: {error})") from None


def check_types(value: Segment | Manifest) -> None:
    """Raises TypeError where a field holds something else than the annotated type."""
    kinds = {"str": str, "int": int, "dict[str, Any]": dict, "list[Segment]": list}
    for field in dataclasses.fields(value):
        kind = kinds[str(field.type)]
        if not isinstance(getattr(value, field.name), kind):
            raise TypeError(f"{field.name} is no {kind.__name__}")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect_digest(path: Path, digest: str) -> None:
    """Raises DamagedError where the file is missing or has another SHA-256."""
    try:
        actual = file_digest(path)
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read ({error.strerror})") from None
    if actual != digest:
        raise DamagedError(f"{path.name} does not match its checksum")
