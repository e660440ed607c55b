"""A run that begins with another run's networks: which run is found, what is refused, and what the record says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.training import execute, summary
from agents.training.source import nearest, resolved
from conf import identity
from conf.compose import compose
from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from records import layout
from records.layout import ExitCode
from records.run_dir import RunDir
from tests.agents.training.scripted import expected_evaluation_rows
from tests.agents.training.test_execute import configured, flip_a_byte
from tests.agents.training.test_loop import CONTINUOUS, EPISODES, SEED
from tests.commands import rows

pytestmark = pytest.mark.usefixtures("scripted_suite")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(summary, "write_report", lambda run_dir: None)


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the scripted tasks; made by the first test that asks."""
    runs = tmp_path_factory.getbasetemp() / "source"
    config = configured(runs, 8)  # as long as actions are random, and nothing is compiled for updates
    config = dataclasses.replace(config, eval=dataclasses.replace(config.eval, every_steps=8))
    if not runs.exists():
        assert execute.execute(config) == ExitCode.DONE
    return identity.run_dir(config)


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, for a test to spoil."""
    return shutil.copytree(trained, tmp_path / "runs" / trained.parent.name / trained.name)


def target(source: Path, *overrides: str) -> RunConfig:
    """The configuration of a run of other tasks that begins with the source's networks."""
    return compose([*CONTINUOUS, f"paths.runs={source.parents[1]}", f"init_from={source}", *overrides])


def of_same_tasks(config: RunConfig, trained: Path) -> RunConfig:
    known = RunDir(trained).config()
    assert known is not None
    return dataclasses.replace(config, benchmark=known.benchmark)


def test_identity_holds_the_sources_identity_and_step_and_not_its_place(source: Path, tmp_path: Path):
    moved = shutil.copytree(source, tmp_path / "elsewhere" / source.parent.name / source.name)
    here, there = resolved(target(source)), resolved(target(moved, f"paths.runs={tmp_path / 'runs'}"))
    assert here.init_from == f"{source}@8"
    assert (here.source.kind, here.source.env_steps) == ("transfer", 8)
    assert identity.hash_of(here) == identity.hash_of(there)
    earlier = resolved(target(source, f"init_from={source}@0"))
    assert identity.hash_of(earlier) != identity.hash_of(here)
    assert "init_from" not in json.dumps(identity.values_of(here))
    assert str(tmp_path) not in json.dumps(identity.values_of(here))
    # What is done with networks is nothing where there are none.
    assert identity.hash_of(compose(["init.new_rows=mean"])) == identity.hash_of(compose([]))


def rows_of(run_dir: Path) -> list[dict]:
    return rows(run_dir / layout.METRICS)


def no_done(source: Path) -> None:
    (source / layout.DONE).unlink()


def no_config(source: Path) -> None:
    (source / layout.CONFIG).write_text("{}")


def damaged_arrays(source: Path) -> None:
    flip_a_byte(source / layout.CHECKPOINTS / "step-000000008" / layout.STATE)


def nothing(source: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "overrides", "said"),
    [
        (shutil.rmtree, [], "no such run"),
        (no_config, [], "config.json .*missing"),
        (no_done, [], r"not finished; name one of its checkpoints as RUN_DIR@STEPS: 0, 8"),
        (damaged_arrays, [], "its checkpoint at 8 steps is damaged: .*state.npz does not match its checksum"),
        (nothing, ["init_from=part:source"], "parts are those of a sweep"),
        (nothing, ["init_from={source}@7"], "has no checkpoint at 7 steps; there are: 0, 8"),
        (nothing, ["model.width=9"], r"another architecture: model\.width=8, here 9"),
        (nothing, ["agent.conditioning=heads"], r"agent\.conditioning=embedding, here heads"),
        (nothing, ["agent.v_max=5"], r"agent\.v_max=10\.0, here 5\.0"),
        (nothing, ["init.frozen=[critic_torso,tail]"], "no part tail; allowed: embedding, critic_torso, critic_head, "),
    ],
)
def test_a_source_that_cannot_begin_the_run_is_refused_in_a_line(
    source: Path, spoil: Callable[[Path], None], overrides: list[str], said: str
):
    spoil(source)
    config = target(source, *(one.format(source=source) for one in overrides))
    with pytest.raises(ConfigError, match=said) as raised:
        resolved(config)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("init")


