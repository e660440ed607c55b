"""The table of published score constants."""

from conf.scores import ScoreConstants, score_constants


def test_humanoidbench_has_37_tasks_whose_success_lies_above_a_random_policy():
    constants = score_constants()
    assert len(constants) == 37
    assert all(task.startswith(("humanoidbench/h1-", "humanoidbench/h1hand-")) for task in constants)
    assert all(one.norm_low < one.norm_high for one in constants.values())


def test_constants_are_the_authors():
    assert score_constants()["humanoidbench/h1-walk"] == ScoreConstants(2.377, 700.0)
    assert score_constants()["humanoidbench/h1hand-push"] == ScoreConstants(-526.8, 700.0)
