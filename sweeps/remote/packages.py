"""The packages that the code needs, in the versions of this environment: a list that pip installs elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

from conf.typed import ConfigError
from sweeps.code import DISTRIBUTION

EXTRAS = ("", "atari", "envpool", "humanoidbench", "search", "shadowhand")
"""The project's extras that a run may need; of those that are not installed here nothing is asked."""


@cache
def pinned() -> dict[str, str]:
    """Return the version of every package that the project needs, by name; the project itself is none of them.

    Raises:
      ConfigError: the project is not installed here.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(canonical(DISTRIBUTION), extra) for extra in EXTRAS]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = one.version
        for text in one.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonical(needed.name), more) for more in ("", *needed.extras)]
    if found.pop(canonical(DISTRIBUTION), None) is None:
        raise ConfigError(f"launcher=ssh-slurm: {DISTRIBUTION} is not installed here, so its packages are unknown")
    return dict(sorted(found.items()))


def canonical(name: str) -> str:
    """Return a package's name as all spellings of it become."""
    return re.sub(r"[-_.]+", "-", name).lower()


def as_text(packages: Mapping[str, str]) -> str:
    """Return a list of packages as pip reads it."""
    return "".join(f"{name}=={version}\n" for name, version in packages.items())


def list_name(packages: Mapping[str, str]) -> str:
    """Return the name of the file that holds a list, which follows from the list."""
    return f"packages-{hashlib.sha256(as_text(packages).encode()).hexdigest()[:8]}.txt"


def differences(here: Mapping[str, str], there: Mapping[str, str | None]) -> list[str]:
    """Return in words what another environment lacks of a list, or has in another version.

    Args:
      here: the list.
      there: the version that the other environment has of each package; None where it has none.
    """
    missing = [f"no {name}" for name in here if there.get(name) is None]
    other = [
        f"{name} {there[name]} instead of {version}"
        for name, version in here.items()
        if there.get(name) not in (None, version)
    ]
    return [*missing, *other]
