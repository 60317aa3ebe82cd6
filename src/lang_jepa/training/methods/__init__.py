"""The built-in systems: one file each, with a separate file for its data."""
