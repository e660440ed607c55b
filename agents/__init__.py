"""Learning: networks, losses and the learner in pure JAX; replay, reward scale, checkpoints; the training loop."""
