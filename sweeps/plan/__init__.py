"""What a command would run: the plan, whether it fits, and how it is printed."""
