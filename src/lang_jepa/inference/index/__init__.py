"""A corpus of vectors on disk, and search in it."""
