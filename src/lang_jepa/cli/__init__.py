"""The command `lang-jepa`: its verbs, and what they share."""
