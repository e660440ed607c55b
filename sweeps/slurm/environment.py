"""The environment in which SLURM's commands are given: without what SLURM has told the job that this process is in.

SLURM describes a job in variables, and reads some of the same names as orders. A job that is submitted from inside
another one would inherit a description that is not its own, and `SBATCH_*` would outrank the script's own flags.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIXES = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PMIX_", "PMI_")
KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"}
"""Variables that say which cluster SLURM's commands speak to, and as whom."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without a job's description and without orders to SLURM's commands."""
    return {name: value for name, value in environment.items() if name in KEPT or not name.startswith(PREFIXES)}


def set_aside(environment: Mapping[str, str]) -> list[str]:
    """The orders to `sbatch` that `clean` leaves out, as `NAME=value`: somebody may have meant them."""
    return sorted(f"{name}={value}" for name, value in environment.items() if name.startswith("SBATCH_"))
