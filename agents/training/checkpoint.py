"""Checkpoints that are whole or not there: arrays in .npz, a JSON manifest with checksums, replay in segments.

    checkpoints/step-000012000/manifest.json    written last; names every file with its SHA-256
    checkpoints/step-000012000/state.npz        all arrays but replay
    checkpoints/replay/000005000-000012000.npz  transitions 5,000 to 12,000; shared by later checkpoints

Nothing is pickled, so loading runs nobody's code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.replay.ring import Replay
from records.files import sync_folder

VERSION = 1
KEEP = 2
MANIFEST = "manifest.json"
STATE = "state.npz"
REPLACED = ".replaced-"


class DamagedError(RuntimeError):
    """A checkpoint's file is missing, cut short or altered."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
      env_steps: when it was taken.
      meta: the JSON part.
      arrays: all arrays but replay.
      segments: replay files in order, with the number of their first transition.
    """

    env_steps: int
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    segments: list[tuple[Path, int]]

    def fill(self, replay: Replay) -> None:
        for path, first in self.segments:
            replay.merge(read_arrays(path), first)


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._replay_folder = folder / "replay"
        self._segments: list[dict[str, Any]] = []

    def save(self, env_steps: int, meta: dict[str, Any], arrays: dict[str, np.ndarray], replay: Replay) -> None:
        """Write a checkpoint, verify it, then drop all but the newest two.

        Replay is written incrementally: only what came since the last checkpoint.
        """
        self._replay_folder.mkdir(parents=True, exist_ok=True)
        oldest = replay.oldest_row
        kept = [segment for segment in self._segments if segment["last"] > oldest]
        segments = list(kept)
        first = max(segments[-1]["last"] if segments else 0, oldest)
        if first < replay.inserted:
            path = self._replay_folder / f"{first:09d}-{replay.inserted:09d}.npz"
            digest = write_arrays(path, replay.export(first))
            segments.append({"file": path.name, "first": first, "last": replay.inserted, "sha256": digest})

        final = self._folder / f"step-{env_steps:09d}"
        temporary = self._folder / f".{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        body = {
            "version": VERSION,
            "env_steps": env_steps,
            "meta": meta,
            "state_sha256": write_arrays(temporary / STATE, arrays),
            "segments": segments,
        }
        write_manifest(temporary / MANIFEST, body)
        sync_folder(temporary)
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
        """The newest checkpoint that verifies, and a line for each newer one that does not.

        Damaged checkpoints are set aside under another name.

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
            except DamagedError as error:
                problems.append(f"{folder.name} is damaged: {error}")
                continue
            for damaged in self._complete():
                if damaged > folder:
                    aside = damaged.with_name(f"damaged-{damaged.name}")
                    shutil.rmtree(aside, ignore_errors=True)
                    damaged.rename(aside)
            self._segments = body["segments"]
            segments = [(self._replay_folder / one["file"], one["first"]) for one in body["segments"]]
            return Checkpoint(body["env_steps"], body["meta"], read_arrays(folder / STATE), segments), problems
        if problems:
            raise DamagedError(f"no whole checkpoint in {self._folder}: {'; '.join(problems)}")
        return None, []

    def _complete(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _verify(self, folder: Path, new_segments: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        body = read_manifest(folder / MANIFEST)
        if body["version"] != VERSION:
            raise DamagedError(f"its format is version {body['version']}, this is {VERSION}")
        expect_digest(folder / STATE, body["state_sha256"])
        for segment in body["segments"] if new_segments is None else new_segments:
            expect_digest(self._replay_folder / segment["file"], segment["sha256"])
        return body

    def _drop_old(self) -> None:
        complete = self._complete()
        for folder in [*complete[:-KEEP], *self._folder.glob(".*step-*")]:
            shutil.rmtree(folder)
        used: set[str] = set()
        for folder in complete[-KEEP:]:
            with contextlib.suppress(DamagedError):  # of the older one; the newest has just been verified
                used |= {segment["file"] for segment in read_manifest(folder / MANIFEST)["segments"]}
        for path in self._replay_folder.iterdir():
            if path.name not in used:
                path.unlink()


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write `path` whole (beside it, synced, renamed); its SHA-256."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    digest = file_digest(temporary)
    temporary.rename(path)
    sync_folder(path.parent)
    return digest


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def write_manifest(path: Path, body: dict[str, Any]) -> None:
    text = json.dumps(body)
    with path.open("w") as file:
        file.write(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text}))
        file.flush()
        os.fsync(file.fileno())


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises DamagedError where the manifest is missing or not as written."""
    try:
        outer = json.loads(path.read_text())
        text, digest = outer["body"], outer["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path.name} cannot be read ({error})") from None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise DamagedError(f"{path.name} does not match its checksum")
    return json.loads(text)


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect_digest(path: Path, digest: str) -> None:
    try:
        actual = file_digest(path)
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read ({error.strerror})") from None
    if actual != digest:
        raise DamagedError(f"{path.name} does not match its checksum")
