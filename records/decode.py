"""JSON of unknown origin -> frozen dataclasses, with one line for whatever does not fit.

A record may have been cut short, edited by hand or written by something else. Everything that reads one comes through
here, so that a damaged file is one error with a reason, whatever is in the file.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from conf.typed import ConfigError, build
from records.files import NotAFileError, open_file

T = TypeVar("T")

INT_BITS = 63
"""Numbers of steps, bytes and samples fit into this many bits; a longer integer in a record is damage."""


class DamagedRecordError(ValueError):
    """A file of a record is there and cannot be used; one line that names the file and says why."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {' '.join(reason.split())}")
        self.path, self.reason = path, reason


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
      ValueError: the text is no JSON, nests too deeply, or holds a number that no record has (NaN, infinity, an integer
        of more than 63 bits).
    """
    try:
        return json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_number)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON ({error})") from None
    except UnicodeDecodeError:
        raise ValueError("is no text") from None


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**INT_BITS:
        raise ValueError(f"holds an integer of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"holds {text[:20]}, which is no finite number")
    return value


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object that a file holds; None where there is no file.

    Raises:
      DamagedRecordError: the file cannot be read, or holds something else.
    """
    try:
        with open_file(path) as file:
            text = file.read()
        value = parse(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotAFileError as error:
        raise DamagedRecordError(path, str(error.strerror)) from None
    except OSError as error:
        raise DamagedRecordError(path, f"cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DamagedRecordError(path, str(error)) from None
    if not isinstance(value, dict):
        raise DamagedRecordError(path, f"holds {described(value)}, where a JSON object belongs")
    return value


def decoded(cls: type[T], value: Any, path: Path) -> T:
    """Return a value as the dataclass `cls`; keys that the dataclass does not have are ignored.

    Raises:
      DamagedRecordError: `value` is no object, lacks a field, or a field has another type.
    """
    if not isinstance(value, dict):
        raise DamagedRecordError(path, f"holds {described(value)}, where a JSON object belongs")
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    try:
        return build(cls, {name: one for name, one in value.items() if name in names})
    except ConfigError as error:
        raise DamagedRecordError(path, str(error)) from None


def read_as(cls: type[T], path: Path) -> T | None:
    """Return a file's object as the dataclass `cls`; None where there is no file.

    Raises:
      DamagedRecordError: as `read_object` and `decoded`.
    """
    value = read_object(path)
    return None if value is None else decoded(cls, value, path)


def described(value: Any) -> str:
    """Return a short word for what a JSON value is."""
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds[type(value)]
