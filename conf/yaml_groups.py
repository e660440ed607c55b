"""The yaml files of `conf/`: the choices of each group, whether a file is safe to read, and their merge as Hydra's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf import layers, uris
from conf.typed import ConfigError

if TYPE_CHECKING:
    import yaml

CONF_DIR = Path(__file__).parent
OPTIONAL_GROUPS = ("sweep", "experiment")
MAX_VALUES = 100_000
MAX_DEPTH = 100
PACKAGE = re.compile(rb"^#\s*@package\s+hydra\b", re.MULTILINE)
NO_HYDRA = "no hydra.* settings here; folders: paths.*, execution: launcher.*"

Choices = tuple[tuple[str, str], ...]
"""Pairs of group and name, sorted."""


@cache
def groups() -> dict[str, list[str]]:
    """The choices of every group, which are the yaml files of the group's folder."""
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(CONF_DIR.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }


def shown(group: str, name: str) -> str:
    """The path of a choice's file as error lines give it."""
    return f"conf/{group}/{name}.yaml"


@cache
def merged(choices: Choices) -> dict:
    """The files of these choices merged as Hydra merges, as plain values; interpolations stay as they are written.

    The caller must not change the dictionary.

    Raises:
      ConfigError: a file cannot be read, or is not one that could be meant.
    """
    for path in _reached(CONF_DIR / "config.yaml", choices):
        _check_safe(path)
    try:
        values = layers.overlaid(_layer, choices, OPTIONAL_GROUPS)
    except layers.NotPlainError:
        values = by_hydra(choices)
    uris.check_values(values)
    return values


def by_hydra(choices: Choices) -> dict:
    """The files of these choices merged by Hydra itself.

    Raises:
      ConfigError: a file cannot be read.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    overrides = [f"{'+' if group in OPTIONAL_GROUPS else ''}{group}={name}" for group, name in choices]
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            values = OmegaConf.to_container(hydra_compose("config", overrides))
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{' '.join(overrides) or 'conf/config.yaml'}: cannot be read: {reason}") from None
    assert isinstance(values, dict)
    return values


@cache
def _layer(group: str, name: str) -> layers.Layer:
    """The file of a choice as a layer; the group is empty for files at the top.

    Raises:
      NotPlainError: the file is left to Hydra.
    """
    path = CONF_DIR / group / f"{name}.yaml"
    values = _top_level(path)
    return layers.layer(path.read_text("utf-8") if values else "", values)


def resolved(values: dict) -> dict:
    """The values with every interpolation (`${key}`, `${oc.env:NAME}`) replaced by what it stands for.

    Raises:
      ConfigError: an interpolation names nothing, or what it stands for holds a password.
    """
    if not has_interpolation(values):
        return values
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except (OmegaConfBaseException, ValueError, ArithmeticError, RecursionError) as error:
        key, reason = getattr(error, "full_key", None) or "configuration", str(error).splitlines()[0]
        raise ConfigError(f"{key}: the value refers to another one with ${{...}}, which fails: {reason}") from None
    assert isinstance(plain, dict)
    uris.check_values(plain)
    return plain


@cache
def interpolates(choices: Choices) -> bool:
    """Whether the files of these choices refer to other values with `${...}`; looked at once for a thousand runs."""
    return has_interpolation(merged(choices))


def has_interpolation(value: Any) -> bool:
    """Whether a plain value, or one within it, refers to another value with `${...}`."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, dict):
        return any(map(has_interpolation, value.values()))
    return isinstance(value, list | tuple) and any(map(has_interpolation, value))


def _reached(path: Path, choices: Choices = ()) -> Iterator[Path]:
    """The file, those in its list of defaults, and those of the choices; a cycle is left for Hydra to report."""
    seen: set[Path] = set()
    waiting = [path, *(CONF_DIR / group / f"{name}.yaml" for group, name in choices)]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            yield path  # the caller checks it before its list of defaults is read
            waiting += _defaults(path)


@cache
def _defaults(path: Path) -> list[Path]:
    """The files that a file's list of defaults names; none where the file cannot be read, which Hydra reports."""
    entries = _top_level(path).get("defaults")
    found = []
    for entry in entries if isinstance(entries, list) else ():
        group, name = next(iter(entry.items()), ("", "")) if isinstance(entry, dict) else ("", entry)
        group = str(group).removeprefix("override ").removeprefix("optional ").strip()
        folder = CONF_DIR if group.startswith("/") else path.parent
        found.append(folder / group.strip("/") / f"{name}.yaml")
    return found


def plain(group: str, name: str) -> dict[str, Any]:
    """The values in the file of one choice alone, as yaml gives them; empty where there is none that can be read."""
    return _top_level(CONF_DIR / group / f"{name}.yaml")


@cache
def _top_level(path: Path) -> dict[str, Any]:
    """The file's values as Hydra reads them; empty where the file cannot be read or has no keys."""
    import yaml

    try:
        values = yaml.load(path.read_text("utf-8"), _loader())
    except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


@cache
def _loader() -> type[yaml.SafeLoader]:
    """A loader of yaml that reads as OmegaConf's, in a fifth of the time: 1e-3 is a number, no key is given twice."""
    import yaml

    base: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

    class Loader(base):
        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value if key.tag == "tag:yaml.org,2002:str"]
            if len(set(keys)) < len(keys):
                raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
            return super().construct_mapping(node, deep)

    exponent = re.compile(r"[-+]?([0-9]+(_[0-9]+)*(\.[0-9_]*)?|\.[0-9]+(_[0-9]+)*)[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+.0123456789"))
    return Loader


@cache
def _check_safe(path: Path) -> None:
    """Refuses a file that would take for ever to read, or that has settings of Hydra's, which would be ignored.

    Raises:
      ConfigError: names the file.
    """
    where = path.relative_to(CONF_DIR.parent)
    try:
        text = path.read_bytes()
    except OSError:  # Hydra's to report
        return
    _check_size(where, text)
    values = _top_level(path)
    defaults = [CONF_DIR / "hydra", path.parent / "hydra"]
    named = any(one.is_relative_to(top) for one in _defaults(path) for top in defaults)
    if "hydra" in values or named or PACKAGE.search(text):
        raise ConfigError(f"{where}: hydra: {NO_HYDRA}")


def _check_size(where: Path, text: bytes) -> None:
    """Counts the file's values with its aliases expanded, event by event, so that neither size nor depth does harm."""
    import yaml

    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    count = 0
    try:
        for event in yaml.parse(text, loader):
            if isinstance(event, yaml.events.AliasEvent):
                count += sizes.get(event.anchor, 0)
            elif isinstance(event, yaml.events.ScalarEvent):
                count += 1
                sizes |= {event.anchor: 1} if event.anchor else {}
            elif isinstance(event, yaml.events.CollectionStartEvent):
                opened.append((event.anchor, count))
                count += 1
            elif isinstance(event, yaml.events.CollectionEndEvent):
                anchor, before = opened.pop()
                sizes |= {anchor: count - before} if anchor else {}
            if count > MAX_VALUES:
                raise ConfigError(f"{where}: holds more than {MAX_VALUES} values, aliases expanded")
            if len(opened) > MAX_DEPTH:
                raise ConfigError(f"{where}: cannot be read: nested deeper than {MAX_DEPTH}")
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError):  # Hydra's to report
        return
