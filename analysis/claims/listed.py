"""The paper's claims as data: which runs a claim compares, and what was published.

A side of a claim is a part of a recipe (`conf/experiment/`), so that what a claim needs is written in one place. The
sources of the figures: the released curves (normalised interquartile means at their ends), or the paper's text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from analysis.variants import MULTI, SINGLE

CURVES = "released curves, {} seeds"
TEXT = "paper, without a figure that is known here"
LEVEL_MARGIN = 0.05
"""How far below a published interquartile mean of the same claim still counts as the same result."""

Kind = Literal["level", "order", "growth", "transfer", "conflict"]


@dataclass(frozen=True)
class Side:
    """Some runs of a claim.

    Attributes:
      recipe: the experiment, or "" where the overrides say all.
      part: the part of the recipe whose settings the runs have.
      overrides: further settings, which win over the part's.
      mode: whether the runs learn several tasks or one.
      by_name: whether the agent's name alone says whose runs these are, and the other settings are free.
    """

    recipe: str
    part: str
    overrides: tuple[str, ...] = ()
    mode: str = MULTI
    by_name: bool = False


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
      name: what the claim is called, `<recipe>.<what>`.
      sentence: the claim in words.
      kind: what is judged. level: ours is no more than `LEVEL_MARGIN` below the published interquartile mean; order:
        ours scores above the others; growth: the widest scores above the narrowest; transfer: learning on takes fewer
        steps than learning from scratch; conflict: the widest has fewer conflicting gradients than the narrowest.
      benchmarks: those on which the claim is judged.
      ours: the runs that the claim is about.
      other: the runs that they are compared with; None where the kind needs none.
      published: the figure that was published; None where none is known.
      source: where the figure is from.
    """

    name: str
    sentence: str
    kind: Kind
    benchmarks: tuple[str, ...]
    ours: Side
    other: Side | None = None
    published: float | None = None
    source: str = TEXT

    @property
    def recipe(self) -> str:
        """The experiment whose runs decide the claim."""
        return self.name.partition(".")[0]


ABLATED = ("dmc_dogs", "dmc_humanoids", "metaworld")
SCALED = (*ABLATED, "humanoidbench_medium")
BOTH_MODES = (*SCALED, "humanoidbench_hard", "shadowhand")
TRANSFERRED = {
    "humanoidbench": "humanoidbench_hard_transfer",
    "shadowhand": "shadowhand_transfer",
    "atari": "atari_transfer",
    "metaworld": "metaworld_transfer",
    "dmc": "dmc_transfer",
}
PUBLISHED = {  # multi-task, single-task, seeds of each
    "dmc_hard": (0.745, 0.580, 5, 5),
    "metaworld": (1.000, 1.000, 5, 3),
    "humanoidbench_medium": (1.046, 0.797, 5, 3),
    "humanoidbench_hard": (0.415, 0.319, 5, 3),
    "shadowhand": (0.987, 0.680, 3, 3),
}
ABLATIONS = {
    "ablation_loss": (
        "categorical",
        {
            "squared": "cross-entropy on return bins beats squared error",
            "squared_clipped": "cross-entropy on return bins beats squared error with clipped double Q-learning",
        },
    ),
    "ablation_conditioning": (
        "embedding",
        {
            "one_hot": "a learned embedding beats one-hot task ids",
            "none": "a learned embedding beats no conditioning",
            "heads": "a learned embedding beats separate heads",
        },
    ),
    "ablation_reward_scale": ("release", {"unscaled": "normalising each task's rewards by its returns matters"}),
    "ablation_network": (
        "bronet",
        {
            "no_layer_norm": "the critic needs layer norms",
            "no_weight_decay": "the critic needs weight decay",
            "prenorm": "the critic's blocks beat blocks that normalise first",
            "mlp": "the regularised, residual network beats a plain one",
            "unregularised": "the regularised, residual network beats a plain one without weight decay",
        },
    ),
    "contrasts": (
        "brc",
        {
            "sac": "one large value function beats multi-task SAC of the same size",
            "sac_own_size": "one large value function beats multi-task SAC of SAC's own size",
        },
    ),
}
STUDENTS = {"bc": "cloning experts' actions", "distill": "distilling policies of single tasks"}


def claims() -> tuple[Claim, ...]:
    """Return all claims, in the order of the report."""
    return (*_levels(), *_together(), *_scaling(), *_ablations(), *_students(), *_transfers(), *_conflicts())


def _levels() -> Iterator[Claim]:
    modes = {"multitask": (MULTI, "one agent learns all tasks of {}"), "singletask": (SINGLE, "each task of {} alone")}
    for at, (recipe, (mode, sentence)) in enumerate(modes.items()):
        for benchmark, figures in PUBLISHED.items():
            part = "dmc_dogs" if benchmark == "dmc_hard" else benchmark
            yield Claim(
                f"{recipe}.{benchmark}",
                sentence.format(benchmark),
                "level",
                (benchmark,),
                Side(recipe, part, mode=mode),
                published=figures[at],
                source=CURVES.format(figures[at + 2]),
            )


def _together() -> Iterator[Claim]:
    sides = Side("multitask", "dmc_dogs"), Side("singletask", "dmc_dogs", mode=SINGLE)
    yield Claim(
        "singletask.together", "many tasks together are learnt better than each alone", "order", BOTH_MODES, *sides
    )


def _scaling() -> Iterator[Claim]:
    side = Side("scaling", "dmc_dogs", ("model.width=11264",))
    narrow = Side("scaling", "dmc_dogs", ("model.width=320",))
    yield Claim("scaling.width", "performance grows with the critic's width", "growth", SCALED, side, narrow)


def _ablations() -> Iterator[Claim]:
    for recipe, (ours, others) in ABLATIONS.items():
        for part, sentence in others.items():
            yield Claim(f"{recipe}.{part}", sentence, "order", ABLATED, Side(recipe, ours), Side(recipe, part))


def _students() -> Iterator[Claim]:
    for agent, what in STUDENTS.items():
        other = Side("", "", (f"agent={agent}", "model=xl"), by_name=True)
        sentence = f"learning online beats {what}"
        yield Claim(f"contrasts.{agent}", sentence, "order", ABLATED, Side("contrasts", "brc"), other)


def _transfers() -> Iterator[Claim]:
    for name, benchmark in TRANSFERRED.items():
        sentence = f"an agent that has learnt many tasks learns those of {benchmark} in fewer steps than from scratch"
        yield Claim(f"transfer.{name}", sentence, "transfer", (benchmark,), Side("transfer", f"scratch_{name}"))


def _conflicts() -> Iterator[Claim]:
    wide, narrow = (Side("interference", "widths", (f"model.width={width}",)) for width in (11264, 320))
    sentence = "the wider the critic, the fewer pairs of tasks have conflicting gradients"
    yield Claim("interference.width", sentence, "conflict", ("metaworld",), wide, narrow)
