"""Says in a plan which command forecasts the scores of new widths, where enough other widths have been run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conf import identity
from records import layout
from records.run_dir import RunDir
from sweeps.plan.plan import Plan

MIN_WIDTHS, MIN_SEEDS = 3, 2
"""What a forecast needs."""


def forecast_hint(plan: Plan) -> str | None:
    """Return a line with the command that forecasts the plan's new widths; None where too few others have been run."""
    done = seeds_by_width(plan.common.runs) if plan.pending else {}
    new = set()
    for one in plan.pending:
        known = done.get(family_of(identity.values_of(one.config)), {})
        usable = [width for width, seeds in known.items() if len(seeds) >= MIN_SEEDS]
        if len(usable) >= MIN_WIDTHS and one.config.model.width not in known:
            new.add(one.config.model.width)
    if not new:
        return None
    widths = ",".join(map(str, sorted(new)))
    runs = shlex.quote(str(plan.common.runs))
    return f"other widths have been run; what to expect: python -m analysis.forecast {runs} --width {widths}"


def seeds_by_width(runs: Path) -> dict[str, dict[int, set[int]]]:
    """Return the seeds of finished runs below a folder by width, for each family of runs that differ in these alone."""
    found: dict[str, dict[int, set[int]]] = {}
    for path in runs.glob(f"*/*/{layout.DONE}"):
        manifest = RunDir(path.parent).manifest()
        values = manifest.identity_values if manifest else {}
        if isinstance(model := values.get("model"), dict) and "width" in model and "seed" in values:
            found.setdefault(family_of(values), {}).setdefault(model["width"], set()).add(values["seed"])
    return found


def family_of(values: Mapping[str, Any]) -> str:
    """Return what identity values say besides seed and width, as text."""
    model = {key: value for key, value in values["model"].items() if key != "width"}
    return json.dumps({**values, "model": model, "seed": None}, sort_keys=True)
