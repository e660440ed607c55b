"""Where a deciding sweep stands: its variants' scores so far, what they decide, and which runs are due."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conf import identity
from conf.schema import DecideConfig, RunConfig
from conf.typed import ConfigError
from records.files import write_atomic
from records.lock import is_held
from records.run_dir import RunDir
from records.run_record import write_config
from records.sweep import Member, Sweep, change_sweep, join_sweep, listed, sweep_lock
from sweeps.decide.sequential import Comparison, Verdict, judge
from sweeps.search.scores import Scores

SEED = "seed"
"""The key that tells a variant's runs apart."""
VARIANT = "variant-{}.json"
"""In the sweep's folder: a variant's configuration with its first seed."""


@dataclass(frozen=True)
class Standing:
    """The runs of a deciding sweep by variant, their scores, and the verdict on them.

    Attributes:
      settings: the budget and the rules.
      variants: `[V]`, the variants' names.
      members: `[V]`, each variant's runs in the order of seeds.
      scores: `[V, N]`, NaN where there is no score (yet).
      verdict: what the scores decide.
    """

    settings: DecideConfig
    variants: tuple[str, ...]
    members: tuple[tuple[Member, ...], ...]
    scores: np.ndarray
    verdict: Verdict

    @property
    def asked(self) -> list[Member]:
        """The runs that the verdict has asked for so far and the sweep has."""
        return [one for mine, seeds in zip(self.members, self.verdict.seeds, strict=True) for one in mine[:seeds]]

    @property
    def held_up(self) -> bool:
        """Whether a failed run keeps variants from being compared."""
        return any(one.state == "held up" for one in self.verdict.comparisons)

    def mean(self, variant: int) -> float:
        """The mean score of a variant's runs that count; NaN where there is none."""
        known = self.scores[variant, : self.verdict.seeds[variant]]
        known = known[~np.isnan(known)]
        return float(known.mean()) if len(known) else math.nan

    @property
    def leader(self) -> int | None:
        """The variant with the highest mean score; None before there are scores."""
        means = [self.mean(variant) for variant in range(len(self.variants))]
        return None if all(map(math.isnan, means)) else int(np.nanargmax(means))

    @property
    def leads(self) -> str | None:
        """The name of that variant."""
        return None if self.leader is None else self.variants[self.leader]


def standing(sweep: Sweep, failed: Collection[Path]) -> Standing:
    """Return where a deciding sweep stands.

    Args:
      sweep: the sweep, whose record has rules.
      failed: the directories of the runs that have failed for good.
    """
    settings = sweep.decide
    assert settings is not None
    assert settings.max_seeds is not None
    grouped: dict[str, list[Member]] = {}
    for member in sweep.members:
        grouped.setdefault(name_of(member), []).append(member)
    members = tuple(tuple(sorted(mine, key=lambda one: int(one.varied[SEED]))) for mine in grouped.values())
    scores = np.full((len(members), settings.max_seeds), np.nan)
    lost = np.zeros(scores.shape, bool)
    for row, mine in enumerate(members):
        for column, one in enumerate(mine[: settings.max_seeds]):
            done = RunDir(one.run_dir).done()
            if done is not None and done.env_steps >= one.env_steps:
                scores[row, column] = Scores(one.run_dir).final(one.env_steps)
            lost[row, column] = np.isnan(scores[row, column]) and one.run_dir in failed
    return Standing(settings, tuple(grouped), members, scores, judge(scores, lost, settings))


def name_of(member: Member) -> str:
    """The name of the variant that a run is of: what varies but for the seed."""
    words = [f"{key}={value}" for key, value in member.varied.items() if key != SEED]
    return " ".join([*([f"{member.part}:"] if member.part else []), *words])


def extended(sweep: Sweep, now: Standing) -> Sweep:
    """Put the runs that the verdict asks for and the sweep lacks into the sweep's record, and return the sweep.

    The caller holds the sweep's `launch_lock`.

    Raises:
      ConfigError: a variant's configuration cannot be read.
    """
    new = []
    for variant, (mine, seeds) in enumerate(zip(now.members, now.verdict.seeds, strict=True)):
        if len(mine) < seeds:
            config = variant_config(sweep, variant)
            seeded = (dataclasses.replace(config, seed=config.seed + place) for place in range(len(mine), seeds))
            new += [added(mine[0], one, sweep.id) for one in seeded]
    if not new:
        return sweep
    members = [*sweep.members, *new]
    with sweep_lock(sweep.path):
        change_sweep(sweep.path, members=listed(members, sweep.path))
    return dataclasses.replace(sweep, members=members)


