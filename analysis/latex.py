"""A data frame as a LaTeX table (booktabs)."""

from __future__ import annotations

import math
import numbers
from typing import Any

import pandas as pd

from analysis.frames import rows_of

LONG = 45
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "τ": r"$\tau$",
    "—": "---",
}


def latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """The table with its caption; a `longtable` where it does not fit on a page. Needs the booktabs package."""
    kinds = "".join("r" if _is_number(kind) else "l" for kind in table.dtypes)
    head = " & ".join(escape(str(name)) for name in table) + r" \\"
    rows = [" & ".join(cell(value) for value in row) + r" \\" for row in rows_of(table)]
    title = f"\\caption{{{escape(caption)}}}\\label{{{label}}}"
    if len(rows) > LONG:
        begin = [f"\\begin{{longtable}}{{{kinds}}}", rf"{title} \\", r"\toprule", head, r"\midrule", r"\endhead"]
        return "\n".join([*begin, *rows, r"\bottomrule", r"\end{longtable}", ""])
    begin = [r"\begin{table}", r"\centering", title, f"\\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*begin, *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def cell(value: Any) -> str:
    """A value as it stands in a table: three digits after the point, thousands apart, a dash where it is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "--"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return escape(str(value))
    known = float(value)
    if math.isinf(known):
        return r"$\infty$" if known > 0 else r"$-\infty$"
    if known.is_integer():
        return f"{known:,.0f}"
    return f"{known:.3f}" if 1e-3 <= abs(known) < 1e6 else f"{known:.2e}"


def escape(text: str) -> str:
    """Text with the characters that LaTeX would read as commands written out."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _is_number(kind: Any) -> bool:
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
