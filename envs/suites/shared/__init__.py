"""What several suites on MuJoCo have in common."""
