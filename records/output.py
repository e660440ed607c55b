"""What commands say with `--json`: one object on standard output, whose keys the file `output.schema.json` fixes."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 1
"""The number of the format, which grows when a key is renamed or removed; a new key leaves it as it is."""
SCHEMA = Path(__file__).with_name("output.schema.json")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds the option that asks for JSON."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, as docs/scripts.md describes it")


def print_json(command: str, values: Mapping[str, Any]) -> None:
    """Prints a command's result on standard output; numbers that are not finite become null, paths text."""
    print(json.dumps({"format": FORMAT, "command": command} | plain(values), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """The value with nothing in it that JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