def test_a_source_of_another_agent_is_refused(source: Path):
    with pytest.raises(ConfigError, match=r"is a run of agent\.learner=brc, this one is of brc_discrete"):
        resolved(compose(["benchmark=catch", f"init_from={source}"]))


def test_an_unfinished_run_is_a_source_at_a_checkpoint_that_is_named(source: Path):
    no_done(source)
    assert resolved(target(source, f"init_from={source}@8")).source.env_steps == 8


def test_a_run_is_found_by_a_part_of_its_name_too(source: Path):
    assert resolved(target(source, f"init_from={source.name}@0")).init_from == f"{source}@0"


def test_onto_the_same_tasks_is_refused_unless_asked_for_and_then_begins_where_the_source_ended(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    runs = f"paths.runs={tmp_path / 'runs'}"
    again = of_same_tasks(target(trained, runs), trained)
    with pytest.raises(ConfigError, match="trained on all 2 tasks; a larger train"):
        resolved(again)
    allowed = target(trained, runs, "init.known_tasks=allow", "train.env_steps=1", "paths.compilation_cache=null")
    config = resolved(of_same_tasks(allowed, trained))
    assert execute.execute(config) == ExitCode.DONE
    said = capsys.readouterr().err
    assert "observations of width 3, 3 at the source: 3 taken over" in said
    assert "2 of 2 tasks are the source's, 0 are new" in said
    manifest = json.loads((identity.run_dir(config) / layout.MANIFEST).read_text())
    assert manifest["source"]["identity"] == json.loads((trained / layout.MANIFEST).read_text())["identity"]
    assert manifest["transfer"]["kept_tasks"] == ["scripted/short", "scripted/long"]

    def evaluation(run_dir: Path, env_steps: int) -> list[tuple]:
        return [(row["name"], row["task"], row["value"]) for row in rows_of(run_dir) if row["env_steps"] == env_steps]

    last = [row for row in evaluation(trained, 8) if row[0].startswith("eval/")]
    assert [row for row in evaluation(identity.run_dir(config), 0) if row[0].startswith("eval/")] == last


def test_the_sources_other_tasks_are_evaluated_with_nothing_else_changed(trained: Path, tmp_path: Path):
    known = RunDir(trained).config()
    assert known is not None
    one = dataclasses.replace(known.benchmark, tasks=("scripted/long",))
    found = []
    for every in ("null", "8"):
        overrides = [
            f"init.old_tasks_every_steps={every}",
            "init.known_tasks=allow",
            "train.env_steps=8",
            "eval.every_steps=8",
        ]
        given = target(trained, f"paths.runs={tmp_path}", "paths.compilation_cache=null", *overrides)
        config = resolved(dataclasses.replace(given, benchmark=one))
        assert config.conditioning == "embedding"
        assert execute.execute(config) == ExitCode.DONE
        found.append(
            [json.loads(line) for line in (identity.run_dir(config) / layout.METRICS).read_text().splitlines()]
        )
    without, others = found
    old = [row for row in others if row["name"].startswith("old/")]
    assert [row for row in others if row not in old] == without
    returns = [(row["env_steps"], row["task"], row["value"]) for row in old if row["name"] == "old/return"]
    expected = [
        value for _, name, task, value in expected_evaluation_rows(SEED, 8, EPISODES) if task == "scripted/short"
    ]
    assert returns == [(0, "scripted/short", expected[0]), (8, "scripted/short", expected[0])]


def test_a_new_task_is_likest_to_one_of_its_suite_then_of_its_widths_then_of_its_name():
    spec = registry.spec("dmc/cartpole-swingup")
    own = (spec.obs_shape[0], spec.action_dim)
    layouts = {
        "metaworld/cartpole-swingup": own,
        "dmc/cartpole-swingup_like": (99, 1),
        "dmc/walker-walk": own,
        "dmc/cartpole-balance": own,
    }
    assert list(layouts)[nearest(spec, layouts)] == "dmc/cartpole-balance"
    del layouts["dmc/cartpole-balance"], layouts["dmc/walker-walk"]
    assert list(layouts)[nearest(spec, layouts)] == "dmc/cartpole-swingup_like"
    assert nearest(spec, {"a/x": None, "b/x": None}) == 0
