"""The words for a clock's parts."""

from agents.training.clock import PHASES, Clock


def test_closing_words_show_evaluation_and_all_that_took_a_hundredth():
    taken = Clock(phases=dict.fromkeys(PHASES, 0.0) | {"update": 300.0, "env_wait": 299.0, "sample": 5.0})
    assert taken.shares() == "10.1 min: updates 50%, environments 50%, evaluation 0%"
