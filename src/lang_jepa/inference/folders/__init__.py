"""Whole folders of texts: surprises, duplicates, topics, each with the file and line where it stands."""
