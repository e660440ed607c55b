"""How scores were measured, as one sentence that stands below every figure and in every csv.

Of runs, the protocol follows from what the run recorded; of published curves, from what is known of their authors'
evaluation. What nobody knows is said to be unknown, and what is not the same for all is said to be mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from analysis.frames import rows_of
from analysis.variants import TASKS, by_parts

UNKNOWN = "unknown"
COLUMN = "protocol"
GOALS = "env.metaworld.goal_sampling"
SUITE_WITH_GOALS = "metaworld"
SKIPPED_FRAMES = {"atari": 4}
"""Frames of one action, in the suites whose actions last for more than one step of the simulator's control."""


class Protocol(NamedTuple):
    """How an evaluation is made, each part in words.

    Attributes:
      goals: whether each reset draws goals and object positions anew ("fresh"), or a task has one of each ("fixed").
      success: which of an episode's steps decides its success.
      checkpoint: which parameters are evaluated.
      action_repeat: steps of one action.
      episodes: the number of episodes of each task, and where these are cut.
      actions: whether actions are the policy's mode or drawn.
    """

    goals: str = UNKNOWN
    success: str = UNKNOWN
    checkpoint: str = UNKNOWN
    action_repeat: str = UNKNOWN
    episodes: str = UNKNOWN
    actions: str = UNKNOWN


LABELS = Protocol("goals", "success", "checkpoint", "action repeat", "episodes", "actions")
RELEASE = Protocol(UNKNOWN, "any step", "last", "1", "10", "deterministic")
"""What the authors' release does; which goals its published curves on Meta-World are of is not known."""


def protocol_of(settings: Mapping[str, Any]) -> Protocol:
    """Return the protocol of a run.

    Every run evaluates the parameters that it has at that step, by the policy's mode, and an episode has succeeded
    where any of its steps has.

    Args:
      settings: the run's flattened identity values; a missing choice of goals is the default's.
    """
    suites = {str(task).partition("/")[0] for task in settings.get(TASKS) or ()}
    sampling = settings.get(GOALS, "per_reset") if SUITE_WITH_GOALS in suites else "per_reset"
    repeats = sorted({SKIPPED_FRAMES.get(suite, 1) for suite in suites})
    cut = settings.get("eval.max_episode_steps")
    episodes = str(settings.get("eval.episodes", UNKNOWN))
    return Protocol(
        goals="fixed" if sampling == "fixed" else "fresh",
        success="any step",
        checkpoint="last",
        action_repeat=" and ".join(map(str, repeats)),
        episodes=episodes if cut is None else f"{episodes} of at most {cut:,} steps",
        actions="deterministic",
    )


def sentence(protocols: Iterable[Protocol]) -> str:
    """Return how all of some evaluations were made, in one sentence that names what is mixed; empty of none."""
    found = list(dict.fromkeys(protocols))
    if not found:
        return ""
    parts = []
    for label, values in zip(LABELS, zip(*found, strict=True), strict=True):
        distinct = sorted(set(values))
        parts.append(f"{label} {distinct[0]}" if len(distinct) == 1 else f"{label} mixed ({', '.join(distinct)})")
    return f"Protocol: {', '.join(parts)}."


class Protocols:
    """The protocols of all variants of what was loaded."""

    def __init__(self, table: pd.DataFrame, runs: pd.DataFrame, published: Mapping[str, Protocol]):
        """Look up each variant's protocols.

        Args:
          table: of `analysis.table.COLUMNS`.
          runs: of `analysis.table.RUN_COLUMNS`.
          published: agent -> the protocol of its published curves.
        """
        self._found: dict[tuple[str, str], list[Protocol]] = {}
        for run in rows_of(runs.loc[:, ["benchmark", "variant", "settings"]]):
            self._add(run.benchmark, run.variant, protocol_of(run.settings))
        known = set(self._found)
        for one in rows_of(table.loc[:, ["benchmark", "variant", "agent"]].drop_duplicates()):
            if (one.benchmark, one.variant) in known:
                continue
            if one.agent in published:
                self._add(one.benchmark, one.variant, published[one.agent])
                continue
            for benchmark, name in known:  # runs of a benchmark's parts, which are the whole's, too
                if one.variant in (name, by_parts(name)):
                    self._add(one.benchmark, one.variant, *self._found[benchmark, name])
        self._names = {variant for _, variant in self._found}

    def _add(self, benchmark: str, variant: str, *protocols: Protocol) -> None:
        self._found.setdefault((benchmark, variant), []).extend(protocols)

    def of(self, names: Iterable[str] | None = None) -> str:
        """Return the sentence on some variants; None, or no name that is known: on all of them."""
        wanted = self._names.intersection(names or ()) or self._names
        return sentence(one for (_, variant), found in self._found.items() if variant in wanted for one in found)

    def beside(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return a table with a further last column: the protocol of each row's variant, or of all that it names."""
        if not {"benchmark", "variant"} <= set(values):
            words = values.select_dtypes(["object", "string", "category"])
            return values.assign(**{COLUMN: self.of(str(one) for column in words for one in set(words[column]))})
        pairs = list(zip(values["benchmark"], values["variant"], strict=True))
        known = {pair: sentence(self._found.get(pair, ())) or self.of([pair[1]]) for pair in set(pairs)}
        return values.assign(**{COLUMN: [known[pair] for pair in pairs]})
