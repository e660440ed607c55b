"""Tasks and how they are stepped: one module a suite, one registry, one multi-task vector environment."""
