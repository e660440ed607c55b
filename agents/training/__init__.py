"""One run from its configuration to its record: the loop, evaluation, checkpoints."""
