"""Writes and reads checkpoints, each of which is whole or not there: arrays, replay in segments, and a manifest.

    checkpoints/step-000012000/manifest.json    written last; names every file with its SHA-256
    checkpoints/step-000012000/state.npz        all arrays but those of replay
    checkpoints/replay/000005000-000012000.npz  transitions 5,000 to 12,000; shared by later checkpoints

The newest two checkpoints of a run stay, and those that say of themselves that they are kept for good. Nothing is
pickled, so loading a checkpoint runs nobody's code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from records.files import naming, open_file, replacing, sync_folder
from records.layout import NO_REPLAY, REPLAY, STATE

if TYPE_CHECKING:  # a source's checkpoint is looked at before JAX is loaded
    from agents.replay.recorded import Recorded
    from agents.replay.ring import Replay

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
      kept: whether the checkpoint stays when there are newer ones.
    """

    version: int
    env_steps: int
    meta: dict[str, Any]
    state_sha256: str
    segments: list[Segment]
    kept: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
      env_steps: when the checkpoint was taken.
      meta: the part of the state that is JSON.
      arrays: the part that is arrays, by name; each is read from the file when somebody asks for it.
      segments: the files of replay in order, each with the number of its first transition.
    """

    env_steps: int
    meta: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    segments: list[tuple[Path, int]]

    def fill(self, replay: Replay | Recorded) -> None:
        """Put the transitions of all segments into an empty replay."""
        for path, first in self.segments:
            replay.merge(read_arrays(path), first)


@dataclass(frozen=True)
class Draft:
    """A checkpoint that is still to be written: nothing that happens in the run later changes what it holds.

    Attributes:
      manifest: describes the checkpoint, without the digests of what is not written yet.
      arrays: the part of the state that is arrays, by name.
      segment: replay's new file, without a digest; None where nothing is new.
      transitions: what that file will hold.
    """

    manifest: Manifest
    arrays: dict[str, np.ndarray]
    segment: Segment | None
    transitions: dict[str, np.ndarray]


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._replay_folder = folder / REPLAY
        self._segments: list[Segment] = []

    def draft(
        self,
        env_steps: int,
        meta: dict[str, Any],
        arrays: dict[str, np.ndarray],
        replay: Replay | Recorded,
        kept: bool = False,
    ) -> Draft:
        """Return a checkpoint of this moment, for `write`; every draft must be written before the next is made.

        Replay is written incrementally: only what came since the last checkpoint.

        Args:
          env_steps: names the checkpoint.
          meta: what JSON holds of the state.
          arrays: what it does not, by name; nobody may write into them.
          replay: the transitions so far, the new ones of which are copied; a dataset stays where it is.
          kept: whether the checkpoint stays when there are newer ones.
        """
        oldest = replay.oldest_row
        segments = [segment for segment in self._segments if segment.last > oldest]
        first = max(segments[-1].last if segments else 0, oldest)
        manifest = Manifest(VERSION, env_steps, meta, "", segments, kept)
        if first == replay.inserted:
            return Draft(manifest, arrays, None, {})
        segment = Segment(f"{first:09d}-{replay.inserted:09d}.npz", first, replay.inserted, "")
        return Draft(manifest, arrays, segment, replay.export(first))

    def write(self, draft: Draft) -> None:
        """Write a checkpoint, verify it, then drop all but the newest two and those that are kept for good.

        Raises:
          OSError: it cannot be written; the checkpoints before it are as they were.
          DamagedError: it does not read back as it was written.
        """
        self._folder.mkdir(exist_ok=True)  # and not its parents: somebody may have removed the run's directory
        self._replay_folder.mkdir(exist_ok=True)
        new: list[Segment] = []
        if draft.segment is not None:
            digest = write_arrays(self._replay_folder / draft.segment.file, draft.transitions)
            new = [dataclasses.replace(draft.segment, sha256=digest)]
        segments = [*draft.manifest.segments, *new]
        final = self._place(draft.manifest.env_steps)
        with self._written(final) as temporary:
            digest = write_arrays(temporary / STATE, draft.arrays)
            manifest = dataclasses.replace(draft.manifest, state_sha256=digest, segments=segments)
            write_manifest(temporary / MANIFEST, manifest)
        self._verify(final, new_segments=new)
        self._segments = segments
        self._drop_old()

    def adopt(self, source: CheckpointStore, body: Manifest, meta: dict[str, Any]) -> None:
        """Take a checkpoint of another run over, before there is any of this one.

        The files are never changed once they are written, so that both runs may have the same ones (hard links).

        Args:
          source: the other run's checkpoints.
          body: the manifest of the one to take, as `verified` returns it.
          meta: what JSON is to hold of the state here.
        Raises:
          OSError: it cannot be written.
        """
        self._folder.mkdir(exist_ok=True)
        self._replay_folder.mkdir(exist_ok=True)
        for segment in body.segments:
            link_or_copy(source._replay_folder / segment.file, self._replay_folder / segment.file)
        sync_folder(self._replay_folder)
        with self._written(self._place(body.env_steps)) as temporary:
            link_or_copy(source._place(body.env_steps) / STATE, temporary / STATE)
            write_manifest(temporary / MANIFEST, dataclasses.replace(body, meta=meta, kept=False))

    def _place(self, env_steps: int) -> Path:
        return self._folder / f"step-{env_steps:09d}"

    @contextlib.contextmanager
    def _written(self, final: Path) -> Iterator[Path]:
        """Give an empty folder to write a checkpoint into; the folder takes its place unless writing fails."""
        temporary = self._folder / f".{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
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

    def steps(self) -> list[int]:
        """Return the environment steps of all checkpoints that are there, in order."""
        return [int(name) for folder in self._complete() if (name := folder.name.removeprefix("step-")).isdecimal()]

    def verified(self, env_steps: int) -> Manifest:
        """Return the manifest of the checkpoint that was taken after so many environment steps.

        Raises:
          DamagedError: the checkpoint is not there, or not whole.
        """
        return self._verify(self._place(env_steps))

    def load(self) -> tuple[Checkpoint | None, list[str]]:
        """Find the newest checkpoint that verifies, and set damaged ones that are newer aside under another name.

        Returns:
          The checkpoint, None where nothing was ever saved, and a line about each that was set aside.

        Raises:
          DamagedError: there are checkpoints, and none of them is whole, or their replay was removed.
        """
        if (self._folder.parent / NO_REPLAY).exists():
            raise DamagedError(f"{self._folder}: replay was removed by sweeps.clean, so the run cannot be continued")
        for replaced in self._folder.glob(f"{REPLACED}*"):
            final = self._folder / replaced.name.removeprefix(REPLACED)
            if not final.exists():  # a crash came between the two renames
                replaced.rename(final)
        problems = []
        for folder in reversed(self._complete()):
            try:
                body = self._verify(folder)
                arrays = StoredArrays(folder / STATE)
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

    def peek(self, env_steps: int | None = None) -> Checkpoint:
        """Read the newest whole checkpoint, or the one at `env_steps`, and change nothing, whoever writes meanwhile.

        The files of replay are not verified.

        Raises:
          DamagedError: there is no such checkpoint, or it is not whole.
        """
        folders = self._complete()
        wanted = folders if env_steps is None else [one for one in folders if one.name == f"step-{env_steps:09d}"]
        problems = []
        for folder in reversed(wanted):
            try:
                body = self._verify(folder, new_segments=[])
                arrays = StoredArrays(folder / STATE)
            except (DamagedError, OSError) as error:
                problems.append(f"{folder.name} is damaged: {error}")
                continue
            segments = [(self._replay_folder / one.file, one.first) for one in body.segments]
            return Checkpoint(body.env_steps, body.meta, arrays, segments)
        if problems:
            raise DamagedError(f"no whole checkpoint in {self._folder}: {'; '.join(problems)}")
        if not folders:
            raise DamagedError(f"no checkpoint in {self._folder}")
        there = ", ".join(map(str, self.steps()))
        raise DamagedError(f"no checkpoint at {env_steps} steps in {self._folder}; there are those at {there}")

    def _complete(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _verify(self, folder: Path, new_segments: list[Segment] | None = None) -> Manifest:
        body = read_manifest(folder / MANIFEST)
        expect_digest(folder / STATE, body.state_sha256)
        for segment in body.segments if new_segments is None else new_segments:
            expect_digest(self._replay_folder / segment.file, segment.sha256)
        return body

    def _drop_old(self) -> None:
        for folder in self._folder.glob(".*step-*"):
            shutil.rmtree(folder)
        complete = self._complete()
        used: set[str] = set()
        for folder in complete:
            body = None
            with contextlib.suppress(DamagedError):  # of an older one; the newest has just been verified
                body = read_manifest(folder / MANIFEST)
            if folder in complete[-KEEP:] or (body is not None and body.kept):
                used |= {segment.file for segment in body.segments} if body is not None else set()
            else:
                shutil.rmtree(folder)
        for path in self._replay_folder.iterdir():
            if path.name not in used:
                path.unlink()


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the file system has no hard links, or another one is.

    Raises:
      OSError: `source` cannot be read, or `target` cannot be written.
    """
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        with replacing(target) as temporary, naming(source):
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


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


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays that `write_arrays` wrote, each read anew whenever somebody asks for it.

    The file stays open, so that its arrays can be read also when the file has been removed meanwhile.

    Raises:
      DamagedError: the file holds something else, or stops to when an array is read.
    """

    def __init__(self, path: Path):
        self._name = path.name
        with self._damage():
            self._file = np.load(path, allow_pickle=False)
        if not isinstance(self._file, np.lib.npyio.NpzFile):
            raise DamagedError(f"{path.name} cannot be read (one array alone)")

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, zipfile.BadZipFile) as error:
            raise DamagedError(f"{self._name} cannot be read ({error})") from None

    def __getitem__(self, name: str) -> np.ndarray:
        with self._damage():
            return self._file[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays that `write_arrays` wrote.

    Raises:
      DamagedError: the file holds something else.
    """
    return dict(StoredArrays(path))


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
    kinds = {"str": str, "int": int, "bool": bool, "dict[str, Any]": dict, "list[Segment]": list}
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
