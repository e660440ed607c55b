"""Many runs: planning, launching, outcomes."""
