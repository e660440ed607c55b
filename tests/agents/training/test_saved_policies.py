"""Commands on saved policies: a run's own numbers, other episodes, a folder that acts, and a run left as it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from agents import evaluate, export
from agents.policy import Policy
from agents.saved import saved_policy
from agents.training import execute, summary
from conf import identity
from envs.seeding import episode_seed
from records import layout
from records.layout import ExitCode
from tests.agents.training import scripted
from tests.agents.training.test_execute import configured, contents
from tests.agents.training.test_loop import BUDGET, EPISODES
from tests.commands import rows

pytestmark = pytest.mark.usefixtures("scripted_suite")


@pytest.fixture
def run_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, made by the first test that asks; its last evaluation is off the grid."""
    monkeypatch.setattr(summary, "write_report", lambda run_dir: None)
    monkeypatch.setattr(evaluate, "write_page", lambda out: True)
    config = configured(tmp_path_factory.getbasetemp() / "finished")
    if not Path(config.paths.runs).exists():
        assert execute.execute(config) == ExitCode.DONE
    return identity.run_dir(config)


def evaluated(name: str, out: Path, *arguments: str) -> dict:
    assert evaluate.main([name, "--out", str(out), *arguments]) == ExitCode.DONE
    return json.loads((out / evaluate.RECORD).read_text())


def own_rows(run_dir: Path, env_steps: int) -> list[dict]:
    if env_steps == BUDGET:
        return json.loads((run_dir / layout.DONE).read_text())["evaluation"]
    return [row for row in rows(run_dir / layout.METRICS) if row["env_steps"] == env_steps]


@pytest.mark.parametrize("env_steps", [BUDGET, 40], ids=["final", "one before"])
def test_without_options_the_numbers_are_the_runs_own_bit_by_bit(run_dir: Path, tmp_path: Path, env_steps: int):
    before = contents(run_dir)
    found = evaluated(f"{run_dir}@{env_steps}", tmp_path / "out")
    own = {(row["name"], row["task"]): row["value"] for row in own_rows(run_dir, env_steps)}
    assert found["env_steps"] == env_steps
    assert found["score"] == own["eval/score", None]
    for one in found["tasks"]:
        for name in ("return", "success", "score"):
            assert one[name]["mean"] == own[f"eval/{name}", one["task"]]
    assert contents(run_dir) == before


def test_other_seeds_and_tasks_give_the_episodes_asked_for(run_dir: Path, tmp_path: Path, capsys):
    out, task = tmp_path / "out", "scripted/long"
    found = evaluated(str(run_dir), out, "--seed", "11", "--episodes", "5", "--tasks", "long", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed == found | {"format": 1, "command": "evaluate", "folder": str(out)}
    seeds = [episode_seed(11, task, "eval", BUDGET, number) for number in range(5)]
    returns = [scripted.expected_return("long", seed) for seed in seeds]
    (one,) = found["tasks"]
    assert one["return"] == {
        "mean": pytest.approx(np.mean(returns)),
        "std": pytest.approx(np.std(returns, ddof=1)),
        "min": min(returns),
        "max": max(returns),
    }
    assert one["score"]["std"] == pytest.approx(np.std(returns, ddof=1) / 100)
    assert one["success"]["mean"] == pytest.approx(np.mean([seed % 2 == 0 for seed in seeds]))
    assert one["length"] == {"mean": 7.0, "std": 0.0, "min": 7.0, "max": 7.0}
    with (out / "episodes.csv").open() as file:
        assert [float(row["return"]) for row in csv.DictReader(file)] == returns
    with (out / "tasks.csv").open() as file:
        assert [row["task"] for row in csv.DictReader(file)] == [task]
    assert evaluated(str(run_dir), out)["episodes"] == EPISODES  # an earlier evaluation is replaced
    assert {path.name for path in out.parent.iterdir()} == {"out"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such run"),
        (["{run}@41"], "no checkpoint at 41 steps"),
        (["{run}", "--tasks", "lng"], "--tasks lng: not in quickstart; did you mean long?"),
        (["{run}", "--episodes", "0"], "--episodes: 0 is below 1"),
        (["{run}", "--seed", str(2**32)], "--seed 4294967296: must be below 2**32"),
        (["{run}", "--out", "{run}/here"], "lies in the directory of a run"),
        (["{run}", "--out", "{run}/../.."], "holds something else, as there is no evaluation.json"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(run_dir: Path, capsys, arguments: Sequence[str], said: str):
    before = contents(run_dir)
    assert evaluate.main([part.format(run=run_dir) for part in arguments]) == ExitCode.BAD_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert contents(run_dir) == before


def test_an_exported_policy_acts_as_the_checkpoint_and_has_its_scores(run_dir: Path, tmp_path: Path, capsys):
    before, out = contents(run_dir), tmp_path / "policy"
    assert export.main([str(run_dir), "--out", str(out)]) == ExitCode.DONE
    assert export.main([str(run_dir), "--out", str(out)]) == ExitCode.DONE  # an earlier export is replaced
    assert "2 tasks" in capsys.readouterr().out
    exported, policy = Policy(out), saved_policy(run_dir)
    own = {(row["name"], row["task"]): row["value"] for row in own_rows(run_dir, BUDGET)}
    for task, spec in enumerate(policy.specs):
        assert exported.tasks[spec.id]["return"] == own["eval/return", spec.id]
        obs = np.random.default_rng(task).standard_normal((2, *spec.obs_shape)).astype(np.float32)
        padded = np.pad(obs, ((0, 0), (0, policy.settings.obs_dim - obs.shape[1])))
        ids, act = np.full(2, task, np.int32), policy.learner.act
        expected = act(policy.settings, policy.params, padded, ids, jax.random.key(0), 0, deterministic=True)
        actions = exported.act(obs, spec.name)
        np.testing.assert_allclose(actions, np.asarray(expected)[:, : spec.action_dim], rtol=0, atol=1e-6)
    assert contents(run_dir) == before
    assert export.main([str(run_dir), "--out", str(run_dir / "policy")]) == ExitCode.BAD_CONFIG
    assert export.main([f"{run_dir}@41", "--out", str(out)]) == ExitCode.BAD_CONFIG
