"""The command `lang-jepa`: one file a verb."""
