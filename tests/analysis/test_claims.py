"""The paper's claims, judged by the runs at hand: known numbers, known verdicts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.claims.judge import Measured, Verdict, in_words, judge, more_seeds
from analysis.claims.listed import LEVEL_MARGIN, Side, claims
from analysis.claims.sides import differences, parts_of, recipe_of
from analysis.claims.table import compute, threshold
from analysis.context import Context
from analysis.load import load
from conf import identity
from conf.compose import compose
from conf.links import transfer_from
from conf.yaml_groups import plain
from records import layout
from tests.analysis.conftest import rows_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "high", "word", "more"),
    [
        (0.1, 0.5, "reproduced", None),
        (-0.5, -0.1, "contradicted", None),
        # value 0.1, half 0.2 at 4 seeds: 4 (0.2 / 0.1)^2 = 16 seeds touch zero, 17 are beyond.
        (-0.1, 0.3, "cannot be told", 13),
        # value -0.1, half 0.15 at 4 seeds: 4 * 2.25 = 9 touch zero.
        (-0.25, 0.05, "cannot be told", 6),
        (-0.2, 0.2, "cannot be told", None),
        (NAN, NAN, "cannot be told", 1),
    ],
)
def test_a_verdict_follows_from_the_interval_and_the_threshold(low: float, high: float, word: str, more: int | None):
    value = 0.1 if low != low else (low + high) / 2
    assert judge(Measured(value, low, high, 4, 1000), 0.0) == Verdict(word, more)
    shifted = Measured(value + 1, low + 1, high + 1, 4, 1000)
    assert judge(shifted, 1.0).word == word
    assert judge(None, 0.0) == Verdict("not run")


def test_as_many_more_seeds_as_are_asked_for_would_tell():
    measured = Measured(0.05, -0.07, 0.17, 5, 1000)
    more = more_seeds(measured, 0.0)
    assert more is not None
    for extra, tells in ((more, True), (more - 1, False)):
        half = 0.12 * (5 / (5 + extra)) ** 0.5
        assert (0.05 - half > 0) is tells
    assert more_seeds(Measured(1e-6, -0.5, 0.5, 5, 1000), 0.0) is None


def test_a_verdict_of_another_size_always_says_so():
    small = Measured(0.3, 0.2, 0.4, 5, 20_000, ("width 64", "20,000 steps"))
    assert in_words(judge(small, 0.0), small) == "at another size (width 64, 20,000 steps): reproduced"
    assert in_words(judge(small, 0.25), small).startswith("at another size (width 64, 20,000 steps): cannot be told; ")
    own = small._replace(differs=())
    assert in_words(judge(own, 0.0), own) == "reproduced"
    one = own._replace(low=NAN, high=NAN, seeds=1)
    assert in_words(judge(one, 0.0), one) == "cannot be told from one seed; at least 1 more seed is needed"
    assert in_words(judge(None, 0.0), None) == "not run"


@pytest.mark.slow
def test_every_recipe_of_the_paper_has_claims_and_every_claim_a_recipe():
    listed = claims()
    names = [one.name for one in listed]
    assert len(set(names)) == len(names)
    assert {one.recipe for one in listed} == set(plain("experiment", "paper")["sweep"]["include"])
    for claim in listed:
        for side in (claim.ours, claim.other):
            if side is not None and side.recipe:
                assert side.part in parts_of(side.recipe)
        assert (claim.published is None) is (claim.kind != "level")
    by_name = {one.name: one for one in listed}
    assert threshold(by_name["multitask.dmc_hard"]) == 0.745 - LEVEL_MARGIN
    header = Path("conf/experiment/multitask.yaml").read_text()
    for benchmark in ("dmc_hard", "humanoidbench_medium", "humanoidbench_hard", "shadowhand"):
        assert f"{by_name[f'multitask.{benchmark}'].published:.3f}" in header


def recorded(*overrides: str) -> dict[str, Any]:
    return identity.flat(json.loads(json.dumps(identity.values_of(compose(overrides)))))


def test_a_run_is_of_a_side_where_its_agent_is_and_what_else_differs_is_its_size():
    squared = Side("ablation_loss", "squared")
    wanted = recipe_of(squared, "dmc_dogs")
    assert wanted.env_steps == 1_000_000
    own = recorded("benchmark=dmc_dogs", "model=xl", "agent.value_loss=squared", "seed=7")
    assert differences(squared, own, wanted.settings) == {}
    small = recorded("benchmark=dmc_dogs", "model.width=64", "agent.value_loss=squared", "benchmark.max_tasks=2")
    found = differences(squared, small, wanted.settings)
    assert found == {"model.width": 64, "benchmark.tasks": "2 of 4"}
    for other in (["agent.value_loss=categorical"], ["agent.value_loss=squared", "agent.discount=0.9"]):
        assert differences(squared, recorded("benchmark=dmc_dogs", "model=xl", *other), wanted.settings) is None


def write(folder: Path, name: str, overrides: Sequence[str], scores: Mapping[int, float], learnt: bool = False) -> None:
    """A run's directory, with equal scores for all of its tasks; `learnt`: it begins with the networks of another."""
    config = compose(overrides)
    if learnt:
        source = transfer_from(compose(["benchmark=dmc_train"]), 5, "there")
        config = dataclasses.replace(config, init_from="there@5", source=source)
    values, tasks = identity.values_of(config), config.benchmark.task_ids
    run = folder / config.benchmark.name / name
    run.mkdir(parents=True)
    manifest = {
        "version": layout.VERSION,
        "identity": identity.hash_of(config),
        "identity_values": values,
        "sizes": {"critic_params": config.model.width**2},
        "starts": [],
    }
    specs = [{"id": task, "norm_low": 0.0, "norm_high": 1000.0, "score_metric": "return"} for task in tasks]
    (run / layout.CONFIG).write_text("{}")
    (run / layout.MANIFEST).write_text(json.dumps(manifest))
    (run / layout.TASKS).write_text(json.dumps({"tasks": specs}))
    rows = rows_of({at: [score] * len(tasks) for at, score in scores.items()}, tasks)
    (run / layout.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))


