"""A part of a sweep begins with the networks of another part: planned at once, as one would by hand later."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf import identity
from conf.compose import compose_many
from conf.composed import Composed
from conf.typed import ConfigError
from tests.yaml_copy import yaml_copy

SOURCE = '{name: source, set: [benchmark=dmc_train], vary: {seed: "%s"}}'
LEARNT = '{name: learnt, set: [benchmark=dmc_transfer, "init_from=part:source"], vary: {seed: "0,1"}}'


def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *parts: str, include: bool = False) -> list[Composed]:
    with yaml_copy(tmp_path, monkeypatch) as conf:
        listed = f"sweep: {{name: mine, parts: [{', '.join(parts)}]}}\n"
        (conf / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{listed}")
        (conf / "experiment" / "outer.yaml").write_text("# @package _global_\nsweep: {name: outer, include: [mine]}\n")
        return compose_many([f"+experiment={'outer' if include else 'mine'}", "train.env_steps=7000"])


@pytest.mark.parametrize("include", [False, True])
def test_a_part_begins_with_the_run_of_its_seed_or_with_the_only_one(tmp_path: Path, monkeypatch, include: bool):
    found = composed(tmp_path / "two", monkeypatch, SOURCE % "0,1", LEARNT, include=include)
    sources, learnt = found[:2], found[2:]
    for source, one in zip(sources, learnt, strict=True):
        assert one.source == source.config
        assert one.config.init_from == f"{identity.run_dir(source.config)}@7000"
        assert (one.config.source.kind, one.config.source.env_steps) == ("transfer", 7000)
        assert one.config.source.identity == identity.hash_of(source.config)
    (source, *learnt) = composed(tmp_path / "one", monkeypatch, SOURCE % "3", LEARNT, include=include)
    assert [one.config.source.identity for one in learnt] == 2 * [identity.hash_of(source.config)]


def test_a_single_new_task_has_its_sources_conditioning(tmp_path: Path, monkeypatch):
    heads = "{name: source, set: [benchmark=dmc_train, agent.conditioning=heads]}"
    alone = LEARNT.replace("benchmark=dmc_transfer", "benchmark=dmc_transfer, benchmark.max_tasks=1")
    found = composed(tmp_path, monkeypatch, heads, alone)
    assert {one.config.conditioning for one in found} == {"heads"}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([LEARNT], "part learnt: init_from=part:source: no part before is called so; there are: none"),
        ([LEARNT, SOURCE % "0"], "no part before is called so"),
        ([SOURCE % "4,5", LEARNT], "part:source: has 2 runs, of which none have seed=0"),
    ],
)
def test_a_source_that_is_no_part_before_is_one_line(tmp_path: Path, monkeypatch, parts: list[str], expected: str):
    with pytest.raises(ConfigError, match=expected):
        composed(tmp_path, monkeypatch, *parts)
