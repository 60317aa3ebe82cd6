"""Documents to batches: sources, sentences, tokens on disk, views."""
