"""From documents to a corpus on disk: split into sentences, tokenized, deduplicated, written in blocks."""
