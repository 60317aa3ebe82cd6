"""The built-in systems, one file each, with its data beside it."""
