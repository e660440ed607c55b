"""Yaml files laid over each other as Hydra does, where their lists of defaults are of the plain kind.

Hydra takes a tenth of a second for one composition, and a sweep needs one for every combination of files. Here a file
is read once in a process, and a composition takes about a millisecond. What is not plain (packages, optional entries,
interpolations, everything that is wrong) is left to Hydra, whose error lines the user sees.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

SELF = "_self_"
NAME = re.compile(r"\w[\w-]*")
HEADER = re.compile(r"^\s*#\s*@", re.MULTILINE)
GLOBAL = "# @package _global_"


class NotPlainError(Exception):
    """The files hold something that Hydra must decide."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One yaml file.

    Attributes:
      values: the file's own values.
      entries: the file's list of defaults.
      is_global: whether the values belong at the top instead of under the name of the file's group.
    """

    values: dict[str, Any]
    entries: tuple[Any, ...]
    is_global: bool


Read = Callable[[str, str], Layer]
"""The layer of a group and a name; the group is empty for files at the top."""


def layer(text: str, values: dict[str, Any]) -> Layer:
    """The layer that a file holds.

    Args:
      text: the file as it was written, whose first line may give the package.
      values: what yaml reads in the file; empty where the file cannot be read.

    Raises:
      NotPlainError: there is a package of another kind, or a value that is not kept as it is written.
    """
    marks = len(HEADER.findall(text))
    is_global = text.splitlines()[:1] == [GLOBAL]
    entries = values.get("defaults", [])
    own = {key: value for key, value in values.items() if key != "defaults"}
    try:
        plain = _is_plain(own)
    except RecursionError:  # a group that holds itself
        raise NotPlainError from None
    if not values or marks != is_global or not isinstance(entries, list) or not plain:
        raise NotPlainError
    return Layer(own, tuple(entries), is_global)


def overlaid(read: Read, choices: Sequence[tuple[str, str]], added: Sequence[str]) -> dict[str, Any]:
    """The values of `config.yaml` with the files of its list of defaults.

    Args:
      read: reads one file.
      choices: pairs of group and name, which the files' own choices give way to.
      added: the groups that `config.yaml` does not list; their files come last.

    Raises:
      NotPlainError: the files hold something that Hydra must decide.
    """
    values: dict[str, Any] = {}
    for group, one in _Order(read, choices, added).layers():
        _lay(values, {group: one.values} if group and not one.is_global else one.values)
    return values


class _Order:
    """Hydra's order of files: a list is walked from its end, so that later files choose those of earlier groups."""

    def __init__(self, read: Read, choices: Sequence[tuple[str, str]], added: Sequence[str]):
        self._read = read
        self._top = read("", "config")
        self._entries = [*self._top.entries, *({group: name} for group, name in choices if group in added)]
        self._chosen = {group: name for group, name in choices if group not in added}
        listed = [group for entry in self._top.entries if isinstance(entry, dict) for group in entry]
        once = self._top.entries.count(SELF) == 1 and len(set(listed)) == len(listed)
        if not once or not self._chosen.keys() <= set(listed):
            raise NotPlainError
        self._waiting = set(listed)
        """Groups whose file is not known yet."""

    def layers(self) -> list[tuple[str, Layer]]:
        """Each layer with the layer's group, the lowest first."""
        found: list[tuple[str, Layer]] = []
        for entry in reversed(self._entries):
            if entry == SELF:
                found.append(("", self._top))
            elif isinstance(entry, dict):
                ((group, name),) = entry.items() if len(entry) == 1 else _no()
                self._waiting.discard(group)
                found += self._backwards(_name(group), _name(self._chosen.get(group, name)))
            else:
                found += self._backwards("", _name(entry))
        return found[::-1]

    def _backwards(self, group: str, name: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Layer]]:
        """A file's layers, the highest first.

        Args:
          group: the file's group.
          name: the file's name.
          above: names of the files that led here.
        """
        one = self._read(group, name)
        if name in above or ((above or one.entries) and not group):
            raise NotPlainError
        beside: list[str] = []
        choosing = False
        for entry in one.entries:
            if isinstance(entry, dict):
                ((key, choice),) = entry.items() if len(entry) == 1 else _no()
                self._choose(key, choice)
                choosing = True
            elif choosing:
                raise NotPlainError  # what is chosen must come last
            else:
                beside.append(_name(entry))
        if (beside and one.is_global) or beside.count(SELF) > 1:
            raise NotPlainError
        if SELF not in beside:
            beside.append(SELF)
        for sibling in reversed(beside):
            if sibling == SELF:
                yield group, one
                continue
            for found in self._backwards(group, sibling, (*above, name)):
                if found[1].is_global:
                    raise NotPlainError
                yield found

    def _choose(self, key: Any, choice: Any) -> None:
        """Take the choice of a file for another group, unless the command line or a later file has made one."""
        found = re.fullmatch(r"override /(\w+)", key) if isinstance(key, str) else None
        if found is None:
            raise NotPlainError
        group = found[1]
        if group not in self._chosen:
            if group not in self._waiting:
                raise NotPlainError
            self._chosen[group] = _name(choice)


def _no() -> Any:
    raise NotPlainError


def _name(value: Any) -> str:
    return value if isinstance(value, str) and NAME.fullmatch(value) else _no()


def _is_plain(value: Any) -> bool:
    """Whether OmegaConf would give the value back as it is."""
    if isinstance(value, str):
        return "${" not in value and value != "???"
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float)


def _lay(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Put values over others in place: groups of keys are merged, everything else is replaced."""
    for key, value in above.items():
        old = below.get(key)
        if isinstance(value, dict):
            if isinstance(old, list):
                raise NotPlainError
            below[key] = dict(old) if isinstance(old, dict) else {}
            _lay(below[key], value)
        elif isinstance(value, list) and isinstance(old, dict):
            raise NotPlainError
        else:
            below[key] = value
