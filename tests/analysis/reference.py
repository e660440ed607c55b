"""The published curves, which lie beside the repository and are no part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "reference"
CURVES = FOLDER / "brc_published_curves.csv.gz"
SUMMARY = FOLDER / "brc_published_summary.csv"

needs_reference = pytest.mark.skipif(
    not CURVES.exists() and not os.environ.get("CI"),
    reason=f"the published curves are not at {FOLDER}",
)
"""Skips where the curves are missing; in CI they must be there."""
