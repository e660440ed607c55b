"""The suites, each a module or a package, which only `envs.registry` imports, when a task is asked for.

A suite has

* `TASKS`: the name of each task -> its `TaskSpec`;
* `PRELOAD`: names of modules that are worth importing once before worker processes fork;
* `NEEDS_GL`: whether its environments need OpenGL to render;
* `make(spec, *, render=False)`: a fresh environment of a task, whose episode is determined by `reset(seed=...)` alone.
  It may split its step into `begin_step(action)` and `end_step()`, and raises `envs.divergence.DivergedError` where its
  simulation diverges. `envs.suites.shared.mujoco_env.MujocoEnv` is a base for suites on MuJoCo, whose
  environments can be put into any state (`set_state`).

A suite whose environments can be configured (`env.<suite>.*`) also has `configured(spec, options)`, which returns the
spec as those options make it. A suite whose tasks need packages or files that may be missing also has `check(specs)`,
which is asked before anything begins and raises `ConfigError`. A suite that steps faster than its library also has
`plain(spec)`, the task as the library's users step it, for comparison. A suite whose physics depends on files beside
its libraries' code has `assets(spec)`, the SHA-256 of each such file by name, which raises `ConfigError` where a file
is missing or unusable: a run is begun only with all of them, keeps their digests in its manifest, and is continued with
the same files only. `envs.suites.shared.assets` reckons digests.
"""
