"""What a hyper-parameter search is: its command, its manifest, and Optuna's study of its trials."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conf import identity
from conf.compose import resolve_paths
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from records import layout
from records.sweep import Member, add_parent, change_sweep, listed, read_sweep, sweep_lock, write_sweep
from sweeps.search import space
from sweeps.search.space import Interval, Space

if TYPE_CHECKING:
    import optuna
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Search:
    """What a study's manifest says.

    Attributes:
      path: the manifest; its folder, of the same name, holds the journal, the locks and the plots.
      overrides: the command line, without options.
      base: the configuration before a trial's values.
      space: what a trial's values are drawn from.
    """

    path: Path
    overrides: tuple[str, ...]
    base: RunConfig
    space: Space

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")

    def trial(self, params: dict[str, Any]) -> RunConfig:
        """The configuration of the trial with these values."""
        config = space.compose_one([*self.overrides, *space.overrides_of(params)])
        return dataclasses.replace(config, tracking=self.base.tracking, paths=self.base.paths, sweep=self.base.sweep)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """The right to begin trials and to write the manifest."""
        return sweep_lock(self.path)


def compose(overrides: Sequence[str], folder: Path) -> Search:
    """The search that a command line describes, as seen from `folder`. Its name follows from its runs and its space.

    Raises:
      ConfigError: a key has several values, the space is none, or the tasks have no scores to compare trials by.
    """
    base = resolve_paths(space.compose_one(overrides), folder)
    fixed = {text.partition("=")[0].lstrip("+") for text in overrides}
    axes = space.read(base.sweep.search.space, fixed)
    for spec in registry.specs(base.benchmark.task_ids, base.env):
        if spec.norm_low is None:
            raise ConfigError(f"benchmark.tasks: {spec.id} has no constants that make its returns comparable scores")
    values = {"base": identity.hash_of(base), "env_steps": base.train.env_steps}
    values["space"] = {key: dataclasses.asdict(axis) for key, axis in sorted(axes.items())}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{base.benchmark.name}-{base.sweep.name or 'search'}-{digest}.json"
    return Search(Path(base.paths.runs) / layout.SWEEPS / name, tuple(overrides), base, axes)


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


def grace_steps(config: RunConfig) -> int:
    """The environment steps before which no trial is pruned."""
    return config.sweep.search.grace_steps or config.eval.every_steps


def pruner(config: RunConfig) -> optuna.pruners.BasePruner:
    """Steps are environment steps."""
    import optuna

    settings = config.sweep.search
    grace = grace_steps(config)
    if settings.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(grace, settings.reduction_factor)
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(settings.startup_trials, n_warmup_steps=grace)
    return optuna.pruners.NopPruner()


def sampler(config: RunConfig, number: int) -> optuna.samplers.BaseSampler:
    """For one trial: what it draws depends on the seed, its number and what the study holds, not on who asks."""
    import numpy as np
    import optuna

    settings = config.sweep.search
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(n_startup_trials=settings.startup_trials, seed=seed)


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


def best_trial(study: Study) -> FrozenTrial | None:
    """The completed trial with the highest score; None where none has completed."""
    import optuna

    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return max(complete, key=lambda trial: trial.value, default=None)  # type: ignore[arg-type,return-value]


STATE_NAMES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def state_name(trial: FrozenTrial) -> str:
    """complete, pruned, failed, running or waiting."""
    return STATE_NAMES[trial.state.name]


def is_over(search: Search, study: Study) -> bool:
    """Whether every trial has ended."""
    return trials_left(search, study) == 0


def trials_left(search: Search, study: Study) -> int:
    """How many trials have not ended, those that have not begun included."""
    trials = study.get_trials(deepcopy=False)
    begun = sum(not one.state.is_finished() for one in trials)
    return begun + max(0, search.base.sweep.search.trials - len(trials))


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


def score_of(trial: FrozenTrial) -> float | None:
    """The value of a trial that ended, or the latest evaluation's of one that did not."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def add_member(search: Search, member: Member) -> None:
    """Put a trial's run into the manifest, once. The caller has the search locked."""
    sweep = read_sweep(search.path)
    if all(known.varied["trial"] != member.varied["trial"] for known in sweep.members):
        change_sweep(search.path, members=listed([*sweep.members, member], search.path))


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
        details = {"command": shlex.join(sys.argv), "time": time.time()}
        details |= {"overrides": list(search.overrides), "folder": str(Path.cwd())}
        write_sweep(search.path, known.members if known else [], parents, **details)


def draw(study: Study, folder: Path) -> Path:
    """Optuna's own plots as PNG files; those for which there are too few trials are left out."""
    import warnings

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
