"""Tools for whole folders of texts: surprises, duplicates and topics, each with its file and line."""
