"""Deals out this machine's GPUs to the runs of a local pool: each run computes on one GPU."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

MEMORY_FRACTION = 0.9
"""The share of a GPU's memory that the GPU's runs get together."""


@cache
def machine_gpus() -> tuple[str, ...]:
    """Return the GPUs that JAX would compute on here, as CUDA_VISIBLE_DEVICES names them; empty without a GPU."""
    import pynvml

    from tracking.system import visible_gpus

    platforms = os.environ.get("JAX_PLATFORMS", "cuda")
    if not {"cuda", "gpu"} & set(platforms.split(",")) or importlib.util.find_spec("jax_cuda12_plugin") is None:
        return ()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        count = len(visible_gpus(given))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    names = [str(index) for index in range(count)] if given is None else given.split(",")
    return tuple(name.strip() for name in names[:count])


def idlest(gpus: Sequence[str], taken: Iterable[str | None]) -> str | None:
    """Return the GPU with the fewest runs, the first of those that have as few; None without a GPU.

    Args:
      gpus: the GPUs of the machine.
      taken: the GPU of each run that is being executed.
    """
    runs = Counter(taken)
    return min(gpus, key=lambda gpu: runs[gpu], default=None)


def environment_of(gpu: str | None, gpus: Sequence[str], parallel: int) -> dict[str, str]:
    """Return the variables that give a run its GPU, and a share of the memory where several runs have one GPU.

    Args:
      gpu: the run's GPU; None leaves the choice to JAX.
      gpus: the GPUs of the machine.
      parallel: how many runs are executed at once.
    """
    together = -(-parallel // max(1, len(gpus)))
    variables = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    if together > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{MEMORY_FRACTION / together:.3f}"
    return variables
