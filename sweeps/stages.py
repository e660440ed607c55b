"""The order of runs that begin with the networks of others: a source is over before the runs that need the source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conf.schema import RunConfig
from sweeps.code import Code, kept
from sweeps.plan.place import grouped
from sweeps.slurm import cluster
from sweeps.slurm.dependency import with_dependency
from sweeps.slurm.submission import job_of
from sweeps.teams import teams


def source_of(config: RunConfig) -> Path | None:
    """Return the directory of the run whose networks a run begins with; None of a run that needs no other."""
    source = config.source
    return Path(source.run_dir) if source.kind == "transfer" and source.run_dir is not None else None


def stages(configs: Mapping[Path, RunConfig]) -> list[dict[Path, RunConfig]]:
    """Return runs in stages, each of which needs nothing but stages before, and runs that are none of these.

    Args:
      configs: each run's configuration, by its directory.
    """
    found: list[dict[Path, RunConfig]] = []
    waiting = dict(configs)
    while waiting:
        ready = {path: config for path, config in waiting.items() if source_of(config) not in waiting}
        found.append(ready)
        waiting = {path: config for path, config in waiting.items() if path not in ready}
    return found


def send(configs: Mapping[Path, RunConfig], folder: Path, name: str, code: Code | None) -> list[str]:
    """Submit runs to SLURM, arrays of their own for each stage and launcher, and return the arrays' ids.

    The jobs of a stage wait for all of the stages before, and for the jobs of sources that were submitted earlier.

    Args:
      configs: each run's configuration, by its directory.
      folder: the sweep's, where submissions are written.
      name: what SLURM calls the jobs.
      code: the stored code that jobs import whose launcher keeps the code; None: all import it as it is.
    Raises:
      ConfigError: sbatch refuses.
    """
    before: list[str] = []
    for stage in stages(configs):
        ids: list[str] = []
        for launcher, run_dirs in grouped((config.launcher, path) for path, config in stage.items()):
            sources = {source for path in run_dirs if (source := source_of(stage[path])) is not None}
            waited = [*(before if sources else ()), *_arrays_of(sources - configs.keys())]
            own = with_dependency(launcher, waited) if waited else launcher
            processes = teams((stage[path], path) for path in run_dirs)
            ids += cluster.submit(processes, own, folder, name, kept(code, launcher, on_slurm=True))
        before += ids
    return before


def _arrays_of(run_dirs: set[Path]) -> list[str]:
    """The arrays in the queue that runs were given to."""
    jobs = {job.id.partition("_")[0] for path in run_dirs if (job := job_of(path)) is not None and job.id is not None}
    queue = cluster.queue() if jobs else {}
    return sorted(jobs & {job.partition("_")[0] for job in queue or ()})
