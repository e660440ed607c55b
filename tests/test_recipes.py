"""The recipes of the paper's claims: all of them compose, their union is one sweep, and some are run in miniature."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from conf import axes, identity
from conf.compose import compose, compose_many
from conf.overrides import parse
from conf.typed import ConfigError
from conf.yaml_groups import plain
from records import layout
from tests.yaml_copy import yaml_copy

RECIPES = plain("experiment", "paper")["sweep"]["include"]


def test_the_paper_is_the_union_of_its_recipes():
    """Every part of every recipe is one of the sweep's, and runs that several have are the first one's alone."""
    whole = axes.parts_of(parse(["+experiment=paper"]))
    each = [(name, part) for name in RECIPES for part in axes.parts_of(parse([f"+experiment={name}"]))]
    assert whole == [replace(part, name=f"{name}.{part.name}") for name, part in each]
    small = compose_many(["+experiment=paper", "size=smoke"])
    assert len({identity.hash_of(one.config) for one in small}) == len(small)
    assert {one.config.sweep.name for one in small} == {"paper"}
    parts = [one.part for one in small]
    assert "ablation_loss.squared_clipped" in parts
    assert "ablation_loss.categorical" not in parts  # which interference has already


@pytest.mark.slow
def test_every_recipe_has_a_small_size():
    for name in [*RECIPES, "reference_spacing"]:
        runs = compose_many([f"+experiment={name}", "size=smoke"])
        assert 1 <= len(runs) <= 10, name  # in under three minutes
        for one in runs:
            config = one.config
            assert (config.train.env_steps, config.batch_size, config.seed) == (300, 32, 0)
            assert len(config.benchmark.task_ids) <= 2
            assert config.model.width <= 16


def test_the_question_of_precision_is_asked_of_two_benchmarks_and_the_same_seeds():
    runs = [one.config for one in compose_many(["+experiment=precision"])]
    asked = {(one.benchmark.name, one.agent.precision, one.seed) for one in runs}
    assert asked == set(product(("quickstart", "catch"), ("float32", "bfloat16"), range(5)))
    assert len(runs) == 20


def test_the_recipe_of_the_spacing_is_the_beginning_of_a_run_of_the_paper():
    one = compose(["+experiment=reference_spacing"])
    assert one.train.env_steps == 50_000
    dogs = compose_many(["+experiment=multitask", "benchmark=dmc_dogs"])
    assert identity.hash_of(one) in {identity.hash_of(other.config) for other in dogs}


def test_the_command_line_wins_over_the_size_and_the_size_over_the_part():
    composed = compose_many(["+experiment=scaling", "size=smoke", "seed=3,4", "train.env_steps=7"])
    assert [(one.config.model.width, one.config.seed) for one in composed] == [(8, 3), (16, 3), (8, 4), (16, 4)]
    assert {one.config.train.env_steps for one in composed} == {7}
    assert compose(["benchmark=metaworld", "size=smoke"]).benchmark.task_ids == (
        "metaworld/assembly",
        "metaworld/basketball",
    )
    assert compose(["size=full"]) == compose([])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["size=smok"], r"size=smok: no such size; did you mean smoke\? allowed: full, smoke"),
        (["size=full,smoke"], "size=full,smoke: 2 values are a sweep"),
        (["+experiment=paper"], r"\+experiment=paper: has 60 parts, which are many runs: add -m"),
    ],
)
def test_a_size_or_a_recipe_that_cannot_be_is_one_line(overrides: list[str], expected: str):
    with pytest.raises(ConfigError, match=expected):
        compose(overrides)


MINE = "{name: mine, parts: [{name: a}]}"


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("include: 3", f"sweep: {MINE}", "sweep.include=3: must be a list"),
        ("include: [mein]", f"sweep: {MINE}", r"no experiment mein; did you mean mine\?"),
        ("include: [mine]", f"sweep: {MINE}\nseed: 3", "mine.yaml must have nothing but sweep.*found: sweep, seed"),
        ("include: [mine]", "sweep: {include: [mine]}", r"sweep\.include=\[mine\]: a circle: mine > mine"),
        ("include: [mine]", "sweep: {parts: [{name: a, vary: {sed: 1}}]}", "mine.yaml: part a: .*did you mean seed"),
        ("include: [mine, mine]", f"sweep: {MINE}", r"two parts are called mine\.a"),
        ("parts: [{name: a}], sizes: {smoke: 3}", "", "sweep.sizes={'smoke': 3}: must be size"),
        ("parts: [{name: a}], sizes: {smoke: {wait: true}}", "", "sweep.sizes.smoke: wait=true: is the same for all"),
        ("parts: [{name: a}], sizes: {smoke: {sed: 1}}", "", "did you mean seed"),
    ],
)
def test_an_experiment_that_cannot_be_included_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str, inner: str, expected: str
):
    with yaml_copy(tmp_path, monkeypatch) as conf:
        (conf / "experiment" / "outer.yaml").write_text(f"# @package _global_\nsweep: {{name: outer, {outer}}}\n")
        (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{inner}\n")
        with pytest.raises(ConfigError, match=expected):
            compose_many(["+experiment=outer", "size=smoke"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runs"), [("ablation_loss", 3), ("scaling", 2)])
def test_a_recipe_runs_in_miniature(tmp_path: Path, name: str, runs: int):
    command = ["-m", f"+experiment={name}", "size=smoke", "launcher=inline", "tracking=off", f"paths.runs={tmp_path}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "-m", "agents.run", *command], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob(f"*/*/{layout.DONE}"))) == runs
