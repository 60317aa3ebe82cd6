"""From documents to batches: sources, sentences, tokens on disk, and views."""
