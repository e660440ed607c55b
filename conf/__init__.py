"""What can be composed: the yaml groups, the schema that types them, and the one door from overrides to `RunConfig`."""
