"""Says whether the processor has instructions for the precision of products."""

from __future__ import annotations

import re
from pathlib import Path

BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""How /proc/cpuinfo names products in bfloat16: AVX512-BF16 and AMX of x86, and ARM's."""


def cpuinfo() -> str:
    """Return the text of /proc/cpuinfo; an empty one where there is no such file."""
    file = Path("/proc/cpuinfo")
    return file.read_text(errors="replace") if file.exists() else ""


def precision_warning(precision: str, platform: str, cpuinfo: str) -> str | None:
    """Return a line of warning where a CPU has no instructions for the precision of products; None where it has.

    Args:
      precision: `agent.precision`.
      platform: what JAX computes on, such as `cpu` or `gpu`.
      cpuinfo: the text of /proc/cpuinfo; an empty one says nothing.
    """
    named = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    if precision != "bfloat16" or platform != "cpu" or named is None:
        return None
    if set(BFLOAT16_FLAGS) & set(named[1].split()):
        return None
    return (
        "warning: agent.precision=bfloat16: this CPU has no products in bfloat16 (AVX512-BF16 or AMX), "
        "so that they are emulated: right, but slower than float32"
    )