def judged(folder: Path) -> pd.DataFrame:
    return compute(Context(load(folder), replicates=200)).set_index("claim")


def test_runs_of_the_recipes_own_size_and_of_others_are_judged_as_what_they_are(tmp_path: Path):
    runs = tmp_path / "runs"
    for seed in range(3):
        own = ["benchmark=dmc_dogs", "model=xl", f"seed={seed}"]
        write(runs, f"own{seed}", own, {1_000_000: 0.7 + seed / 100})
        write(runs, f"squared{seed}", [*own, "agent.value_loss=squared"], {1_000_000: 0.8 + seed / 100})
        for width, score in ((8, 0.1), (16, 0.3)):
            small = ["benchmark=quickstart", f"model.width={width}", f"seed={seed}"]
            write(runs, f"w{width}-{seed}", small, {300: score + seed / 100})
            write(runs, f"heads{width}-{seed}", [*small, "agent.conditioning=heads"], {300: 0.0})
    found = judged(runs)
    loss = found.loc["ablation_loss.squared"]
    assert loss["verdict"] == "at another size (on dmc_dogs alone): contradicted"
    assert (loss["ours"], loss["seeds"], loss["env_steps"]) == (pytest.approx(-0.1), 3, 1_000_000)
    assert found.loc["ablation_loss.squared_clipped", "verdict"] == "not run"
    assert found.loc["multitask.dmc_hard", "verdict"] == "not run"  # half of it alone is not it
    heads = found.loc["ablation_conditioning.heads", "verdict"]
    assert heads.startswith("at another size (width ")
    assert "300 steps, on quickstart): reproduced" in heads
    width = found.loc["scaling.width"]
    assert width["ours"] == pytest.approx(0.2)
    assert width["verdict"].startswith("at another size (width 8 to 16, ")
    assert width["verdict"].endswith("300 steps, on quickstart): reproduced")


def test_steps_that_transfer_saves_are_judged_against_scratch_also_on_a_single_task(tmp_path: Path):
    for seed in range(2):
        small = ["benchmark=dmc_transfer", "benchmark.max_tasks=1", "model.width=16", f"seed={seed}"]
        write(tmp_path / "runs", f"scratch{seed}", small, {0: 0.0, 100: 0.2, 200: 0.4, 300: 0.6})
        write(tmp_path / "runs", f"learnt{seed}", small, {0: 0.1, 100: 0.7, 200: 0.7, 300: 0.7}, learnt=True)
    found = judged(tmp_path / "runs").loc["transfer.dmc"]
    assert (found["ours"], found["seeds"]) == (3.0, 2)  # 300 steps from scratch, 100 with transfer
    assert found["verdict"] == "at another size (width 16, single tasks, 300 steps): reproduced"


@pytest.mark.slow
def test_a_published_level_needs_both_parts_of_its_benchmark_and_the_whole_budget(tmp_path: Path):
    for seed in range(3):
        for part in ("dmc_dogs", "dmc_humanoids"):
            overrides = [f"benchmark={part}", "model=xl", f"seed={seed}"]
            write(tmp_path / "whole", f"s{seed}", overrides, {1_000_000: 0.74 + seed / 100})
            write(tmp_path / "half", f"s{seed}", overrides, {500_000: 0.54 + seed / 100})
    level = judged(tmp_path / "whole").loc["multitask.dmc_hard"]
    assert (level["verdict"], level["seeds"], level["published"]) == ("reproduced", 3, 0.745)
    assert level["low"] > 0.745 - LEVEL_MARGIN
    assert level["ours"] == pytest.approx(0.75)
    half = judged(tmp_path / "half").loc["multitask.dmc_hard", "verdict"]
    assert half == "at another size (500,000 steps): contradicted"
