"""Sweeps on a cluster of which this machine knows an ssh name alone: code goes there, and records come back."""
