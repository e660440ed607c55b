"""Every test here may use the scripted suite."""

from tests.agents.training.scripted import scripted_suite

__all__ = ["scripted_suite"]
