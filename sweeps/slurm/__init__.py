"""Job arrays on SLURM: their scripts, what SLURM is told and asked, and what a job does."""
