"""Two sets of runs are told apart, or are not, and the status says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.compare import EXIT_DIFFERENT, EXIT_SAME, main
from records.layout import ExitCode


@pytest.fixture
def sets(runs: Path, write_run) -> tuple[str, str]:
    """Two folders of four seeds; the second scores 0.2 more."""
    for seed in range(4):
        write_run({0: [0, 0], 500: [0.4 + seed / 50, 0.5 + seed / 50]}, seed=seed, name=f"a{seed}")
    runs.rename(runs.parent / "a")
    for seed in range(4):
        write_run({0: [0, 0], 500: [0.6 + seed / 50, 0.7 + seed / 50]}, seed=seed, name=f"b{seed}")
    runs.rename(runs.parent / "b")
    return str(runs.parent / "a"), str(runs.parent / "b")


def compare(tmp_path: Path, *arguments: str) -> int:
    return main([*arguments, "--figure", str(tmp_path / "compare.png"), "--replicates", "200"])


@pytest.mark.parametrize(
    ("order", "fail_on", "status", "word"),
    [
        ((0, 1), "different", EXIT_DIFFERENT, "higher"),
        ((0, 1), "better", EXIT_DIFFERENT, "higher"),
        ((0, 1), "worse", EXIT_SAME, "higher"),
        ((1, 0), "worse", EXIT_DIFFERENT, "lower"),
        ((1, 0), "better", EXIT_SAME, "lower"),
        ((0, 0), "different", EXIT_SAME, "cannot be told apart"),
    ],
)
def test_verdict_in_words_and_status(tmp_path: Path, sets, capsys, order, fail_on: str, status: int, word: str):
    assert compare(tmp_path, *(sets[at] for at in order), "--fail-on", fail_on) == status
    printed = capsys.readouterr().out
    assert word in printed
    assert "toy: IQM" in printed
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_several_benchmarks_have_equal_weight(tmp_path: Path, runs: Path, write_run, capsys):
    for folder, sign in (("a", 0), ("b", 1)):
        for seed in range(3):
            write_run({500: [0.5 + sign * 0.3 + seed / 100] * 2}, seed=seed, benchmark="easy")
            many = [f"dmc/task-{number}" for number in range(10)]
            write_run({500: [0.5 - sign * 0.1 + seed / 100] * 10}, seed=seed, benchmark="hard", tasks=many)
        runs.rename(runs.parent / folder)
    assert compare(tmp_path, str(runs.parent / "a"), str(runs.parent / "b")) == EXIT_DIFFERENT
    assert "over all: IQM 0.510 for A, 0.610 for B" in capsys.readouterr().out


def test_one_seed_cannot_tell_and_is_no_pass(tmp_path: Path, runs: Path, write_run, capsys):
    write_run({500: [0.1, 0.1]})
    assert compare(tmp_path, str(runs), str(runs)) == ExitCode.BAD_CONFIG
    assert "one seed of each task says nothing about chance" in capsys.readouterr().err


def test_several_variants_must_be_chosen_from(tmp_path: Path, runs: Path, write_run, capsys):
    for width in (64, 128):
        for seed in range(2):
            write_run({500: [width / 1000 + seed / 100] * 2}, width=width, seed=seed)
    assert compare(tmp_path, str(runs), str(runs)) == ExitCode.BAD_CONFIG
    assert "several variants, choose with --a: brc w64, brc w128" in capsys.readouterr().err
    assert compare(tmp_path, str(runs), str(runs), "--a", "brc w64", "--b", "brc w99") == ExitCode.BAD_CONFIG
    assert "--b brc w99: no such variant" in capsys.readouterr().err
    assert compare(tmp_path, str(runs), str(runs), "--a", "brc w64", "--b", "brc w128") == EXIT_DIFFERENT


def test_nothing_shared_and_bad_figure_are_one_line(tmp_path: Path, sets, runs: Path, write_run, capsys):
    for seed in range(2):
        write_run({500: [0.1, 0.1]}, benchmark="other", seed=seed)
    assert compare(tmp_path, sets[0], str(runs)) == ExitCode.BAD_CONFIG
    assert "nothing that A and B share" in capsys.readouterr().err
    assert main([*sets, "--figure", str(tmp_path / "compare.xyz"), "--replicates", "20"]) == ExitCode.BAD_CONFIG
    assert main([sets[0], str(tmp_path / "missing")]) == ExitCode.BAD_CONFIG
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_tasks_that_only_one_has_are_not_compared(tmp_path: Path, runs: Path, write_run, capsys):
    for seed in range(2):
        write_run({500: [0.1 + seed / 10, 0.9]}, seed=seed, tasks=("dmc/a-walk", "dmc/b-run"))
    runs.rename(runs.parent / "a")
    for seed in range(2):
        write_run({500: [0.1 + seed / 10, 0.1]}, seed=seed, tasks=("dmc/a-walk", "dmc/c-stand"))
    assert compare(tmp_path, str(runs.parent / "a"), str(runs)) == EXIT_SAME
    printed = capsys.readouterr().out
    assert "on 1 tasks" in printed
    assert "toy: 2 tasks that not all variants have are not compared" in printed


@pytest.fixture
def forked(runs: Path, write_run) -> str:
    """Five runs of very different seeds, and forks of them in three variants: one task gains, the other loses."""
    for seed in range(5):
        base, mine, origin = 0.2 + seed / 10, f"{seed:016d}", (f"{seed:016d}", 200)
        write_run({0: [0, 0], 500: [base, base]}, seed=seed, run_identity=mine, name=f"plain{seed}")
        for discount, gain in ((0.99, 0.0), (0.98, 0.02 + seed / 1000), (0.97, 0.03 + seed / 1000)):
            scores = {0: [0, 0], 500: [base + gain, base + gain]}
            write_run(scores, seed=seed, discount=discount, forked=origin, name=f"fork{discount}-{seed}")
    return str(runs)


@pytest.mark.parametrize(
    ("a", "b", "gain"),
    [
        ("brc w64", "brc w64 discount=0.98 source=fork@200", "+0.022"),
        ("brc w64 source=fork@200", "brc w64 discount=0.97 source=fork@200", "+0.03"),
        ("brc w64 discount=0.98 source=fork@200", "brc w64", "-0.022"),
    ],
)
def test_forks_are_compared_pair_by_pair(tmp_path: Path, forked: str, capsys, a: str, b: str, gain: str):
    assert compare(tmp_path, forked, forked, "--a", a, "--b", b) == EXIT_DIFFERENT
    printed = capsys.readouterr().out
    assert f"difference {gain}" in printed
    assert "5 runs of A share their history with one of B each" in printed
    narrower = int(printed.split("the interval is ")[1].split("%")[0])
    assert narrower > 90  # of independent seeds the interval would hold 0
    assert f"B is better on {2 if gain[0] == '+' else 0} and worse on {0 if gain[0] == '+' else 2}" in printed


def test_runs_of_which_only_some_are_pairs_are_compared_as_independent(tmp_path: Path, forked: str, write_run, capsys):
    write_run({0: [0, 0], 500: [0.9, 0.9]}, seed=7, name="plain7", run_identity="7" * 16)
    assert (
        compare(tmp_path, forked, forked, "--a", "brc w64", "--b", "brc w64 discount=0.98 source=fork@200") == EXIT_SAME
    )
    printed = capsys.readouterr().out
    assert "pair by pair" not in printed
    assert "only 5 of 6 seeds are pairs" in printed
