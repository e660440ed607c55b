"""Folders of results that commands write beside runs: each is whole or not there, and replaces nothing but its like."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conf.typed import ConfigError
from records import layout


def check_results(out: Path, mark: str) -> None:
    """Refuse a folder for results that holds something else, or that lies in a run's directory.

    Args:
      out: the folder, which need not exist.
      mark: the name of a file that earlier results of the same kind hold; they may be replaced.
    Raises:
      ConfigError: names the folder.
    """
    inside = next((one for one in (out.resolve(), *out.resolve().parents) if (one / layout.MANIFEST).exists()), None)
    if inside is not None:
        raise ConfigError(f"--out={out}: lies in the directory of a run ({inside}), which stays as it is")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out={out}: is no folder")
    if out.is_dir() and any(out.iterdir()) and not (out / mark).exists():
        raise ConfigError(f"--out={out}: holds something else, as there is no {mark}; name another folder")


@contextmanager
def new_results(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that takes the place of `out` once it is filled, and vanishes where filling fails."""
    temporary = out.with_name(f".{out.resolve().name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
