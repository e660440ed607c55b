"""What a run or a sweep leaves on disk, for everyone who writes or reads it."""