def added(first: Member, config: RunConfig, sweep: str) -> Member:
    """A further run of a variant, given the variant's first one; the run's directory holds its configuration."""
    run_dir = identity.run_dir(config)
    join_sweep(run_dir, sweep)
    done = RunDir(run_dir).done()
    if not (done is not None and done.env_steps >= config.train.env_steps) and not is_held(run_dir):
        write_config(run_dir, config)
    return dataclasses.replace(first, run_dir=run_dir, varied=first.varied | {SEED: str(config.seed)})


def write_variants(sweep: Sweep, configs: Sequence[RunConfig]) -> None:
    """Write each variant's configuration with its first seed, of which the configurations of further seeds are made."""
    for variant, config in enumerate(configs):
        write_atomic(sweep.folder / VARIANT.format(variant), identity.config_to_json(config) + "\n")


def variant_config(sweep: Sweep, variant: int) -> RunConfig:
    """The configuration of a variant with its first seed; the folder of runs may have been moved.

    Raises:
      ConfigError: the configuration is missing, or does not fit the schema.
    """
    path = sweep.folder / VARIANT.format(variant)
    try:
        config = identity.config_from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; the sweep's command writes it again") from None
    return dataclasses.replace(config, paths=dataclasses.replace(config.paths, runs=str(sweep.path.parents[1])))


def table_rows(now: Standing) -> list[tuple[str, str, str, str]]:
    """Each comparison: the two variants, the seeds of each, the difference of their means, and what is said of it."""
    return [
        (
            f"{now.variants[one.a]} against {now.variants[one.b]}",
            str(one.seeds),
            "-" if math.isnan(one.difference) else f"{one.difference:+.3f}",
            in_words(one, now.variants),
        )
        for one in now.verdict.comparisons
    ]


def in_words(one: Comparison, variants: Sequence[str]) -> str:
    """What a comparison has come to."""
    if one.state == "decided":
        return f"{variants[one.better]} is better"
    return {
        "open": "undecided so far",
        "undecided": "no difference found within the budget",
        "hopeless": "no difference found, and the seeds that are left would hardly find one",
        "moot": "not asked any more: one of them is beaten",
        "held up": "held up by a failed run",
    }[one.state]


def lines(now: Standing) -> list[str]:
    """Who leads, what is decided and what is not, and how far the decision is, a line each."""
    comparisons = [
        f"{names}: {words} ({seeds} seeds each, difference {difference})"
        for names, seeds, difference, words in table_rows(now)
    ]
    return [leads(now), *comparisons, progress(now)]


def leads(now: Standing) -> str:
    """Who leads, in words."""
    if now.leader is None:
        return "leads: no run has a score yet"
    return f"leads: {now.variants[now.leader]}, mean score {now.mean(now.leader):.3f}"


def progress(now: Standing) -> str:
    """Whether the decision is over, and the number of its runs, in words."""
    most = len(now.variants) * (now.settings.max_seeds or 0)
    return f"decision {'over' if now.verdict.over else 'goes on'}: {len(now.asked)} runs, of {most} at most"


def recorded(now: Standing) -> Mapping[str, object]:
    """The final verdict as the sweep's record keeps it."""
    number = lambda value: None if math.isnan(value) else value  # noqa: E731
    return {
        "variants": [
            {"name": name, "seeds": now.verdict.seeds[variant], "mean": number(now.mean(variant))}
            for variant, name in enumerate(now.variants)
        ],
        "comparisons": [
            {
                "a": now.variants[one.a],
                "b": now.variants[one.b],
                "state": one.state,
                "better": now.variants[one.better] if one.state == "decided" else None,
                "seeds": one.seeds,
                "difference": number(one.difference),
                "p": number(one.p),
            }
            for one in now.verdict.comparisons
        ],
    }
