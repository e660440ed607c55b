"""The table of claims, as the report shows and writes it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.claims.judge import Measured, in_words, judge
from analysis.claims.listed import LEVEL_MARGIN, Claim, claims
from analysis.claims.measure import measure
from analysis.context import Context

COLUMNS = (
    "claim",
    "sentence",
    "command",
    "judged_by",
    "published",
    "source",
    "ours",
    "low",
    "high",
    "seeds",
    "env_steps",
    "verdict",
)
JUDGED_BY = {
    "level": f"IQM, at most {LEVEL_MARGIN} below the published",
    "order": "difference of IQMs, above 0",
    "growth": "IQM of the widest minus the narrowest, above 0",
    "transfer": "steps from scratch over steps with transfer, above 1",
    "conflict": "conflicting pairs of the narrowest minus the widest, above 0",
}


def compute(context: Context) -> pd.DataFrame:
    """Judge every claim of the paper by the runs of a context.

    Returns:
      `COLUMNS`, one row a claim; numbers are NaN where the claim was not run or nothing was published.
    """
    return pd.DataFrame([row(claim, measure(claim, context)) for claim in claims()], columns=list(COLUMNS))


def threshold(claim: Claim) -> float:
    """Return what the number of a claim must be above."""
    if claim.kind == "level":
        assert claim.published is not None
        return claim.published - LEVEL_MARGIN
    return 1.0 if claim.kind == "transfer" else 0.0


def row(claim: Claim, found: Measured | None) -> dict[str, object]:
    """Return a claim's row of the table."""
    ours = found or Measured(np.nan, np.nan, np.nan, 0, 0)
    return {
        "claim": claim.name,
        "sentence": claim.sentence,
        "command": f"python -m agents.run -m +experiment={claim.recipe}",
        "judged_by": JUDGED_BY[claim.kind],
        "published": np.nan if claim.published is None else claim.published,
        "source": claim.source,
        "ours": ours.value,
        "low": ours.low,
        "high": ours.high,
        "seeds": ours.seeds,
        "env_steps": ours.env_steps,
        "verdict": in_words(judge(found, threshold(claim)), found),
    }
