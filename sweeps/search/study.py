"""What a hyper-parameter search is: its command, its manifest, and Optuna's study of its trials."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents.training.source import resolved
from conf import identity
from conf.schema import RunConfig
from conf.typed import ConfigError, show
from envs import registry
from records import layout
from records.command_line import given_command
from records.sweep import (
    Member,
    add_parent,
    change_sweep,
    join_sweep,
    known_end,
    listed,
    read_sweep,
    sweep_lock,
    write_sweep,
)
from sweeps.search import space
from sweeps.search.space import Interval, Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

OWN_SEED, FRESH_SEED = "seed", "fresh_seed"
"""Under which names the manifest has the seed of a run of a trial, and of one that runs the trial's values again."""


@dataclass(frozen=True)
class Search:
    """What a study's manifest says.

    Attributes:
      path: the manifest; its folder, of the same name, holds the journal, the locks and the plots.
      overrides: the command line, without options.
      base: the configuration before a trial's values.
      space: what a trial's values are drawn from.
      launched_from: what relative paths on the command line start at.
    """

    path: Path
    overrides: tuple[str, ...]
    base: RunConfig
    space: Space
    launched_from: Path

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")

    @property
    def trials(self) -> int:
        """The number of trials that the search is to have; a grid has no more than its combinations."""
        settings = self.base.sweep.search
        return min(settings.trials, space.grid_size(self.space)) if settings.sampler == "grid" else settings.trials

    def trial(self, params: dict[str, Any]) -> RunConfig:
        """The configuration of the first run of the trial with these values."""
        config = resolved(space.compose_one([*self.overrides, *space.overrides_of(params)]), self.launched_from)
        return dataclasses.replace(config, tracking=self.base.tracking, paths=self.base.paths, sweep=self.base.sweep)

    def runs(self, params: dict[str, Any]) -> list[RunConfig]:
        """The configurations of all runs of the trial with these values."""
        first = self.trial(params)
        return [dataclasses.replace(first, seed=first.seed + place) for place in range(first.sweep.search.seeds)]

    @property
    def fresh_seeds(self) -> range:
        """The seeds that confirm the best trials, none of which any trial has."""
        settings = self.base.sweep.search
        first = self.base.seed + settings.seeds
        return range(first, first + settings.confirm)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """The right to begin trials and to write the manifest."""
        return sweep_lock(self.path)


def compose(overrides: Sequence[str], folder: Path) -> Search:
    """The search that a command line describes, as seen from `folder`. Its name follows from its runs and its space.

    Raises:
      ConfigError: a key has several values, the space is none, or the tasks have no scores to compare trials by.
    """
    base = resolved(space.compose_one(overrides), folder)
    fixed = {text.partition("=")[0].lstrip("+") for text in overrides}
    settings = base.sweep.search
    axes = space.read(settings.space, fixed)
    if "seed" in axes and (settings.seeds > 1 or settings.confirm):
        raise ConfigError(
            f"{space.WHERE}.seed: the search sets seeds itself with sweep.search.seeds={settings.seeds} and "
            f"sweep.search.confirm={settings.confirm}"
        )
    for spec in registry.specs(base.benchmark.task_ids, base.env):
        if spec.norm_low is None:
            raise ConfigError(f"benchmark.tasks: {spec.id} has no constants that make its returns comparable scores")
    values = {"base": identity.hash_of(base), "env_steps": base.train.env_steps}
    values["space"] = {key: dataclasses.asdict(axis) for key, axis in sorted(axes.items())}
    if settings.seeds > 1:
        values["seeds"] = settings.seeds
    if settings.pruner == "wilcoxon":  # whose trials report other values
        values["pruner"] = settings.pruner
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{base.benchmark.name}-{base.sweep.name or 'search'}-{digest}.json"
    return Search(Path(base.paths.runs) / layout.SWEEPS / name, tuple(overrides), base, axes, folder)


def load(path: Path) -> Search:
    """The search of a manifest; its runs folder may have been moved.

    Raises:
      ConfigError: the manifest is of no search, or the yaml files have changed since it was written.
    """
    sweep = read_sweep(path)
    if not sweep.overrides:
        raise ConfigError(f"{path.stem}: is a sweep whose values are fixed, no search")
    runs = path.parents[1]
    search = compose(sweep.overrides, Path(sweep.folder_of_launch))
    if search.id != path.stem:
        raise ConfigError(f"{path.stem}: its command now means {search.id}; have files in conf/ changed since?")
    paths = dataclasses.replace(search.base.paths, runs=str(runs))
    return dataclasses.replace(search, path=path, base=dataclasses.replace(search.base, paths=paths))


