"""What can be set, with defaults, rules and the reading of YAML files; nothing here imports another room."""
