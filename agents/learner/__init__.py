"""Networks, losses and updates: pure functions of an explicit state."""