def suggest(trial: Trial, key: str, axis: space.Axis) -> Any:
    """The trial's value, drawn unless it has one."""
    if not isinstance(axis, Interval):
        return trial.suggest_categorical(key, axis.values)
    if axis.integer:
        return trial.suggest_int(key, int(axis.low), int(axis.high), step=int(axis.step or 1), log=axis.log)
    return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)


def reopen(study: Study, number: int) -> Trial:
    """A trial that was begun, to go on with. Optuna offers no public way; a test keeps watch over this one."""
    import optuna

    return optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def complete_trials(study: Study) -> list[FrozenTrial]:
    """The trials that completed, the highest score first; of equal ones the earlier first."""
    import optuna

    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return sorted(complete, key=lambda trial: trial.value or 0.0, reverse=True)


STATE_NAMES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def state_name(trial: FrozenTrial) -> str:
    """complete, pruned, failed, running or waiting."""
    return STATE_NAMES[trial.state.name]


def trials_left(search: Search, study: Study) -> int:
    """How many trials have not ended, those that have not begun included."""
    trials = study.get_trials(deepcopy=False)
    begun = sum(not one.state.is_finished() for one in trials)
    return begun + max(0, search.trials - len(trials))


def tell(
    study: Study, number: int, outcome: Literal["complete", "pruned", "failed"], value: float | None = None
) -> None:
    """Say how a trial ended; a trial that has ended before keeps its outcome.

    Args:
      study: Optuna's study.
      number: the trial's.
      outcome: how the trial ended.
      value: the trial's score, where it completed.
    """
    import optuna

    (state,) = (one for one in optuna.trial.TrialState if STATE_NAMES[one.name] == outcome)
    study.tell(number, value, state, skip_if_finished=True)


def add_members(search: Search, members: Sequence[Member]) -> None:
    """Put runs into the manifest that are not there yet. The caller has the search locked."""
    known = read_sweep(search.path).members
    places = {place_of(member) for member in known}
    added = [member for member in members if place_of(member) not in places]
    for member in added:
        join_sweep(member.run_dir, search.id)
    if added:
        change_sweep(search.path, members=listed([*known, *added], search.path))


def place_of(member: Member) -> tuple[str | None, ...]:
    """What a run is in the search: the trial, and the run's seed among the trial's own or among the fresh ones."""
    return tuple(member.varied.get(key) for key in ("trial", OWN_SEED, FRESH_SEED))


def members_of(search: Search, number: int, params: dict[str, Any]) -> list[tuple[Member, RunConfig]]:
    """The runs of a trial as the manifest lists them, and their configurations.

    Raises:
      ConfigError: each value is allowed, but not all together.
    """
    varied = {key: show(value) for key, value in params.items()}
    found = []
    for config in search.runs(params):
        seed = {OWN_SEED: str(config.seed)} if config.sweep.search.seeds > 1 else {}
        place = {"trial": str(number)} | seed
        found.append((Member(identity.run_dir(config), config.train.env_steps, place | varied), config))
    return found


def write_record(search: Search, parent: str | None) -> None:
    """Write the search's record, or only what this command changes of it.

    Args:
      search: the search.
      parent: the MLflow run that its trials' runs are children of.
    """
    uri = search.base.tracking.uri
    with search.locked():
        known = read_sweep(search.path) if search.path.exists() else None
        parents = known.parents if known else {}
        parents = add_parent(parents, uri, "", parent) if parent and uri else parents
        details = {"command": given_command(), "time": time.time()}
        details |= {"overrides": list(search.overrides), "folder": str(Path.cwd())}
        details |= {"notify": search.base.launcher.notify}
        begun = {one.varied.get("trial") for one in known.members} if known else set()
        if len(begun) >= search.base.sweep.search.trials:  # else trials begin, and the search ends anew
            details |= known_end(search.path)
        write_sweep(search.path, known.members if known else [], parents, **details)


def draw(study: Study, folder: Path) -> Path:
    """Optuna's own plots as PNG files; those for which there are too few trials are left out."""
    os.environ["MPLBACKEND"] = "agg"  # matplotlib refuses to be imported where this names no back end
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import optuna
    from optuna.visualization import matplotlib as plots

    folder.mkdir(parents=True, exist_ok=True)
    complete = len(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]))
    drawings = {
        "history": (plots.plot_optimization_history, 1),
        "importance": (plots.plot_param_importances, 2),
        "slice": (plots.plot_slice, 1),
        "intermediate": (plots.plot_intermediate_values, 1),
    }
    for name, (plot, least) in drawings.items():
        if complete >= least:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna marks these plots as experimental
                axes = plot(study)
            figure = np.ravel(axes)[0].figure
            figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(figure)
    return folder
