"""The samplers and pruners of Optuna that a search may name: their options, what they need, and how they are made."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from conf.schema import RunConfig
from conf.typed import ConfigError, did_you_mean, show
from sweeps.search.space import Interval, Space, combination

if TYPE_CHECKING:
    import optuna
    from optuna import Study

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
}
PRUNERS = {
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "wilcoxon": "WilcoxonPruner",
    "off": "NopPruner",
}
NEEDS = {
    "gp": ("torch", "pip install torch"),
    "cmaes": ("cmaes", "pip install -c constraints.txt -e '.[search]'"),
}
"""The package that a sampler needs besides Optuna, and the command that installs the package."""
OTHER_KEYS = {
    "seed": "sweep.search.seed",
    "n_startup_trials": "sweep.search.startup_trials",
    "min_resource": "sweep.search.grace_steps",
    "n_warmup_steps": "sweep.search.grace_steps",
    "max_resource": "train.env_steps",
    "reduction_factor": "sweep.search.reduction_factor",
    "min_early_stopping_rate": "sweep.search.grace_steps",
}
"""Optuna's options that keys of their own stand for."""
PLAIN = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),)}
"""The types of options that a configuration can write, by the names that Optuna's annotations have."""


def check(config: RunConfig, space: Space) -> None:
    """Refuse a sampler or pruner that cannot be used here; import Optuna, and make both once.

    Raises:
      ConfigError: a package is missing, the space does not suit the sampler, or Optuna has no such option or value.
    """
    settings = config.sweep.search
    where = f"sweep.search.sampler={settings.sampler}"
    package, command = NEEDS.get(settings.sampler, (None, ""))
    if package is not None and importlib.util.find_spec(package) is None:
        others = [name for name in (*SAMPLERS, "grid") if name not in NEEDS]
        raise ConfigError(
            f"{where}: needs the package {package}, which is not installed: {command}; without it: {', '.join(others)}"
        )
    if settings.sampler == "cmaes" and not any(isinstance(axis, Interval) for axis in space.values()):
        raise ConfigError(f"{where}: chooses numbers between low and high alone, and the space has only choices")
    if settings.sampler == "grid":
        combination(space, 0, settings.seed)
        if settings.sampler_options:
            raise ConfigError(f"sweep.search.sampler_options={show(settings.sampler_options)}: a grid has no options")
    else:
        made(f"{where}: sweep.search.sampler_options", lambda: sampler(config, space, 0))
    made(f"sweep.search.pruner={settings.pruner}: sweep.search.pruner_options", lambda: pruner(config))


def made(where: str, make: Callable[[], object]) -> None:
    """Make a sampler or a pruner; Optuna's complaint becomes an error line that begins with `where`.

    Raises:
      ConfigError: Optuna refuses an option's value.
    """
    try:
        make()
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


def plain_options(cls: type) -> dict[str, list[str]]:
    """The options of a sampler or pruner that a configuration can write: name -> the names of its types."""
    found = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        types = [part.strip() for part in str(parameter.annotation).split("|")]
        if name not in OTHER_KEYS and all(part in PLAIN for part in types):
            found[name] = types
    return found


def checked(where: str, cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as arguments of the class.

    Raises:
      ConfigError: there is no such option, it has a key of its own, or its value is of another type.
    """
    allowed = plain_options(cls)
    for name, value in options.items():
        if name in OTHER_KEYS:
            raise ConfigError(f"{where}.{name}={show(value)}: is set by {OTHER_KEYS[name]}")
        if name not in allowed:
            nearest = did_you_mean(name, allowed)
            raise ConfigError(f"{where}.{name}={show(value)}: no such option; {nearest}allowed: {', '.join(allowed)}")
        kinds = tuple(kind for part in allowed[name] for kind in PLAIN[part])
        if type(value) not in kinds:
            raise ConfigError(f"{where}.{name}={show(value)}: must be {' or '.join(allowed[name])}")
    return dict(options)


def sampler(config: RunConfig, space: Space, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial: what it draws depends on the seed, the trial's number and the study, not on who asks.

    Args:
      config: the search's configuration.
      space: what is drawn from.
      number: the trial's.
    """
    import numpy as np
    import optuna

    settings = config.sweep.search
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.sampler == "grid":
        at_random = optuna.samplers.RandomSampler(seed=seed)
        return quiet(optuna.samplers.PartialFixedSampler, combination(space, number, settings.seed), at_random)
    cls = getattr(optuna.samplers, SAMPLERS[settings.sampler])
    options = checked("sweep.search.sampler_options", cls, settings.sampler_options)
    if settings.sampler in ("tpe", "gp", "cmaes"):
        options |= {"n_startup_trials": settings.startup_trials}
    if settings.sampler in ("gp", "cmaes", "qmc"):
        # Values beside the sampler's own: those of the first trials, and choices where it takes numbers alone.
        options |= {"independent_sampler": optuna.samplers.RandomSampler(seed=seed)}
    if settings.sampler == "qmc":
        cls, seed = _at(cls, number), settings.seed  # one sequence, of which the trial has its point
        options = {"scramble": True} | options
    return quiet(cls, seed=seed, **options)


def _at(sequence: type, number: int) -> type:
    """Optuna's sampler of a sequence, at the point that a trial's number says.

    Optuna counts points in the storage, and a study that is built again from its runs would begin with the first one.
    """

    class At(sequence):
        def _find_sample_id(self, study: Study, search_space: object) -> int:
            return number

    return At


def grace_steps(config: RunConfig) -> int:
    """The environment steps before which no trial is pruned."""
    return min(config.sweep.search.grace_steps or config.eval.every_steps, config.train.env_steps)


def pruner(config: RunConfig) -> optuna.pruners.BasePruner:
    """The pruner of a search. Its steps are environment steps, but for wilcoxon: see `sweeps.search.scores`."""
    import optuna

    settings, grace = config.sweep.search, grace_steps(config)
    cls = getattr(optuna.pruners, PRUNERS[settings.pruner])
    options = checked("sweep.search.pruner_options", cls, settings.pruner_options)
    if settings.pruner == "asha":
        options |= {"min_resource": grace, "reduction_factor": settings.reduction_factor}
    elif settings.pruner == "hyperband":
        options |= {"min_resource": grace, "max_resource": config.train.env_steps}
        options |= {"reduction_factor": settings.reduction_factor}
    elif settings.pruner == "median":
        options |= {"n_startup_trials": settings.startup_trials, "n_warmup_steps": grace}
    return quiet(cls, **options)


def quiet(make: Any, *arguments: Any, **options: Any) -> Any:
    """What `make` returns, without Optuna's warnings that a sampler, pruner or option is experimental."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(*arguments, **options)
