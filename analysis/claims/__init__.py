"""What the paper claims, and what the runs at hand say of each claim."""
