"""One module a suite: `TASKS` (name -> TaskSpec) and `make(name) -> gymnasium.Env`."""
