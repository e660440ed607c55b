"""One module or package a suite. `envs.registry` says what each has: `TASKS`, `PRELOAD`, `NEEDS_GL` and `make`."""
