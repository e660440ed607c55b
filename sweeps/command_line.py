"""Command-line arguments that several of the commands here share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a sweep."""
    parser.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="its id, or the id's beginning or end; default: newest"
    )
    add_runs(parser)


def add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of runs (default: runs)")
