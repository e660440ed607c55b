"""Reads the triangles of STL files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from conf.typed import ConfigError

HEADER, TRIANGLE = 84, np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
NUMBER = rb"([-+.\w]+)"
VERTEX = re.compile(rb"vertex\s+" + rb"\s+".join([NUMBER] * 3))


def triangles(path: Path, content: bytes) -> np.ndarray:
    """The corners `[F, 3, 3]` of the triangles of an STL file, binary or text, in the file's unit.

    Args:
      path: the file's, for messages.
      content: what the file holds.

    Raises:
      ConfigError: the content is no whole STL file, has numbers that are not finite, or is flat.
    """
    is_text = content[:5] == b"solid" and len(content) != _binary_length(content)
    corners = _from_text(path, content) if is_text else _from_binary(path, content)
    if not len(corners):
        raise ConfigError(f"{path}: an STL file without triangles")
    if not np.isfinite(corners).all():
        raise ConfigError(f"{path}: an STL file with numbers that are not finite")
    if not np.ptp(corners.reshape(-1, 3), axis=0).all():
        raise ConfigError(f"{path}: the mesh has no volume")
    return corners


def _binary_length(content: bytes) -> int:
    """The number of bytes that a binary file of so many triangles as its header says has."""
    return HEADER + int.from_bytes(content[HEADER - 4 : HEADER], "little") * TRIANGLE.itemsize


def _from_binary(path: Path, content: bytes) -> np.ndarray:
    whole = _binary_length(content)
    if len(content) != whole:
        raise ConfigError(f"{path}: no STL file, or one that is cut off: {len(content)} bytes, not {whole}")
    return np.frombuffer(content, TRIANGLE, -1, HEADER)["corners"].astype(float)


def _from_text(path: Path, content: bytes) -> np.ndarray:
    facets, corners = content.count(b"endfacet"), VERTEX.findall(content)
    if b"endsolid" not in content or len(corners) != 3 * facets:
        raise ConfigError(f"{path}: no STL file, or one that is cut off: {len(corners)} corners of {facets} facets")
    try:
        return np.array(corners).astype(float).reshape(-1, 3, 3)
    except ValueError:
        raise ConfigError(f"{path}: an STL file with something else than numbers after 'vertex'") from None
