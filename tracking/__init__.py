"""MLflow as the mirror of run directories: a process beside each run sends what a checkpoint covers."""
