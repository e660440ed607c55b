"""Loops over data frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows, with columns as attributes."""
    yield from frame.itertuples(index=False)


def groups_of(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """The rows of each value of a column, or of each combination of values (a tuple), in order of appearance."""
    for key, group in frame.groupby(list(columns), sort=False):
        assert isinstance(key, tuple)
        yield (key if len(columns) > 1 else key[0]), group


def distinct(frame: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column, each once, in order of appearance."""
    return list(frame[column].drop_duplicates())
