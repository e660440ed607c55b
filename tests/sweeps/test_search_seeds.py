"""A trial of several runs is judged by their mean, and the best trials are confirmed on seeds that no trial had."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import warnings
from pathlib import Path
from statistics import fmean

import optuna
import pytest
from scipy import stats

from conf import identity
from conf.typed import ConfigError
from records import layout
from records.layout import ExitCode
from sweeps.search import command as search
from sweeps.search import confirm, methods, space, storage, view
from sweeps.search import study as optuna_study
from sweeps.search.scores import Scores, curve, instances
from sweeps.search.trials import Worker
from tests.commands import wait_until
from tests.sweeps.fake_run import luck
from tests.sweeps.test_search import BUDGET, QUICK, TAU, fake_runs, opened, starts, states  # noqa: F401

FOUR = [TAU, "sweep.search.trials=4", "sweep.search.sampler=random"]
SEEDS = [*FOUR, "sweep.search.seeds=2", "sweep.search.confirm=2", "sweep.search.confirm_trials=2"]
pytestmark = pytest.mark.usefixtures("fake_runs")


def score_of_run(tau: float, seed: int, steps: int = 900) -> float:
    """What `fake_run` comes to."""
    return steps / 1e6 - abs(tau - 0.01) + luck(seed)


@pytest.mark.slow
def test_trial_is_the_mean_of_its_seeds_and_the_best_are_confirmed_on_fresh_ones(capsys: pytest.CaptureFixture):
    arguments = [*SEEDS, "sweep.search.pruner=off", "launcher.max_parallel=4"]
    assert search.launch([*BUDGET, *arguments], QUICK) == ExitCode.DONE
    output = capsys.readouterr().out
    made, study = opened(*arguments)
    taus = {trial.number: trial.params["agent.tau"] for trial in study.get_trials()}
    for trial in study.get_trials():
        assert trial.value == pytest.approx(fmean(score_of_run(taus[trial.number], seed) for seed in (0, 1)))
    ranked = sorted(taus, key=lambda number: abs(taus[number] - 0.01))
    results = confirm.confirmed(made, study)
    assert [one.trial.number for one in results] == ranked[:2]
    for one in results:
        values = [score_of_run(taus[one.trial.number], seed) for seed in (2, 3)]
        assert dict(one.scores) == pytest.approx(dict(zip((2, 3), values, strict=True)))
        assert one.interval == pytest.approx(stats.t.interval(0.95, 1, fmean(values), stats.sem(values)))
    assert f"best: trial {ranked[0]}, score {results[0].mean:.3f} on 2 fresh seeds" in output
    lost = fmean(map(luck, (0, 1))) - fmean(map(luck, (2, 3)))
    assert f"on 2 fresh seeds: {lost:+.3f}" in output
    assert len(starts(Path.cwd())) == 4 * 2 + 2 * 2
    assert set(starts(Path.cwd()).values()) == {1}
    # The same command begins nothing; more fresh seeds and more trials add runs to those that there are.
    assert search.launch([*BUDGET, *arguments], QUICK) == ExitCode.DONE
    assert len(starts(Path.cwd())) == 12
    assert search.launch([*BUDGET, *arguments, "sweep.search.confirm=3"], QUICK) == ExitCode.DONE
    assert len(starts(Path.cwd())) == 14
    assert set(starts(Path.cwd()).values()) == {1}


@pytest.mark.slow
def test_winner_is_chosen_by_confirmed_scores_alone():
    made, study = opened(*SEEDS, "sweep.search.pruner=off", "sweep.search.trials=2")
    for value in (0.9, 0.1):
        trial = study.ask()
        optuna_study.suggest(trial, "agent.tau", made.space["agent.tau"])
        study.tell(trial, value)
    trials = study.get_trials()
    assert confirm.winner(made, study).number == 0
    assert Worker(made, study, 4, new_session=True, intervals=QUICK).run(wait=True)
    best = min(trials, key=lambda trial: abs(trial.params["agent.tau"] - 0.01))
    assert confirm.winner(made, study).number == best.number


@pytest.mark.slow
def test_trial_one_of_whose_runs_fails_has_failed_and_its_other_runs_stop():
    bins = "sweep.search.space={agent.num_bins:{choices:[3,5]}}"
    arguments = [bins, "sweep.search.trials=4", "sweep.search.sampler=grid", "sweep.search.pruner=off"]
    arguments += ["sweep.search.seeds=3", "launcher.max_parallel=1"]
    assert search.launch([*BUDGET, *arguments], QUICK) == ExitCode.DONE
    made, study = opened(*arguments)
    assert sorted(states(study)) == ["complete", "failed"]  # a grid has no more trials than combinations
    (failed,) = (trial for trial in study.get_trials() if optuna_study.state_name(trial) == "failed")
    assert failed.user_attrs["reason"] == "seed 0: three bins are too few"
    assert len(starts(Path.cwd())) == 1 + 3  # no further seed of the one that failed
    (made.folder / storage.JOURNAL).unlink()
    _, again = opened(*arguments)
    assert [(trial.state, trial.value, trial.user_attrs) for trial in again.get_trials()] == [
        (trial.state, trial.value, trial.user_attrs) for trial in study.get_trials()
    ]


@pytest.mark.slow
def test_low_trial_is_stopped_by_its_first_run_where_runs_are_executed_in_turn():
    settings = [TAU, "sweep.search.trials=8", "sweep.search.sampler=random", "sweep.search.seeds=3"]
    settings += ["sweep.search.pruner=asha", "launcher.max_parallel=1"]
    assert search.launch([*BUDGET, *settings], QUICK) == ExitCode.DONE
    made, study = opened(*settings)
    pruned = [trial for trial in study.get_trials() if optuna_study.state_name(trial) == "pruned"]
    assert pruned
    begun = starts(Path.cwd())
    for trial in pruned:
        assert [begun[identity.run_dir(config).name] for config in made.runs(trial.params)] == [1, 0, 0]
    kept = [trial for trial in study.get_trials() if optuna_study.state_name(trial) == "complete"]
    for trial in kept:
        assert trial.intermediate_values[300] == pytest.approx(
            fmean(score_of_run(trial.params["agent.tau"], seed, 300) for seed in range(3))
        )


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["hyperband", "wilcoxon"])
def test_search_of_several_seeds_survives_its_storage(pruner: str):
    settings = [TAU, "sweep.search.trials=8", "sweep.search.sampler=random", "sweep.search.seeds=3"]
    settings += [f"sweep.search.pruner={pruner}", "sweep.search.confirm=1", "launcher.max_parallel=3"]
    settings += ["sweep.search.pruner_options={p_threshold:0.3}"] if pruner == "wilcoxon" else []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert search.launch([*BUDGET, *settings], QUICK) == ExitCode.DONE
    made, study = opened(*settings)
    assert set(states(study)) <= {"pruned", "complete"}  # how many are pruned is a matter of which runs are quicker
    before = [(trial.params, trial.state, trial.value) for trial in study.get_trials()]
    results, begun = confirm.confirmed(made, study), starts(Path.cwd())
    (made.folder / storage.JOURNAL).write_text("lost\n")
    assert search.launch([*BUDGET, *settings], QUICK) == ExitCode.DONE
    _, again = opened(*settings)
    assert [(trial.params, trial.state, trial.value) for trial in again.get_trials()] == before
    assert [one.scores for one in confirm.confirmed(made, again)] == [one.scores for one in results]
    assert starts(Path.cwd()) == begun


@pytest.mark.slow
def test_confirmation_that_is_interrupted_goes_on_with_the_next_command():
    settings = [*SEEDS, "sweep.search.pruner=off", "launcher.max_parallel=2"]
    made, study = opened(*settings)
    worker = Worker(made, study, 2, new_session=True, intervals=QUICK)

    def stop_when_confirming() -> None:
        wait_until(lambda: len(starts(Path.cwd())) > 8, 60, "a run on a fresh seed")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop_when_confirming, daemon=True)
    thread.start()
    assert not worker.run(wait=True)
    thread.join()
    assert states(study) == ["complete"] * 4
    assert confirm.runs_left(made, study) > 0
    assert search.launch([*BUDGET, *settings], QUICK) == ExitCode.DONE
    assert confirm.runs_left(made, study) == 0
    assert len(starts(Path.cwd())) == 12


@pytest.mark.slow
def test_seed_that_fails_to_confirm_is_named_and_its_trial_does_not_win(capsys: pytest.CaptureFixture):
    settings = [*SEEDS, "sweep.search.pruner=off", "launcher.max_parallel=4"]
    assert search.launch([*BUDGET, *settings], QUICK) == ExitCode.DONE
    made, study = opened(*settings)
    first, second = confirm.confirmed(made, study)
    member = confirm.fresh_members(made)[first.trial.number, 3]
    (member.run_dir / layout.DONE).unlink()
    (member.run_dir / layout.STATUS).write_text(json.dumps({"state": "failed", "time": 1.0, "reason": "lightning"}))
    assert confirm.winner(made, study).number == second.trial.number
    capsys.readouterr()
    view.print_result(made, study)
    assert "seed 3 failed: lightning" in capsys.readouterr().out


def test_runs_that_have_come_as_far_make_up_a_trials_score(tmp_path: Path):
    def rows(steps: int, *values: float) -> str:
        row = {"env_steps": steps, "update_steps": 0, "name": "eval/score"}
        lines = [row | {"task": f"dmc/{index}", "value": value} for index, value in enumerate(values)]
        return "".join(json.dumps(line) + "\n" for line in [*lines, row | {"task": None, "value": 0.0}])

    for name, text in (("a", rows(10, 1, 3) + rows(20, 2, 4)), ("b", rows(10, 4, 4)), ("c", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / layout.METRICS).write_text(text)
    runs = [Scores(tmp_path / name) for name in "abc"]
    assert curve(runs, 20) == {10: 3.0, 20: 3.0}
    assert instances(runs, 20) == {}
    done = {"env_steps": 20, "score": 3.0, "evaluation": [json.loads(line) for line in rows(20, 2, 4).splitlines()]}
    (tmp_path / "b" / layout.DONE).write_text(json.dumps(done))
    assert instances(runs, 20) == {2: 2, 3: 4}  # the second run's tasks, whatever the first one has


def test_grid_has_every_combination_once_in_an_order_of_the_seed():
    axes = space.read(
        {
            "agent.tau": {"low": 0.1, "high": 0.3, "step": 0.1},
            "agent.num_bins": {"low": 3, "high": 7, "step": 2},
            "agent.network": {"choices": ["bro", "mlp"]},
        },
        [],
    )
    drawn = [tuple(space.combination(axes, number, seed=1).values()) for number in range(18)]
    assert set(drawn) == set(itertools.product((0.1, 0.2, 0.3), (3, 5, 7), ("bro", "mlp")))
    assert drawn != [tuple(space.combination(axes, number, seed=2).values()) for number in range(18)]


@pytest.mark.parametrize("sampler", ["qmc", "grid", "cmaes", "gp"])
def test_sampler_draws_alike_whoever_asks_and_in_a_study_that_is_built_again(sampler: str):
    pytest.importorskip(methods.NEEDS.get(sampler, ("optuna", ""))[0])
    axes = (
        "{agent.tau:{low:0.001,high:0.02,step:0.001},agent.num_bins:{choices:[5,7]},agent.discount:{low:0.9,high:0.99,"
    )
    axes += "step:0.01}}"
    settings = [f"sweep.search.space={axes}", f"sweep.search.sampler={sampler}", "sweep.search.startup_trials=3"]
    made = optuna_study.compose([*BUDGET, *settings], Path.cwd())

    def drawn(rebuilt_at: int) -> list[dict]:
        study = optuna.create_study(direction="maximize")
        for number in range(10):
            if number == rebuilt_at:
                earlier, study = study.get_trials(), optuna.create_study(direction="maximize")
                for one in earlier:
                    study.add_trial(
                        optuna.trial.create_trial(value=one.value, params=one.params, distributions=one.distributions)
                    )
            study.sampler = methods.sampler(made.base, made.space, number)
            trial = study.ask()
            params = {key: optuna_study.suggest(trial, key, axis) for key, axis in made.space.items()}
            study.tell(trial, -params["agent.tau"])
        return [trial.params for trial in study.get_trials()]

    first = drawn(rebuilt_at=100)
    assert len({tuple(one.values()) for one in first}) > 7
    assert drawn(rebuilt_at=6 if sampler != "cmaes" else 100) == first  # CMA-ES has its state in the storage alone


BAD = [
    ("sampler=wild", "must be one of tpe, random, gp, cmaes, qmc, grid"),
    ("sampler=auto", "must be one of tpe, random, gp, cmaes, qmc, grid"),
    ("sampler_options={multivariat:true}", "sampler_options.multivariat=true: no such option; did you mean multiv"),
    ("sampler_options={multivariate:3}", "sampler_options.multivariate=3: must be bool"),
    ("sampler_options={seed:3}", "sampler_options.seed=3: is set by sweep.search.seed"),
    ("sampler_options={gamma:3}", "no such option"),
    ("pruner_options={min_resource:3}", "pruner_options.min_resource=3: is set by sweep.search.grace_steps"),
    (
        "pruner_options={bootstrap_count:-1}",
        "pruner_options: The value of `bootstrap_count` is -1",
    ),
    ("pruner=wilcoxon", "pruner=wilcoxon: compares trials run by run, and sweep.search.seeds=1 is one run"),
    ("sampler=grid", "agent.tau=0.001 to 0.02: has no end of values between"),
    ("seeds=0", "seeds=0: must be an integer >= 1"),
]


@pytest.mark.parametrize(("override", "expected"), BAD, ids=[text for text, _ in BAD])
def test_method_that_cannot_be_used_is_refused_in_one_line(override: str, expected: str):
    with pytest.raises(ConfigError) as caught:
        search.launch([*BUDGET, TAU, f"sweep.search.{override}"], QUICK)
    assert expected in str(caught.value)
    assert not Path("runs").exists()


def test_seeds_that_the_search_counts_itself_are_no_axis_and_have_room():
    for override, expected in (
        ("sweep.search.space={seed:{low:0,high:9}}", "the search sets seeds itself"),
        ("seed=4294967294", "counts 3 seeds upwards from here; at most 4294967293"),
    ):
        with pytest.raises(ConfigError, match=expected):
            search.launch([*BUDGET, TAU, override, "sweep.search.seeds=2", "sweep.search.confirm=1"], QUICK)


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_package_that_a_sampler_lacks_is_named_with_the_command(sampler: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods.importlib.util, "find_spec", lambda name: None)
    package, command = methods.NEEDS[sampler]
    with pytest.raises(ConfigError) as caught:
        search.launch([*BUDGET, TAU, f"sweep.search.sampler={sampler}"], QUICK)
    assert str(caught.value).startswith(f"sweep.search.sampler={sampler}: needs the package {package}")
    assert f"{command}; without it: tpe, random, qmc, grid" in str(caught.value)
