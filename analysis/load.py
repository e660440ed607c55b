"""Run directories, an MLflow tracking URI or published curves -> one tidy table of evaluations."""

from __future__ import annotations

import re
from pathlib import Path

from analysis.table import COLUMNS, RUN_COLUMNS, Loaded, LoadError
from conf.typed import ConfigError
from conf.uris import check_tracking_uri

__all__ = ["COLUMNS", "RUN_COLUMNS", "LoadError", "Loaded", "load"]


def load(source: Path | str, cache: bool = True, spacing: int | None = None) -> Loaded:
    """All evaluations of all runs that `source` holds.

    Runs may be in progress: an evaluation that is not wholly written is ignored.

    Args:
      source: a runs folder, one benchmark's folder, one run directory, the record of a sweep, an MLflow tracking URI,
        or published curves (`analysis.import_reference`).
      cache: keep what was parsed of run directories in the user's cache folder; only runs that changed are read again.
      spacing: env steps between two published points; None: `analysis.import_reference.SPACING`.
    Raises:
      LoadError: `source` does not exist, or nothing in it has an evaluation.
    """
    if re.match(r"[a-z][a-z0-9+-]*://?", str(source)):
        from analysis.from_mlflow import load_mlflow

        try:
            check_tracking_uri(str(source), "INPUT")
        except ConfigError as error:
            raise LoadError(str(error)) from None
        return load_mlflow(str(source))
    root = Path(source)
    if not root.exists():
        raise LoadError(f"{root}: no such folder or file")
    from analysis.import_reference import import_reference, is_reference

    if is_reference(root):
        return import_reference(root, spacing)
    if root.suffix == ".json":
        from analysis.from_runs import load_sweep

        return load_sweep(root, cache)
    if not root.is_dir():
        raise LoadError(f"{root}: not a folder of runs, a sweep's .json, nor a .csv or .csv.gz of curves")
    from analysis.from_runs import load_runs

    return load_runs(root, cache)
