"""A copy of the yaml files for a test to spoil."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf import benchmarks, overrides, yaml_groups

CACHES = (
    yaml_groups.groups,
    yaml_groups.merged,
    yaml_groups.interpolates,
    yaml_groups._defaults,
    yaml_groups._top_level,
    yaml_groups._check_safe,
    yaml_groups._layer,
    overrides._all_keys,
    benchmarks.with_tasks,
    benchmarks.wholes,
    benchmarks._read,
    benchmarks._names_in,
)


@contextlib.contextmanager
def yaml_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let composition read a copy of `conf/` below a folder; yields the copy."""
    copied = folder / "conf"
    shutil.copytree(yaml_groups.CONF_DIR, copied, ignore=shutil.ignore_patterns("*.py*", "__pycache__"))
    with monkeypatch.context() as patched:
        patched.setattr(yaml_groups, "CONF_DIR", copied)
        forget()
        yield copied
    forget()


def forget() -> None:
    """Forget what was read."""
    for one in CACHES:
        one.cache_clear()
